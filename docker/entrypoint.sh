#!/bin/bash
# Starts mysqld in a container, by the same contract as the official mysql image:
#
#   MYSQL_ROOT_PASSWORD[_FILE]    password of root, set at the first start
#   MYSQL_ROOT_HOST[_FILE]        where root may come from besides localhost (default %; empty: nowhere)
#   MYSQL_RANDOM_ROOT_PASSWORD    a random password is made, set and printed once
#   MYSQL_ALLOW_EMPTY_PASSWORD    root without a password is accepted
#   MYSQL_ONETIME_PASSWORD        root must change the password at the first login
#   MYSQL_DATABASE[_FILE]         a database that is made at the first start
#   MYSQL_USER[_FILE], MYSQL_PASSWORD[_FILE]   a user with all rights on that database
#   MYSQL_INITDB_SKIP_TZINFO      spend no time on filling the time zone tables
#   /docker-entrypoint-initdb.d   *.sh, *.sql, *.sql.gz, run in order at the first start
#
# Arguments go to mysqld; a first argument that is another command is run instead.
# The first start leaves no transaction behind that another server would have to have. A marker file tells
# an unfinished first start from somebody's data: only the former is ever cleared away.
#
# An image may have a data directory that was made when it was built, without keys and identity, packed in
# TEMPLATE; it spares most of a first start. `docker-entrypoint.sh pack-template` makes that file. With it the
# server that stays makes the accounts, before it lets anybody in. Without it, or with init files, a temporary
# server does, without network and binary log.
set -Eeuo pipefail
shopt -s nullglob

readonly RUN_AS=mysql
readonly SOCKET=/run/mysqld/mysqld.sock
readonly MARKER=.first-start-unfinished
# What the server that stays reads its accounts from: a pipe, so that no password is in a file.
readonly ACCOUNTS=/run/mysqld/first-start.sql
readonly START_SECONDS=120
readonly TEMPLATE=/usr/share/weir-mysql/data.tar.gz
# From this size on, files of the template are stored without their zeros.
readonly LARGE=1M
# With these a server does not make accounts at its start: it may not write, or has an init file already.
readonly MAKES_NO_ACCOUNTS='^--(loose[-_])?((super[-_])?read[-_]only|init[-_]file|skip[-_]grant|no[-_]dd|upgrade)'
# What a data directory is made with and cannot be changed later, as mysqld's options name it.
readonly MADE_WITH='^--(loose[-_])?(lower[-_]case[-_]table[-_]names|innodb[-_](page[-_]size|data[-_]|undo|temp|dedicated|checksum|redo[-_]log[-_]encrypt|log[-_]group)|default[-_]table[-_]encryption|early[-_]plugin|initialize)'

