#!/bin/bash
# Makes the MySQL image that Weir's cluster runs on, from Debian sid's own MySQL packages.
#
#   scripts/build-image.sh [TAG]        default weir-mysql:9.7; quick when it is there already
#
# WEIR_DEBIAN_MIRROR  another mirror (default http://deb.debian.org/debian)
# WEIR_DEBIAN_SUITE   another suite that has mysql-server-core (default sid)
# WEIR_ROOTFS         a directory that keeps the unpacked file system; what is there is used again
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ "${1-}" == --as-root ]]; then TAG=$2; else TAG=${1:-$IMAGE_DEFAULT}; fi
MIRROR=${WEIR_DEBIAN_MIRROR:-http://deb.debian.org/debian}
SUITE=${WEIR_DEBIAN_SUITE:-sid}
PACKAGES=mysql-server-core,mysql-client-core,tzdata

# What a server in a container never opens: documentation, translations, perl (only helper scripts that
# are not used here need it), tools for MyISAM files, clients' plugins for logins elsewhere.
strip_tree() {
    local root=$1
    (
        cd "$root"
        find usr/share/doc -mindepth 1 \! -type d \! -name copyright -delete
        rm -rf usr/share/{man,locale,info,lintian,bash-completion,perl,perl5,bug,gdb}
        rm -rf usr/lib/x86_64-linux-gnu/{perl,perl5,gconv} usr/lib/*/perl usr/lib/*/perl5 usr/lib/*/libperl.so*
        rm -rf var/cache/apt/* var/lib/apt/lists/* var/cache/debconf/*-old var/log/*
        rm -f usr/bin/{myisam_ftdump,myisamchk,myisamlog,myisampack,mysqlslap,mysql_migrate_keyring}
        rm -f usr/bin/{perror,ibd2sdi,innochecksum,mysqlimport,mysqlshow,mysql_secure_installation}
        rm -f usr/bin/{mysqld_safe,mysqld_multi,mysqldumpslow,mysqlhotcopy}
        rm -f usr/lib/mysql/plugin/{authentication_{oci,kerberos,webauthn,openid_connect}_client,telemetry_client}.so
        rm -rf dev/* proc/* sys/* tmp/* run/*
    )
}

# The account, directories and files that the entry point counts on. 999 is what the official image uses.
furnish_tree() {
    local root=$1
    chroot "$root" getent group mysql >/dev/null || chroot "$root" groupadd --system --gid 999 mysql
    chroot "$root" getent passwd mysql >/dev/null ||
        chroot "$root" useradd --system --uid 999 --gid 999 --home-dir /var/lib/mysql --no-create-home mysql
    install -d -o 999 -g 999 -m 0750 "$root/var/lib/mysql" "$root/var/lib/mysql-files"
    install -d -o 999 -g 999 -m 0755 "$root/run/mysqld"
    install -d -m 0755 "$root/etc/mysql/conf.d" "$root/docker-entrypoint-initdb.d"
    install -m 0644 "$ROOT_DIR/docker/my.cnf" "$root/etc/mysql/my.cnf"
    install -m 0755 "$ROOT_DIR/docker/entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
}

furnish_and_strip() {
    furnish_tree "$1"
    strip_tree "$1"
}

# A data directory that every first start unpacks: made here once, it spares each server its own.
pack() {
    local container
    container=$(docker create --network none "$TAG" pack-template)
    docker start --attach "$container" &&
        docker commit --change 'CMD ["mysqld"]' "$container" "$TAG" || { docker rm -f "$container"; return 1; }
    docker rm "$container"
}

bootstrap() {
    local root=$1
    # Packages are unpacked into a directory that is thrown away on failure: no need to wait for the disk
    # after each file.
    local -a quick=()
    if command -v eatmydata >/dev/null; then quick=(eatmydata); fi
    "${quick[@]}" debootstrap --variant=minbase --merged-usr --include="$PACKAGES" "$SUITE" "$root" "$MIRROR"
}

import() {
    local root=$1
    tar --numeric-owner --xattrs -C "$root" -c . | docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
        --change 'ENTRYPOINT ["docker-entrypoint.sh"]' \
        --change 'CMD ["mysqld"]' \
        --change 'EXPOSE 3306' \
        --change "LABEL dev.weir.image=mysql dev.weir.entrypoint=$(entrypoint_sum)" \
        --message "Debian $SUITE, $PACKAGES" \
        - "$TAG"
}

# Names the state of our own files in the image: when they change, the image is made again.
entrypoint_sum() {
    cat "$ROOT_DIR/docker/entrypoint.sh" "$ROOT_DIR/docker/my.cnf" | sha256sum | cut -c 1-16
}

# Our files changed but the image is there: a new layer over it is enough.
refresh() {
    local container
    container=$(docker create "$TAG")
    docker cp "$ROOT_DIR/docker/my.cnf" "$container:/etc/mysql/my.cnf" &&
        docker cp "$ROOT_DIR/docker/entrypoint.sh" "$container:/usr/local/bin/docker-entrypoint.sh" &&
        docker commit --change "LABEL dev.weir.entrypoint=$(entrypoint_sum)" "$container" "$TAG"
    docker rm "$container"
}

# The parts that need root are this script again, called with the function's name.
with_root() {
    as_root env PATH="/usr/sbin:/sbin:$PATH" WEIR_DEBIAN_MIRROR="$MIRROR" WEIR_DEBIAN_SUITE="$SUITE" \
        DOCKER_HOST="${DOCKER_HOST-}" \
        "${BASH_SOURCE[0]}" --as-root "$TAG" "$@"
}
if [[ "${1-}" == --as-root ]]; then
    shift 2
    "$@"
    exit
fi

docker version >/dev/null 2>&1 || die "no Docker Engine answers; run scripts/engine.sh first"
built_with=$(docker image inspect -f '{{index .Config.Labels "dev.weir.entrypoint"}}' "$TAG" 2>/dev/null || true)
if [[ -n "$built_with" && "$built_with" == "$(entrypoint_sum)" ]]; then
    say "image $TAG is there"
    exit 0
elif [[ -n "$built_with" ]]; then
    step "$LOG_DIR/image-refresh.log" "image $TAG: new entry point" refresh
    step "$LOG_DIR/image-pack.log" "packing an empty data directory into it" pack
    exit 0
elif docker image inspect "$TAG" >/dev/null 2>&1; then
    say "image $TAG is there (not made by this script)"
    exit 0
fi

say "image $TAG is not there yet: it is made once, from Debian $SUITE (about 70 MB to download)"
apt_install "makes a Debian file system" debootstrap debian-archive-keyring gpgv eatmydata
work=${WEIR_ROOTFS:-$(mktemp -d "${TMPDIR:-/var/tmp}/weir-image.XXXXXX")}
[[ -n "${WEIR_ROOTFS-}" ]] || trap 'as_root rm -rf "$work"' EXIT
if [[ ! -x "$work/usr/sbin/mysqld" ]]; then
    step "$LOG_DIR/image-debootstrap.log" "unpacking Debian $SUITE with MySQL" with_root bootstrap "$work"
fi
step "$LOG_DIR/image-strip.log" "taking out what a server does not need" with_root furnish_and_strip "$work"
step "$LOG_DIR/image-import.log" "importing $TAG" with_root import "$work"
step "$LOG_DIR/image-pack.log" "packing an empty data directory into it" pack
docker image inspect -f "    image $TAG: {{.Size}} bytes" "$TAG"
