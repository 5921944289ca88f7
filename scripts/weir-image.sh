#!/bin/bash
# Makes Weir's image from a program that is built already, without Rust or a registry inside Docker.
#
#   scripts/weir-image.sh [TAG]         default weir:latest
#
# WEIR_BINARY       the program (default target/release/weir; built when it is not there)
# WEIR_BASE_IMAGE   an image with glibc that is there or can be pulled (default: the MySQL image)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TAG=${1:-weir:latest}
BINARY=${WEIR_BINARY:-$ROOT_DIR/target/release/weir}
BASE=${WEIR_BASE_IMAGE:-${WEIR_MYSQL_IMAGE:-$IMAGE_DEFAULT}}

if [[ ! -x $BINARY ]]; then
    [[ -z "${WEIR_BINARY-}" ]] || die "$BINARY is not there"
    command -v cargo >/dev/null || die "cargo is not installed; see https://rustup.rs, or let docker compose build it"
    cd "$ROOT_DIR"
    step "$LOG_DIR/build-release.log" "building Weir (release mode; minutes at the first time)" cargo build --release --locked
fi
context=$(mktemp -d "${TMPDIR:-/var/tmp}/weir-context.XXXXXX")
trap 'rm -rf "$context"' EXIT
mkdir "$context/prebuilt"
# Without debugging information: a tenth of the size.
strip -o "$context/prebuilt/weir" "$BINARY" 2>/dev/null || cp "$BINARY" "$context/prebuilt/weir"
chmod 0755 "$context/prebuilt" "$context/prebuilt/weir"
# The classic builder is everywhere; BuildKit would need its plugin with newer clients.
step "$LOG_DIR/weir-image.log" "image $TAG on $BASE" env DOCKER_BUILDKIT=0 docker build --tag "$TAG" \
    --build-arg "BUILD_IMAGE=$BASE" --build-arg "BASE_IMAGE=$BASE" \
    --file "$ROOT_DIR/docker/weir.Dockerfile" "$context"
# The classic builder keeps a stage as an image without a name: each time another program and its copy.
docker image prune --force --filter label=dev.weir.stage=build >>"$LOG_DIR/weir-image.log" 2>&1 || true