say() { printf '%s [entrypoint] %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
die() { say "ERROR: $*"; exit 1; }

# value NAME [DEFAULT]: puts $NAME, or the content of the file that $NAME_FILE names, into NAME.
value() {
    local name=$1 file_name="${1}_FILE" default="${2-}"
    if [[ -n "${!name-}" && -n "${!file_name-}" ]]; then
        die "$name and $file_name are both set; give one of them"
    fi
    if [[ -n "${!file_name-}" ]]; then
        [[ -r "${!file_name}" ]] || die "$file_name names ${!file_name}, which cannot be read"
        printf -v "$name" '%s' "$(<"${!file_name}")"
    elif [[ -z "${!name+set}" ]]; then
        printf -v "$name" '%s' "$default"
    fi
    # Init scripts read these, as they do with the official image; they are gone before the final exec.
    export "${name?}"
    unset "$file_name"
}

# The data directory that these arguments and the option files give mysqld.
data_directory() {
    local found=/var/lib/mysql line previous=''
    while IFS= read -r line; do
        [[ $line == --datadir=* ]] && found=${line#--datadir=}
    done < <(my_print_defaults mysqld server 2>/dev/null || true)
    for line in "$@"; do
        [[ $previous == --datadir ]] && found=$line
        [[ $line == --datadir=* ]] && found=${line#--datadir=}
        previous=$line
    done
    printf '%s' "${found%/}"
}

# A string for SQL, with quotes, on one line; ours are typed by operators and may hold anything.
sql_string() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\'/\\\'}
    text=${text//$'\n'/\\n}
    printf "'%s'" "$text"
}

# A name for SQL, with backticks.
sql_name() { printf '`%s`' "${1//\`/\`\`}"; }

# Runs SQL from standard input as root on the temporary server; the password goes by a file
# descriptor, never by the command line.
run_sql() {
    mysql --defaults-extra-file=<(
        printf '[client]\n'
        [[ -z "$ROOT_PASSWORD_NOW" ]] || printf 'password="%s"\n' "$(option_string "$ROOT_PASSWORD_NOW")"
    ) --protocol=socket --socket="$SOCKET" --user=root --comments --default-character-set=utf8mb4 "$@"
}

# The name by which init scripts written for the official image run SQL.
docker_process_sql() { run_sql "$@"; }

# Quotes for an option file: backslash and double quote are special there, and a line ends an option.
option_string() {
    local text=${1//\\/\\\\}
    text=${text//$'\n'/\\n}
    printf '%s' "${text//\"/\\\"}"
}

check_passwords() {
    value MYSQL_ROOT_PASSWORD
    value MYSQL_ROOT_HOST %
    value MYSQL_DATABASE
    value MYSQL_USER
    value MYSQL_PASSWORD
    if [[ -z "$MYSQL_ROOT_PASSWORD$MYSQL_EMPTY$MYSQL_RANDOM" ]]; then
        die "the data directory is empty and no password for root is given; set one of" \
            "MYSQL_ROOT_PASSWORD, MYSQL_ROOT_PASSWORD_FILE, MYSQL_RANDOM_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD"
    fi
    [[ "$MYSQL_USER" != root ]] || die "MYSQL_USER is root; root is set by MYSQL_ROOT_PASSWORD and MYSQL_ROOT_HOST"
    if [[ -n "$MYSQL_USER" && -z "$MYSQL_PASSWORD" ]] || [[ -z "$MYSQL_USER" && -n "$MYSQL_PASSWORD" ]]; then
        die "MYSQL_USER and MYSQL_PASSWORD must be given together"
    fi
}

# The rest of the arguments is what the server will run with.
start_temporary_server() {
    mysqld "$@" --user="$RUN_AS" --skip-networking --skip-log-bin --skip-replica-start \
        --read-only=OFF --super-read-only=OFF --loose-mysqlx=OFF --socket="$SOCKET" --pid-file=/run/mysqld/first-start.pid &
    TEMPORARY_PID=$!
    local waited=0
    until mysqladmin --no-defaults --protocol=socket --socket="$SOCKET" --user=root ping >/dev/null 2>&1; do
        kill -0 "$TEMPORARY_PID" 2>/dev/null || die "the temporary server ended; its messages are above"
        ((waited += 1))
        ((waited < START_SECONDS * 5)) || die "the temporary server did not answer within $START_SECONDS s"
        sleep 0.2
    done
}

stop_temporary_server() {
    kill -TERM "$TEMPORARY_PID"
    wait "$TEMPORARY_PID" || die "the temporary server did not end in order (status $?)"
    TEMPORARY_PID=''
}

fill_time_zones() {
    [[ -z "${MYSQL_INITDB_SKIP_TZINFO-}" && -d /usr/share/zoneinfo ]] || return 0
    mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null | run_sql mysql
}

# The statements that make the accounts, one a line.
accounts() {
    local password
    password=$(sql_string "$MYSQL_ROOT_PASSWORD")
    # The quoting of sql_string counts on the default meaning of a backslash.
    printf "SET SESSION sql_mode = '';\n"
    printf "ALTER USER 'root'@'localhost' IDENTIFIED BY %s;\n" "$password"
    if [[ -n "$MYSQL_ROOT_HOST" && "$MYSQL_ROOT_HOST" != localhost ]]; then
        printf "CREATE USER 'root'@%s IDENTIFIED BY %s;\n" "$(sql_string "$MYSQL_ROOT_HOST")" "$password"
        printf "GRANT ALL ON *.* TO 'root'@%s WITH GRANT OPTION;\n" "$(sql_string "$MYSQL_ROOT_HOST")"
    fi
    [[ -z "$MYSQL_DATABASE" ]] || printf 'CREATE DATABASE IF NOT EXISTS %s;\n' "$(sql_name "$MYSQL_DATABASE")"
    if [[ -n "$MYSQL_USER" ]]; then
        printf "CREATE USER %s@'%%' IDENTIFIED BY %s;\n" "$(sql_string "$MYSQL_USER")" "$(sql_string "$MYSQL_PASSWORD")"
        # In a GRANT, _ and % of the database name would be wildcards.
        local only=${MYSQL_DATABASE//_/\\_}
        [[ -z "$only" ]] || printf "GRANT ALL ON %s.* TO %s@'%%';\n" \
            "$(sql_name "${only//%/\\%}")" "$(sql_string "$MYSQL_USER")"
    fi
}

run_init_files() {
    local file database=()
    [[ -z "$MYSQL_DATABASE" ]] || database=(--database="$MYSQL_DATABASE")
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                say "running $file"
                if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
            *.sql) say "running $file"; run_sql "${database[@]}" <"$file" ;;
            *.sql.gz) say "running $file"; gzip -dc "$file" | run_sql "${database[@]}" ;;
            *) say "$file is neither .sh, .sql nor .sql.gz: left alone" ;;
        esac
    done
}

expire_root_password() {
    [[ -n "${MYSQL_ONETIME_PASSWORD-}" ]] || return 0
    printf "ALTER USER 'root'@%s PASSWORD EXPIRE;\n" "$(sql_string "${MYSQL_ROOT_HOST:-localhost}")" | run_sql
}

# Whether the server that stays can make the accounts with these arguments.
makes_accounts() {
    local -a scripts=(/docker-entrypoint-initdb.d/*)
    [[ ${#scripts[@]} -eq 0 && -z "${MYSQL_ONETIME_PASSWORD-}" ]] || return 1
    ! { printf '%s\n' "$@"; my_print_defaults mysqld server 2>/dev/null || true; } | grep -Eiq "$MAKES_NO_ACCOUNTS"
}

# Whether the packed data directory is what `mysqld --initialize` would make with these arguments.
template_serves() {
    [[ -r $TEMPLATE ]] || return 1
    ! { printf '%s\n' "$@"; my_print_defaults mysqld server 2>/dev/null || true; } | grep -Eiq "$MADE_WITH"
}

# A data directory with the system tables and time zones; every server made of it gets keys and a
# server_uuid of its own at its first start.
pack_template() {
    local data
    data=$(mktemp -d)
    chown "$RUN_AS:$RUN_AS" "$data"
    mkdir -p /run/mysqld "${TEMPLATE%/*}"
    chown "$RUN_AS:$RUN_AS" /run/mysqld
    # A small redo log keeps the file small; a server makes its own as large as it is told to.
    local -a options=(--no-defaults --datadir="$data" --innodb-redo-log-capacity=8M)
    mysqld "${options[@]}" --user="$RUN_AS" --initialize-insecure --skip-log-bin
    start_temporary_server "${options[@]}"
    fill_time_zones
    stop_temporary_server
    # Most of it is zeros, which are quicker not written; `unpack_template` gives them their room on the disk again.
    find "$data" -type f -size +"$LARGE" -exec fallocate --dig-holes '{}' ';'
    tar -C "$data" --sparse --numeric-owner --exclude='./*.pem' --exclude=./auto.cnf --exclude='./binlog.*' \
        -czf "$TEMPLATE" .
    rm -rf "$data"
}

# A file with holes could meet a full disk long after it was made: every file owns what it will need, where the file
# system can promise that.
unpack_template() {
    local data=$1 file error
    tar -C "$data" --numeric-owner -xzf "$TEMPLATE"
    find "$data" -type f -size +"$LARGE" -print0 | while IFS= read -r -d '' file; do
        error=$(LC_ALL=C fallocate --length "$(stat -c %s "$file")" "$file" 2>&1) ||
            [[ $error != *'No space'* ]] || die "the disk of $data has no room for a data directory"
    done
}

first_start() {
    local data=$1 packed=''
    shift
    check_passwords
    : >"$data/$MARKER"
    sync "$data/$MARKER" "$data"
    if [[ -n "$MYSQL_RANDOM" && -z "$MYSQL_ROOT_PASSWORD" ]]; then
        MYSQL_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 | tr -d '+/=\n')
        say "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi
    if template_serves "$@"; then
        packed=yes
        say "first start: unpacking a data directory in $data"
        unpack_template "$data"
        if makes_accounts "$@"; then
            UNFINISHED=$data
            return
        fi
    else
        say "first start: making a data directory in $data"
        mysqld "$@" --user="$RUN_AS" --initialize-insecure --skip-log-bin
    fi
    start_temporary_server "$@"
    [[ -n "$packed" ]] || fill_time_zones
    accounts | run_sql
    ROOT_PASSWORD_NOW=$MYSQL_ROOT_PASSWORD
    run_init_files
    expire_root_password
    stop_temporary_server
    finish "$data"
}

finish() {
    rm "$1/$MARKER"
    sync "$1"
    say "first start finished"
}

# Gives the server that stays its accounts, beside it, and sees that they are there. Otherwise it has to end: the
# data directory is made anew then.
finish_beside() {
    local data=$1 waited=0
    { printf 'SET SESSION sql_log_bin = OFF;\n'; accounts; } >"$ACCOUNTS"
    ROOT_PASSWORD_NOW=$MYSQL_ROOT_PASSWORD
    until [[ -S $SOCKET ]] && run_sql --execute='DO 0'; do
        ((waited += 1))
        if ((waited >= START_SECONDS * 5)); then
            say "ERROR: root cannot log in after $START_SECONDS s"
            kill -TERM 1
            return
        fi
        sleep 0.2
    done
    rm "$ACCOUNTS"
    finish "$data"
}

# Makes the directories and sees whether there is something in them to serve.
prepare() {
    local data
    data=$(data_directory "$@")
    mkdir -p "$data" /run/mysqld
    chown "$RUN_AS:$RUN_AS" /run/mysqld
    # Only what is not right yet: a chown of every file of a large directory takes minutes.
    find "$data" \! -user "$RUN_AS" -exec chown "$RUN_AS:$RUN_AS" '{}' + ||
        die "$data cannot be given to user $RUN_AS; look at its owner on the host"
    chmod 0750 "$data"
    if [[ -e "$data/$MARKER" ]]; then
        say "an earlier first start did not finish; clearing what it left in $data"
        find "$data" -mindepth 1 -maxdepth 1 \! -name "$MARKER" -exec rm -rf '{}' +
        first_start "$data" "$@"
    elif [[ ! -d "$data/mysql" ]]; then
        local left
        left=$(find "$data" -mindepth 1 -maxdepth 1 \! -name '.*' \! -name lost+found -print -quit)
        [[ -z "$left" ]] || die "$data holds $left but no MySQL system tables; it is not touched." \
            "Give an empty directory, or one that a MySQL server made"
        first_start "$data" "$@"
    fi
}

main() {
    [[ "${1-}" != -* ]] || set -- mysqld "$@"
    TEMPORARY_PID=''
    ROOT_PASSWORD_NOW=''
    UNFINISHED=''
    if [[ "${1-}" == pack-template ]]; then
        pack_template
        return
    elif [[ "${1-mysqld}" != mysqld ]]; then
        exec "$@"
    fi
    shift || true
    local argument
    for argument in "$@"; do
        case $argument in
            # Questions to the program, for which there is nothing to set up.
            --help | -\? | --version | -V | --validate-config | --print-defaults)
                exec mysqld --user="$RUN_AS" "$@" ;;
        esac
    done
    MYSQL_EMPTY=${MYSQL_ALLOW_EMPTY_PASSWORD-}
    MYSQL_RANDOM=${MYSQL_RANDOM_ROOT_PASSWORD-}
    # A stop during the first start ends the temporary server too; the marker stays.
    trap '[[ -z "$TEMPORARY_PID" ]] || { kill -TERM "$TEMPORARY_PID"; wait "$TEMPORARY_PID"; }; exit 143' TERM INT
    prepare "$@"
    trap - TERM INT
    local -a run=()
    if [[ -n "$UNFINISHED" ]]; then
        rm -f "$ACCOUNTS" "$SOCKET"
        mkfifo -m 0600 "$ACCOUNTS"
        chown "$RUN_AS:$RUN_AS" "$ACCOUNTS"
        finish_beside "$UNFINISHED" &
        set -- "$@" --init-file="$ACCOUNTS"
        # mysqld asks after no child; so the one that ends leaves nothing.
        run=(env --ignore-signal=CHLD)
    fi
    # mysqld and what it starts must not inherit passwords in their environment.
    unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD MYSQL_ROOT_PASSWORD_FILE MYSQL_PASSWORD_FILE
    # mysqld becomes the first process, so it gets the engine's SIGTERM itself and stops in order.
    exec "${run[@]}" mysqld "$@" --user="$RUN_AS" --socket="$SOCKET"
}

main "$@"
