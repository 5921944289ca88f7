#!/bin/bash
# Makes sure of the MySQL image: the one WEIR_MYSQL_IMAGE names is used or pulled; with none named
# weir-mysql is built, once.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image=${WEIR_MYSQL_IMAGE:-$IMAGE_DEFAULT}
if [[ "$image" == "$IMAGE_DEFAULT" ]]; then
    exec "$ROOT_DIR/scripts/build-image.sh" "$image"
fi
if docker image inspect "$image" >/dev/null 2>&1; then
    say "image $image (WEIR_MYSQL_IMAGE) is there"
else
    step "$LOG_DIR/image-pull.log" "pulling $image (WEIR_MYSQL_IMAGE)" docker pull "$image"
fi
