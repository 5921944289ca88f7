#!/bin/bash
# The load run: a cluster of its own, and in front of it HAProxy (TCP mode: one port to the primary, one to both
# replicas, as Weir spreads reads), Weir as it is by default, and a Weir that does what HAProxy's first port does: the
# primary alone. None speaks TLS to the servers. Measured in turn in every round; prints a table, and every run is a line
# of target/bench/load.jsonl.
#
#   ROUNDS=3 SECONDS_EACH=6 CLIENTS=5000 benches/load.sh [point] [prepared] [connect] [big] [idle]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

cd "$ROOT_DIR"
dir=$ROOT_DIR/target/bench
weir=$ROOT_DIR/target/release/weir
config=$dir/proxy.toml
weir_port=6133 haproxy_port=6134 replicas_port=6135 weir_plain_port=6136
mkdir -p "$dir"
"$ROOT_DIR/scripts/engine.sh"
"$ROOT_DIR/scripts/image.sh"
command -v sysbench >/dev/null && command -v haproxy >/dev/null ||
    apt_install "load and a peer to compare with" sysbench haproxy
[[ -x $weir ]] || step "$LOG_DIR/build-release.log" "building Weir (release mode)" cargo build --release --locked
ulimit -n "$(ulimit -Hn)"

cat >"$config" <<END
[proxy]
listen = "127.0.0.1:$weir_port"
state_dir = "state"
[cluster]
name = "weirbench"
port_base = 14301
options = { max_connections = "6000", back_log = "4096", max_allowed_packet = "67108864" }
END

pids=()
stop() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    "$weir" cluster destroy --yes --config "$config" >/dev/null 2>&1 || true
}
trap stop EXIT

"$weir" cluster up --config "$config"
nodes=$("$weir" cluster status --json --config "$config" |
    python3 -c 'import json,sys; v=json.load(sys.stdin); print(" ".join(n["address"] for n in sorted(v["nodes"], key=lambda n: n["role"] != "primary")))')
read -r primary first second _ <<<"$nodes"

cat >"$dir/haproxy.cfg" <<END
global
  maxconn 8000
  nbthread $(nproc)
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen primary
  bind 127.0.0.1:$haproxy_port backlog 4096
  server primary $primary
listen replicas
  bind 127.0.0.1:$replicas_port backlog 4096
  balance roundrobin
  server first $first
  server second $second
END
haproxy -db -f "$dir/haproxy.cfg" >"$dir/haproxy.log" 2>&1 &
pids+=($!)
haproxy_pid=$!
WEIR_LOG=warn "$weir" serve --config "$config" >"$dir/weir.log" 2>&1 &
pids+=($!)
weir_pid=$!
WEIR_BENCH_MONITOR=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["monitor_password"])' "$dir/state/cluster-weirbench.json")
export WEIR_BENCH_MONITOR
mkdir -p "$dir/plain"
cat >"$dir/plain/proxy.toml" <<END
[proxy]
listen = "127.0.0.1:$weir_plain_port"
state_dir = "state"
server_tls = "off"
[monitor]
user = "weir_monitor"
password_env = "WEIR_BENCH_MONITOR"
[[servers]]
name = "primary"
address = "$primary"
END
WEIR_LOG=warn "$weir" serve --config "$dir/plain/proxy.toml" >"$dir/plain/weir.log" 2>&1 &
pids+=($!)
weir_plain_pid=$!

python3 "$ROOT_DIR/benches/load/load.py" \
    --options "$dir/state/client.cnf" --results "$dir/load.jsonl" --backends $nodes \
    --target "direct=$primary" \
    --target "haproxy=127.0.0.1:$haproxy_port:$haproxy_pid" \
    --target "haproxy-replicas=127.0.0.1:$replicas_port:$haproxy_pid" \
    --target "weir=127.0.0.1:$weir_port:$weir_pid" \
    --target "weir-plain=127.0.0.1:$weir_plain_port:$weir_plain_pid" \
    --rounds "${ROUNDS:-3}" --seconds "${SECONDS_EACH:-6}" --clients "${CLIENTS:-5000}" "$@"
