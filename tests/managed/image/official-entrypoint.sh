#!/bin/bash
# Does what the entry point of the official images does (docker-library/mysql) in the points where it differs from Weir's
# own: it knows no --validate-config, looks at the options as root with --verbose --help, becomes user mysql before it
# makes anything, makes the first data with a binary log, reads the password's file at every start and leaves the
# password in the server's environment, and keeps no note of a first start that was cut off.
set -eo pipefail

[[ $1 != -* ]] || set -- mysqld "$@"
[[ $1 == mysqld ]] || exec "$@"
for argument; do
    case $argument in --help | -\? | --print-defaults | --version | -V) exec "$@" ;; esac
done

options=$("$@" --verbose --help --log-bin-index="$(mktemp -u)" 2>/dev/null)
data=$(sed -n 's|^datadir  *\(.*\)/$|\1|p' <<<"$options")
socket=$(sed -n 's|^socket  *||p' <<<"$options")
if [[ -n ${MYSQL_ROOT_PASSWORD_FILE-} ]]; then
    MYSQL_ROOT_PASSWORD=$(<"$MYSQL_ROOT_PASSWORD_FILE")
    export MYSQL_ROOT_PASSWORD
    unset MYSQL_ROOT_PASSWORD_FILE
fi
if [[ $(id -u) == 0 ]]; then
    mkdir -p "$data" "${socket%/*}"
    find "$data" "${socket%/*}" \! -user mysql -exec chown --no-dereference mysql '{}' +
    exec setpriv --reuid mysql --regid mysql --init-groups "$0" "$@"
fi
if [[ ! -d $data/mysql ]]; then
    [[ -n $MYSQL_ROOT_PASSWORD ]]
    "$@" --initialize-insecure --default-time-zone=SYSTEM
    "$@" --daemonize --skip-networking --default-time-zone=SYSTEM --socket="$socket"
    mysql=(mysql --no-defaults --socket="$socket" --user=root)
    # With GTIDs of this server's own.
    mysql_tzinfo_to_sql /usr/share/zoneinfo/UTC UTC | "${mysql[@]}" mysql
    "${mysql[@]}" <<SQL
SET @@SESSION.SQL_LOG_BIN = 0;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
CREATE USER 'root'@'${MYSQL_ROOT_HOST:-%}' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO 'root'@'${MYSQL_ROOT_HOST:-%}' WITH GRANT OPTION;
SQL
    MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysqladmin --no-defaults --socket="$socket" --user=root shutdown
fi
ln -sfT "$socket" "$data/mysql.sock"
exec "$@"
