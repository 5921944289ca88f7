#!/bin/bash
# Makes a replicated cluster of servers that run: accounts on the primary, replication on the others. Does
# nothing that is done already, and never empties a server that holds data.
#
#   setup.sh PRIMARY REPLICA..
set -euo pipefail

readonly SECRETS=/run/mysql-secrets
readonly PRIMARY=$1
readonly CATCH_UP_SECONDS=30

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] ERROR: %s\n' "$*" >&2; exit 1; }
secret() { printf '%s' "$(<"$SECRETS/$1.password")"; }

# sql HOST [STATEMENTS]: runs them, or standard input, as root; the password goes by a file descriptor.
sql() {
    local host=$1
    mysql --defaults-extra-file=<(printf '[client]\npassword = "%s"\n' "$(secret root)") --protocol=tcp \
        --host="$host" --user=root --batch --skip-column-names <<<"${2-$(cat)}"
}

# Databases and accounts that are neither MySQL's nor root's: none means that the server is new.
foreign() {
    sql "$1" "SELECT (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name NOT IN ('mysql',
        'information_schema', 'performance_schema', 'sys')) + (SELECT COUNT(*) FROM mysql.user WHERE user
        NOT IN ('root', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'healthchecker'))"
}

# A new server forgets the GTIDs of its own first start, which no other has.
forget_first_start() {
    [[ -n "$(sql "$1" 'SELECT @@global.gtid_executed')" ]] || return 0
    say "$1: forgetting the history of its first start"
    case $(sql "$1" 'SELECT @@version') in
        8.0.* | 8.1.*) sql "$1" 'RESET MASTER' ;;
        *) sql "$1" 'RESET BINARY LOGS AND GTIDS' ;;
    esac
}

# The plugins of semi-sync replication, where the image has them: a commit waits for one replica.
semi_sync() {
    local host=$1 side=$2 plugin
    for plugin in source replica; do
        sql "$host" "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'rpl_semi_sync_$plugin'" |
            grep -qx 1 && continue
        sql "$host" "SET SESSION sql_log_bin = OFF; INSTALL PLUGIN rpl_semi_sync_$plugin SONAME 'semisync_$plugin.so'" \
            2>/dev/null || { say "$host: the image has no semi-sync plugins"; return 0; }
    done
    [[ "$(sql "$host" "SELECT @@global.rpl_semi_sync_${side}_enabled")" == 1 ]] ||
        sql "$host" "SET PERSIST rpl_semi_sync_${side}_enabled = ON"
}

# primary REPLICA..: what applications, replication and the monitor need.
primary() {
    local missing
    missing=$(sql "$PRIMARY" "SELECT 4 - COUNT(*) FROM (SELECT user FROM mysql.user WHERE user IN ('weir_replication',
        'weir_monitor', 'app') AND host = '%' UNION ALL SELECT schema_name FROM information_schema.schemata
        WHERE schema_name = 'app') AS there")
    [[ "$missing" != 0 ]] || return 0
    if [[ "$(foreign "$PRIMARY")" == 0 ]]; then
        for host in "$@"; do
            [[ "$(foreign "$host")" == 0 ]] ||
                die "$PRIMARY is empty but $host holds data, so the primary's volume is gone. Nothing was changed:" \
                    "bring the volume back, or remove the replicas' volumes to begin anew"
        done
        forget_first_start "$PRIMARY"
    fi
    semi_sync "$PRIMARY" source
    say "$PRIMARY: accounts and database"
    sql "$PRIMARY" <<END
CREATE DATABASE IF NOT EXISTS app;
CREATE USER IF NOT EXISTS weir_replication@'%' IDENTIFIED BY '$(secret replication)';
GRANT REPLICATION SLAVE ON *.* TO weir_replication@'%';
CREATE USER IF NOT EXISTS weir_monitor@'%' IDENTIFIED BY '$(secret monitor)';
GRANT REPLICATION CLIENT, PROCESS ON *.* TO weir_monitor@'%';
GRANT SELECT ON performance_schema.* TO weir_monitor@'%';
CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY '$(secret app)';
GRANT ALL PRIVILEGES ON app.* TO app@'%';
END
}

# The replica follows the primary, and takes no writes but its.
replica() {
    local host=$1 status
    status=$(sql "$host" "SELECT CONCAT(host, ' ', service_state) FROM
        performance_schema.replication_connection_configuration JOIN
        performance_schema.replication_applier_status USING (channel_name) WHERE channel_name = ''")
    case $status in
        "$PRIMARY ON") ;;
        "$PRIMARY "*)
            say "$host: starting replication"
            sql "$host" 'START REPLICA' ;;
        '')
            [[ "$(foreign "$host")" == 0 ]] ||
                die "$host holds data and replicates from nobody; it is not touched. Remove its volume to make it anew"
            forget_first_start "$host"
            semi_sync "$host" replica
            say "$host: replicating from $PRIMARY"
            sql "$host" "SET PERSIST read_only = ON; SET PERSIST super_read_only = ON;
                CHANGE REPLICATION SOURCE TO SOURCE_HOST = '$PRIMARY', SOURCE_PORT = 3306,
                SOURCE_USER = 'weir_replication', SOURCE_PASSWORD = '$(secret replication)', SOURCE_AUTO_POSITION = 1,
                SOURCE_SSL = 1, SOURCE_CONNECT_RETRY = 2, SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 2;
                START REPLICA" ;;
        *) die "$host replicates from ${status% *}, not from $PRIMARY; it is not touched" ;;
    esac
    # With the accounts there, Weir's monitor gets in.
    [[ "$(sql "$host" "SELECT WAIT_FOR_EXECUTED_GTID_SET('$(sql "$PRIMARY" 'SELECT @@global.gtid_executed' |
        tr -d '\\n')', $CATCH_UP_SECONDS)")" == 0 ]] ||
        die "$host has not caught up within $CATCH_UP_SECONDS s: $(sql "$host" "SELECT last_error_message FROM
            performance_schema.replication_connection_status UNION SELECT last_error_message FROM
            performance_schema.replication_applier_status_by_worker" | tr '\n' ' ')"
}

shift
primary "$@"
for host in "$@"; do
    replica "$host"
done
say "$PRIMARY with $*: ready"
