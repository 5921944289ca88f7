#!/bin/bash
# Everything that `make test` needs, made in parallel with the compile of the tests:
#
#   a Docker Engine, the MySQL image, etcd, sysbench, Compose, libfaketime, and in target/test-tools: a Python with
#   PyMySQL and mysql-connector-python, Node's mysql2, the mysql client programs. target/test-tools/env names them.
#
#   scripts/test-setup.sh [--compile]     --compile builds the tests meanwhile
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOOLS=$ROOT_DIR/target/test-tools
PYTHON_PACKAGES=(PyMySQL==1.1.2 mysql-connector-python==9.5.0 cryptography)
NODE_PACKAGES=(mysql2@3)
IMAGE=${WEIR_MYSQL_IMAGE:-$IMAGE_DEFAULT}

# done_with STAMP WORDS..: whether the stamp file says that exactly this was made.
done_with() { [[ "$(cat "$TOOLS/$1" 2>/dev/null)" == "${*:2}" ]]; }
stamp() { printf '%s\n' "${*:2}" >"$TOOLS/$1"; }

engine_and_image() {
    "$ROOT_DIR/scripts/engine.sh"
    "$ROOT_DIR/scripts/image.sh"
    mysql_clients
}

debian_python_and_node() {
    local missing=()
    command -v node >/dev/null && command -v npm >/dev/null || missing+=(nodejs npm)
    command -v etcd >/dev/null || missing+=(etcd-server)
    command -v sysbench >/dev/null || missing+=(sysbench)
    [[ -e /usr/lib/$(uname -m)-linux-gnu/faketime/libfaketimeMT.so.1 ]] || missing+=(libfaketime)
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || missing+=(docker-compose)
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
    ((${#missing[@]} == 0)) || apt_install "the tests' drivers, load, etcd and Compose" "${missing[@]}"
    python_tools
    node_tools
}

python_tools() {
    local what="$(python3 --version) ${PYTHON_PACKAGES[*]}"
    done_with python.stamp "$what" && return 0
    rm -rf "$TOOLS/python"
    python3 -m venv "$TOOLS/python"
    "$TOOLS/python/bin/pip" install --disable-pip-version-check --quiet "${PYTHON_PACKAGES[@]}"
    stamp python.stamp "$what"
}

node_tools() {
    local what="$(node --version) ${NODE_PACKAGES[*]}"
    done_with node.stamp "$what" && return 0
    rm -rf "$TOOLS/node"
    mkdir -p "$TOOLS/node"
    npm install --prefix "$TOOLS/node" --no-audit --no-fund --loglevel=error "${NODE_PACKAGES[@]}"
    stamp node.stamp "$what"
}

# The image's own client programs with their libraries, so that they run here without a container.
mysql_clients() {
    local id name loader directories files
    # The programs' wrappers name their place.
    id="$(docker image inspect -f '{{.Id}}' "$IMAGE") in $TOOLS"
    done_with clients.stamp "$id" && return 0
    rm -rf "$TOOLS/mysql-root" && mkdir -p "$TOOLS/mysql-root" "$TOOLS/bin"
    # The real path of the programs and of every library that they load.
    files=$(docker run --rm --network none --entrypoint sh "$IMAGE" -c \
        'for name in mysql mysqladmin mysqldump; do command -v "$name"; ldd "$(command -v "$name")"; done' |
        tr ' \t' '\n\n' | grep '^/' | sort -u)
    docker run --rm --network none --entrypoint tar "$IMAGE" -chf - -C / $(sed 's|^/||' <<<"$files") |
        tar -C "$TOOLS/mysql-root" -xf -
    loader=$(grep '/ld-linux' <<<"$files" | head -n 1)
    directories=$(grep '\.so' <<<"$files" | xargs -n 1 dirname | sort -u | sed "s|^|$TOOLS/mysql-root|" | paste -sd:)
    for name in mysql mysqladmin mysqldump; do
        printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$TOOLS/mysql-root$loader" "$directories" \
            "$TOOLS/mysql-root$(grep "/$name\$" <<<"$files" | head -n 1)" >"$TOOLS/bin/$name"
        chmod +x "$TOOLS/bin/$name"
    done
    "$TOOLS/bin/mysql" --version
    stamp clients.stamp "$id"
}

# job NAME FUNCTION: runs it in the background, output to a log file.
job() {
    local log=$LOG_DIR/setup-$1.log
    say "$1: started (log: $log)"
    (trap - EXIT; set -euo pipefail; "$2") >"$log" 2>&1 </dev/null &
    JOBS+=("$1:$!:$SECONDS")
}

# Waits for every job; tells of each, and the end of the log of those that failed.
finish_jobs() {
    local job name pid started failed=0
    for job in "${JOBS[@]}"; do
        IFS=: read -r name pid started <<<"$job"
        if wait "$pid"; then
            say "$name: ready"
        else
            failed=1
            warn "$name failed. The end of $LOG_DIR/setup-$name.log:"
            tail -n 25 "$LOG_DIR/setup-$name.log" | sed 's/^/    | /' >&2
        fi
    done
    ((failed == 0)) || die "the tests' set-up failed; the reasons are above"
}

cd "$ROOT_DIR"
mkdir -p "$TOOLS" "$LOG_DIR"
command -v cargo >/dev/null || die "cargo is not installed; see https://rustup.rs"
command -v gcc >/dev/null || apt_install "a linker and a C compiler" gcc libc6-dev

JOBS=()
job engine engine_and_image
job tools debian_python_and_node
if [[ "${1-}" == --compile ]]; then
    say "compiling Weir and its tests"
    cargo test --no-run --locked || { finish_jobs || true; die "the tests do not compile"; }
fi
finish_jobs

cat >"$TOOLS/env" <<END
PYTHON=$TOOLS/python/bin/python3
NODE=$(command -v node)
NODE_PATH=$TOOLS/node/node_modules
MYSQL_CLIENT=$TOOLS/bin/mysql
MYSQL_IMAGE=$IMAGE
END
say "the tests' tools are in $TOOLS"
