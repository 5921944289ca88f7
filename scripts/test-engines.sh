#!/bin/bash
# Runs the tests of the managed cluster against another release of the Docker Engine than this machine's: Debian's
# docker.io of another suite, unpacked into target/engines/SUITE and started for the tests alone.
#
#   scripts/test-engines.sh [SUITE..] [-- ARGUMENTS OF THE TESTS]
#
# Before the tests the daemon itself is restarted under a cluster that takes writes.
#
# SUITE is one of Debian's, sid when none is given. One with "+containerd" has the engine keep its images in
# containerd's store, as engines from 29 on do by themselves: sid+containerd. Needs root.
#
# The engine and the tests run in namespaces of their own (processes, network, mounts), so this machine's engine, its
# rules for packets and its containers are not touched, and all of it is gone when the tests are over, however they
# end. What was unpacked stays, for the next time; rm -rf target/engines removes it.
#
# WEIR_DEBIAN_MIRROR  another mirror (default http://deb.debian.org/debian)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MIRROR=${WEIR_DEBIAN_MIRROR:-http://deb.debian.org/debian}
ENGINES=$ROOT_DIR/target/engines
IMAGE=${WEIR_MYSQL_IMAGE:-$IMAGE_DEFAULT}
ANSWER_SECONDS=60
STOP_SECONDS=60
# Documentation's addresses (RFC 5737): the tests want a way out, and nothing is to leave.
OWN_ADDRESS=198.51.100.7/24

