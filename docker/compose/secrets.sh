#!/bin/bash
# Makes the passwords of docker-compose.yml's cluster, each once. What is there stays: losing one means
# losing the way to the data.
#
#   /run/mysql-secrets   root, replication, monitor, app: for the servers and their set-up
#   /run/weir-secrets    monitor, and client.cnf for those who connect through Weir: for Weir
set -euo pipefail

# mysqld's user in the images, and Weir's in its own: both read their files as 999.
readonly OWNER=999
readonly ALL=/run/mysql-secrets WEIR=/run/weir-secrets STATE=/var/lib/weir
umask 077

# 24 letters and digits: 142 bits, and short enough for replication's limit of 32.
password() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 24 || true; }

# keep FILE: writes standard input there, whole or not at all, unless the file is there.
keep() {
    [[ ! -e $1 ]] || return 0
    cat >"$1.part"
    chown "$OWNER:$OWNER" "$1.part"
    chmod 0400 "$1.part"
    mv "$1.part" "$1"
}

for name in root replication monitor app; do
    password | keep "$ALL/$name.password"
done
keep "$WEIR/monitor.password" <"$ALL/monitor.password"
keep "$WEIR/client.cnf" <<END
[client]
protocol = tcp
host = weir
port = 6033
user = "app"
password = "$(<"$ALL/app.password")"

[mysql]
database = "app"
END
chown "$OWNER:$OWNER" "$ALL" "$WEIR" "$STATE"
chmod 0700 "$ALL" "$WEIR" "$STATE"
