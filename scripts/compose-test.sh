#!/bin/bash
# Brings docker-compose.yml up under a name of its own, writes and reads through Weir, brings it up again
# to see that nothing changes, and removes it with its volumes.
#
#   scripts/compose-test.sh
#
# WEIR_IMAGE, WEIR_BINARY, WEIR_MYSQL_IMAGE as in scripts/weir-image.sh and docker-compose.yml
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PROJECT=weircompose$$
# Above those that other tests publish servers at.
PORT_FIRST=31533
READ_TRIES=50
cd "$ROOT_DIR"
mkdir -p "$LOG_DIR"
LOG=$LOG_DIR/compose-test.log
: >"$LOG"

if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
else
    command -v docker-compose >/dev/null || apt_install "the test of docker-compose.yml" docker-compose
    COMPOSE=(docker-compose)
fi
compose() { "${COMPOSE[@]}" --project-name "$PROJECT" "$@" 2>>"$LOG"; }
weir_sql() { compose run --rm -T client --batch --skip-column-names -e "$1" </dev/null; }
service_id() { compose ps -q "$1"; }
# Containers of the services that stay, each with the time of its start.
lasting() { for service in primary replica1 replica2 weir; do docker inspect -f '{{.Id}} {{.State.StartedAt}}' "$(service_id "$service")"; done; }

free_port() {
    local port=$PORT_FIRST
    while { exec 7<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; do
        exec 7>&-
        ((port += 1))
    done
    printf '%s' "$port"
}

finish() {
    local status=$?
    if ((status != 0)); then
        warn "failed; what Compose and the services said last:"
        { tail -n 15 "$LOG"; compose logs --no-color --tail 15; } 2>&1 | sed 's/^/    | /' >&2
    fi
    compose down --volumes --remove-orphans >>"$LOG" || true
    [[ -z "$OWN_IMAGE" ]] || docker rmi "$OWN_IMAGE" >>"$LOG" 2>&1 || true
    exit "$status"
}

OWN_IMAGE=''
if [[ -z "${WEIR_IMAGE-}" ]]; then
    OWN_IMAGE=weir:$PROJECT
    export WEIR_IMAGE=$OWN_IMAGE
    scripts/weir-image.sh "$WEIR_IMAGE"
fi
WEIR_PORT=$(free_port)
export WEIR_PORT
say "${COMPOSE[*]} ($("${COMPOSE[@]}" version --short 2>/dev/null)), project $PROJECT, Weir on port $WEIR_PORT"
trap finish EXIT

started=$SECONDS
compose up -d >>"$LOG"
say "up in $((SECONDS - started)) s"
greets 127.0.0.1 "$WEIR_PORT" || { sleep 2; greets 127.0.0.1 "$WEIR_PORT"; } || die "Weir does not answer on port $WEIR_PORT"
compose exec -T weir weir status --config /etc/weir/proxy.toml </dev/null

weir_sql "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1, 'one'), (2, 'two')"
[[ "$(weir_sql 'SELECT COUNT(*) FROM t')" == 2 ]] || die "what was written is not read"
answered=$(weir_sql "$(printf 'SELECT UUID_SHORT() >> 56 FROM t LIMIT 1;%.0s' $(seq "$READ_TRIES"))" | sort -u | tr '\n' ' ')
say "reads were answered by server ids: $answered"
[[ "$answered" == "2 3 " || "$answered" == "2 " || "$answered" == "3 " ]] || die "reads were not answered by replicas"
[[ "$(weir_sql 'INSERT INTO t VALUES (3, @@server_id); SELECT v FROM t WHERE id = 3')" == 1 ]] || die "a write did not go to the primary"
compose exec -T weir weir workload --config /etc/weir/proxy.toml --login /run/weir-secrets/client.cnf \
    --seconds 3 --rows-per-second 10 </dev/null | tail -n 6

before=$(lasting)
history=$(weir_sql 'SELECT @@global.gtid_executed')
started=$SECONDS
compose up -d >>"$LOG"
say "up again in $((SECONDS - started)) s"
[[ "$(lasting)" == "$before" ]] || die "the second up made or restarted a container"
[[ "$(weir_sql 'SELECT @@global.gtid_executed')" == "$history" ]] || die "the second up wrote something"

# No password in what anybody may see.
password=$(compose exec -T weir sed -n 's/^password = "\(.*\)"/\1/p' /run/weir-secrets/client.cnf </dev/null | tr -d '\r')
[[ ${#password} -eq 24 ]] || die "the application's password is not where it should be"
for service in primary weir; do
    id=$(service_id "$service")
    ! { docker inspect "$id"; docker logs "$id"; } 2>&1 | grep -qF "$password" || die "$service shows a password"
done

started=$SECONDS
compose down >>"$LOG"
compose up -d >>"$LOG"
[[ "$(weir_sql 'SELECT COUNT(*) FROM t')" == 3 ]] || die "the data did not survive down and up"
say "down and up again in $((SECONDS - started)) s, with the data"
say "docker-compose.yml works"