bootstrap() {
    local suite=$1 root=$2 packages=docker.io,iptables,ca-certificates
    # Without it every unpacked file waits for the disk.
    local -a quick=()
    if command -v eatmydata >/dev/null; then quick=(eatmydata); fi
    rm -rf "$root.part"
    mkdir -p "$(dirname "$root")"
    "${quick[@]}" debootstrap --variant=minbase --include="$packages" "$suite" "$root.part" "$MIRROR"
    rm -rf "$root.part"/var/cache/apt/archives/*.deb
    mv "$root.part" "$root"
}

# What the daemon must see of this machine, at the same paths: devices, control groups, where the tests make folders
# that containers are given, and what docker-compose.yml gives its own.
mount_all() {
    local root=$1 place
    # The daemon makes mounts of its own, which it can only where its root is a mount itself.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    # As this network has it; the control groups are this machine's.
    mount -t sysfs sysfs "$root/sys"
    for place in /dev /sys/fs/cgroup "${TMPDIR:-/tmp}" "$ROOT_DIR/docker/compose"; do
        mkdir -p "$root$place"
        mount --rbind "$place" "$root$place"
    done
    mount -t tmpfs tmpfs "$root/run"
    mkdir -p "$root/run/lock"
}

network() {
    ip link set lo up
    ip link add weir0 type veth peer name weir1
    ip address add "$OWN_ADDRESS" dev weir0
    ip link set weir0 up
    ip link set weir1 up
    ip route add default dev weir0
    # Debian's daemon sets it too, but not before it looks.
    echo 1 >/proc/sys/net/ipv4/ip_forward
}

answers() { docker version >/dev/null 2>&1; }

# Nothing of an earlier run that was cut off.
clear_engine() {
    local root=$1 kind=$2
    rm -rf "$root/srv/engine/$kind"
    mkdir -p "$root/etc/docker" "$root/srv/engine"
}

# Inside: starts the daemon in its own root directory; DOCKER_HOST leads to it. The socket is where both see it, and its
# path short enough for one.
start_engine() {
    local root=$1 kind=$2 log=$3 socket=$4/engine.sock waited=0
    case $kind in
        containerd) printf '{"features": {"containerd-snapshotter": true}}\n' >"$root/etc/docker/daemon.json" ;;
        *) rm -f "$root/etc/docker/daemon.json" ;;
    esac
    # A root directory that is no more than a chroot is not where its containers' commands would end up.
    # `container` keeps it from loading profiles into this machine's AppArmor.
    unshare --mount bash -c 'cd "$0" && pivot_root . mnt && cd / && umount --lazy /mnt && exec env -i \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin container=weir dockerd "$@"' \
        "$root" --data-root "/srv/engine/$kind" --host "unix://$socket" >>"$log" 2>&1 </dev/null &
    ENGINE_PID=$!
    export DOCKER_HOST=unix://$socket
    until answers; do
        ((waited += 1))
        if ((waited > ANSWER_SECONDS * 5)) || ! kill -0 "$ENGINE_PID" 2>/dev/null; then
            tail -n 25 "$log" | sed 's/^/    | /' >&2
            die "the engine does not answer; the end of its log is above"
        fi
        sleep 0.2
    done
}

# In order, so that its log ends with what it had to say.
stop_engine() {
    local waited=0
    kill -TERM "$ENGINE_PID" 2>/dev/null || true
    while kill -0 "$ENGINE_PID" 2>/dev/null && ((waited < STOP_SECONDS * 5)); do
        ((waited += 1))
        sleep 0.2
    done
}

# The daemon itself is restarted under a cluster that takes writes, with all containers: no acknowledged row is lost, and
# the cluster is whole again by itself. Nothing else may use the engine meanwhile.
engine_is_restarted() {
    local root=$1 kind=$2 log=$3 directory=$4 weir=$ROOT_DIR/target/debug/weir place serve load status=0
    place=$directory/restart-$kind
    mkdir "$place"
    cat >"$place/proxy.toml" <<END
[proxy]
listen = "127.0.0.1:16033"
[cluster]
name = "restarted"
image = "$IMAGE"
memory_mb = 64
END
    "$weir" cluster up --config "$place/proxy.toml" >"$place/up.log" 2>&1 || { cat "$place/up.log" >&2; return 1; }
    "$weir" serve --config "$place/proxy.toml" >"$place/serve.log" 2>&1 &
    serve=$!
    sleep 2
    "$weir" workload --config "$place/proxy.toml" --rows-per-second 20 --seconds 60 >"$place/load.log" 2>&1 &
    load=$!
    sleep 5
    stop_engine
    start_engine "$root" "$kind" "$log" "$directory"
    wait "$load" || status=$?
    tail -n 6 "$place/load.log"
    "$weir" cluster status --config "$place/proxy.toml" || status=$?
    kill "$serve" && wait "$serve" || true
    ((status == 0)) || { warn "the cluster did not get over it"; tail -n 40 "$place/serve.log" >&2; }
    "$weir" cluster destroy --yes --config "$place/proxy.toml" >/dev/null 2>&1 || status=1
    return "$status"
}

# Runs in the namespaces, as their first process: when it ends, everything in them does.
inside() {
    local suite=$1 kind=$2 image=$3 directory=$4 root=$ENGINES/$1/root log=$LOG_DIR/engine-$1-$2.log status=0
    shift 4
    mount_all "$root"
    network
    clear_engine "$root" "$kind"
    : >"$log"
    start_engine "$root" "$kind" "$log" "$directory"
    docker load --quiet --input "$image"
    say "Docker Engine $(docker version -f '{{.Server.Version}} (API {{.Server.APIVersion}})')," \
        "$(docker info -f 'storage {{.Driver}}, control groups {{.CgroupVersion}}') of Debian $suite; its log is $log"
    cd "$ROOT_DIR"
    say "restarting the engine under a cluster that takes writes"
    engine_is_restarted "$root" "$kind" "$log" "$directory" || status=$?
    cargo test --locked --test managed -- "$@" || status=$?
    stop_engine
    return "$status"
}

if [[ "${1-}" == --inside ]]; then
    shift
    inside "$@"
    exit
fi

suites=()
while (($#)) && [[ $1 != -- ]]; do
    suites+=("$1")
    shift
done
[[ "${1-}" != -- ]] || shift
((${#suites[@]})) || suites=(sid)
[[ $(id -u) -eq 0 ]] || die "this makes namespaces and mounts in them: run it as root"

apt_install "unpacks another Debian" debootstrap debian-archive-keyring gpgv eatmydata iproute2
"$ROOT_DIR/scripts/engine.sh"
"$ROOT_DIR/scripts/image.sh"
say "compiling Weir and the tests of the managed cluster"
cargo test --locked --no-run --test managed
mkdir -p "$ENGINES" "$LOG_DIR"
image=$ENGINES/image-$(docker image inspect -f '{{.Id}}' "$IMAGE" | tr -d : | cut -c 1-20).tar
[[ -s $image ]] || { docker save --output "$image.part" "$IMAGE" && mv "$image.part" "$image"; }

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
failed=()
for each in "${suites[@]}"; do
    suite=${each%%+*}
    case $each in
        *+*) kind=${each#*+} ;;
        *) kind=plain ;;
    esac
    root=$ENGINES/$suite/root
    [[ -d $root ]] || step "$LOG_DIR/engine-$suite-debootstrap.log" "unpacking Debian $suite with its Docker Engine" \
        bootstrap "$suite" "$root"
    unshare --mount --net --pid --fork --kill-child --mount-proc \
        "${BASH_SOURCE[0]}" --inside "$suite" "$kind" "$image" "$directory" "$@" || failed+=("$each")
done
((${#failed[@]} == 0)) || die "the tests failed with the engine of ${failed[*]}"
