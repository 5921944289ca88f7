#!/bin/bash
# The benchmarks: criterion's, then every load run in benches/ (*.sh), each with what it needs installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$ROOT_DIR"
"$ROOT_DIR/scripts/engine.sh"
"$ROOT_DIR/scripts/image.sh"
command -v sysbench >/dev/null && command -v haproxy >/dev/null || apt_install "load and a peer to compare with" sysbench haproxy
step "$LOG_DIR/build-release.log" "building Weir (release mode)" cargo build --release --locked
cargo bench --locked --package weir-benches
shopt -s nullglob
for run in benches/*.sh; do
    say "$run"
    "$run"
done
