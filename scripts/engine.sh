#!/bin/bash
# Makes sure that a Docker Engine answers: installs Debian's, starts the daemon. Quick when one does.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WAIT_SECONDS=60
LOG=$LOG_DIR/dockerd.log

answers() { docker version >/dev/null 2>&1; }

# A daemon that runs but lets only others in cannot be mended by starting another.
check_permission() {
    local words
    words=$(docker version 2>&1 >/dev/null || true)
    case $words in
        *"permission denied"*)
            die "a Docker Engine runs, but user $(id -un) may not use it. Join the group docker" \
                "(sudo usermod -aG docker $(id -un), then log in again), or run this as root" ;;
    esac
}

start_daemon() {
    if [[ -d /run/systemd/system ]]; then
        say "starting the Docker daemon (systemctl start docker)"
        as_root systemctl start docker
    else
        say "starting the Docker daemon in the background; its log is $LOG"
        mkdir -p "$LOG_DIR"
        # A session of its own: it outlives this terminal. No descriptor of ours stays open in it.
        as_root setsid --fork bash -c 'exec dockerd </dev/null >>"$0" 2>&1 9>&-' "$LOG"
    fi
    local waited=0
    until answers; do
        check_permission
        ((waited += 1))
        if ((waited > WAIT_SECONDS)); then
            [[ ! -f $LOG ]] || tail -n 15 "$LOG" | sed 's/^/    | /' >&2
            die "the Docker daemon does not answer after $WAIT_SECONDS s; its last messages are above"
        fi
        sleep 1
    done
}

if [[ -n "${DOCKER_HOST-}" ]]; then
    command -v docker >/dev/null || apt_install "the docker command" docker.io
    answers || die "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST"
elif ! answers; then
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        say "no Docker Engine on this machine: Debian's docker.io is installed now"
        packages=(docker.io iptables)
        # Where the kernel confines by AppArmor, the engine needs its parser; where no systemd has mounted
        # the control groups, something must.
        [[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ]] || packages+=(apparmor)
        [[ -d /run/systemd/system || -n "$(ls -A /sys/fs/cgroup 2>/dev/null)" ]] || packages+=(cgroupfs-mount)
        apt_install "the Docker Engine" "${packages[@]}"
        # Later releases of Debian have the command in a package of its own.
        command -v docker >/dev/null || apt_install "the docker command" docker-cli
    fi
    answers || check_permission
    answers || start_daemon
fi
say "Docker Engine $(docker version -f '{{.Server.Version}}') answers"
