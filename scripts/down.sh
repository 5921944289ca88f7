#!/bin/bash
# Stops Weir and the cluster's containers; the data stays. With --destroy the data goes as well, after a
# question; with --destroy --yes without one.
#
#   scripts/down.sh CONFIG [--destroy [--yes]]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CONFIG=${1:-proxy.toml}
cd "$ROOT_DIR"
weir=$ROOT_DIR/target/release/weir
[[ -x $weir ]] || weir=$ROOT_DIR/target/debug/weir
[[ -x $weir ]] || die "Weir is not built, so nothing was started from here; make up builds it"

stop() { stop_weir "$(state_dir "$CONFIG")/weir.pid"; }
if [[ "${2-}" == --destroy ]]; then
    # The question comes first: whoever says no keeps a running Weir.
    if [[ "${3-}" != --yes ]]; then
        [[ -t 0 ]] || die "destroy removes data and there is no terminal to ask on; say: make destroy YES=1"
        read -r -p "This removes the cluster of $CONFIG with all its data. Type yes to go on: " answer
        [[ $answer == yes ]] || die "nothing was removed"
    fi
    stop
    "$weir" cluster destroy --yes --config "$CONFIG"
else
    stop
    "$weir" cluster down --config "$CONFIG"
fi
