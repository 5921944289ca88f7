#!/bin/bash
# From nothing to a running cluster with Weir in front of it. Run again, it changes nothing that is right.
#
#   scripts/up.sh [CONFIG]        default proxy.toml
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CONFIG=${1:-proxy.toml}
ANSWER_SECONDS=30
cd "$ROOT_DIR"
command -v cargo >/dev/null || die "cargo is not installed; see https://rustup.rs"
[[ -f $CONFIG ]] || die "$CONFIG does not exist"

"$ROOT_DIR/scripts/engine.sh"
"$ROOT_DIR/scripts/image.sh"
command -v gcc >/dev/null || apt_install "a C compiler for the crypto library" gcc libc6-dev
step "$LOG_DIR/build-release.log" "building Weir (release mode; minutes at the first time)" cargo build --release --locked
weir=$ROOT_DIR/target/release/weir

say "cluster"
"$weir" cluster up --config "$CONFIG"
state=$(state_dir "$CONFIG")
pid_file=$state/weir.pid
log=$state/weir.log
options=$state/client.cnf

if running "$pid_file"; then
    pid=$(<"$pid_file")
    if [[ "$(readlink "/proc/$pid/exe")" == "$weir" && ! "$CONFIG" -nt "$pid_file" ]]; then
        say "Weir runs already (process $pid)"
    else
        say "the program or $CONFIG has changed: restarting Weir"
        stop_weir "$pid_file"
    fi
fi
if ! running "$pid_file"; then
    say "starting Weir; its log is $log"
    # A session of its own: it outlives this terminal.
    setsid --fork bash -c 'echo $$ >"$1"; exec "$2" serve --config "$3" </dev/null >>"$4" 2>&1' \
        start-weir "$pid_file" "$weir" "$CONFIG" "$log"
fi

host=$(sed -n 's/^host = //p' "$options")
port=$(sed -n 's/^port = //p' "$options")
waited=0
until greets "$host" "$port"; do
    ((waited += 1))
    if ((waited > ANSWER_SECONDS * 5)) || { ((waited > 5)) && ! running "$pid_file"; }; then
        tail -n 15 "$log" | sed 's/^/    | /' >&2
        die "Weir does not answer on $host:$port; its last messages are above ($log)"
    fi
    sleep 0.2
done

user=$(sed -n 's/^user = "\(.*\)"$/\1/p' "$options")
database=$(sed -n 's/^database = "\(.*\)"$/\1/p' "$options")
cat <<END

Weir serves on $host:$port. Connect as to one MySQL server:

    user      $user
    password  in $options (the line "password"); scripts/mysql.sh needs none
    database  $database

Try it:

    scripts/mysql.sh -e "SELECT @@hostname AS answered_by"

make status shows the servers, make down stops everything and keeps the data.
END
