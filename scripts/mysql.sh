#!/bin/bash
# MySQL's own client, connected to Weir as the application; needs no client and no password on this machine.
#
#   scripts/mysql.sh [-e SQL | other options of mysql]
#
# WEIR_CONFIG  the configuration whose Weir is meant (default proxy.toml)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options=$(state_dir "${WEIR_CONFIG:-$ROOT_DIR/proxy.toml}")/client.cnf
[[ -f $options ]] || die "$options is not there; run make up first"
image=${WEIR_MYSQL_IMAGE:-$IMAGE_DEFAULT}
terminal=()
[[ ! -t 0 || ! -t 1 ]] || terminal=(--tty)
exec docker run --rm --interactive "${terminal[@]}" --network host \
    --volume "$options:/run/weir-client.cnf:ro" --entrypoint mysql "$image" \
    --defaults-extra-file=/run/weir-client.cnf "$@"
