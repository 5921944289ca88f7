# Shared by the scripts here; sourced, not run. Plain words to the operator, output of tools to log files.

ROOT_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOG_DIR=${WEIR_LOG_DIR:-$ROOT_DIR/target/log}
IMAGE_DEFAULT=weir-mysql:9.7

say() { printf '==> %s\n' "$*"; }
warn() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND..: runs it as root, through sudo when needed.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this needs root: $*. Run it as root, or install sudo"
    fi
}

# step LOG TEXT COMMAND..: runs a long command with its output in LOG; shows the last line of it on a
# terminal, a line every 15 s elsewhere; on failure shows the end of the log and returns its status.
step() {
    local log=$1 text=$2 pid started status=0 shown=0 tick=0 last
    shift 2
    mkdir -p "$(dirname "$log")"
    started=$SECONDS
    say "$text"
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        ((tick += 1))
        last=$(tail -c 400 "$log" 2>/dev/null | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' | tail -n 1 || true)
        if [[ -t 1 ]]; then
            printf '\r\033[K    %4d s  %.70s' "$((SECONDS - started))" "$last"
            shown=1
        elif ((tick % 30 == 0)); then
            printf '    %d s: %.90s\n' "$((SECONDS - started))" "$last"
        fi
    done
    wait "$pid" || status=$?
    ((shown == 0)) || printf '\r\033[K'
    if ((status != 0)); then
        warn "failed after $((SECONDS - started)) s (status $status). The end of $log:"
        tail -n 25 "$log" | sed 's/^/    | /' >&2
        return "$status"
    fi
    printf '    done in %d s\n' "$((SECONDS - started))"
}

# apt_install WHY PACKAGE..: installs Debian packages that are missing; says so first.
apt_install() {
    local why=$1 package missing=()
    shift
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "$why: ${missing[*]} missing, and this is no Debian system. Install them by hand, then run this again"
    # One apt at a time: several scripts may get here together.
    mkdir -p "$LOG_DIR"
    exec 9>"$LOG_DIR/apt.lock"
    flock 9
    if [[ -z "$(find /var/lib/apt/lists -name '*Packages*' -mmin -1440 -print -quit 2>/dev/null)" ]]; then
        step "$LOG_DIR/apt-update.log" "apt-get update" as_root apt-get -o DPkg::Lock::Timeout=300 update
    fi
    step "$LOG_DIR/apt-${missing[0]}.log" "installing ${missing[*]} from Debian ($why)" \
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${missing[@]}"
    exec 9>&-
}

# state_dir CONFIG: where Weir keeps its state: `state_dir` of [proxy], else .weir beside the file.
state_dir() {
    local directory found
    directory=$(cd "$(dirname "$1")" && pwd)
    found=$(sed -n 's/^[[:space:]]*state_dir[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$1" | head -n 1)
    case ${found:-.weir} in
        /*) printf '%s\n' "$found" ;;
        *) printf '%s\n' "$directory/${found:-.weir}" ;;
    esac
}

# running PID_FILE: whether the process that the file names is a Weir that lives.
running() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [[ -n "$pid" ]] && kill -0 "$pid" 2>/dev/null &&
        [[ "$(cat "/proc/$pid/comm" 2>/dev/null)" == weir ]]
}

# stop_weir PID_FILE: asks Weir to end, which lets running commands finish, and waits for it.
stop_weir() {
    local pid waited=0
    running "$1" || return 0
    pid=$(<"$1")
    say "stopping Weir (process $pid)"
    kill -TERM "$pid"
    while running "$1"; do
        ((waited += 1))
        ((waited < 450)) || die "Weir (process $pid) has not ended after 90 s"
        sleep 0.2
    done
    rm -f "$1"
}

# greets HOST PORT: whether a MySQL server's greeting (protocol 10) comes from there.
greets() {
    local byte=''
    { exec 8<>"/dev/tcp/$1/$2"; } 2>/dev/null || return 1
    # The fifth byte is the protocol's version; the four before it are the packet's header.
    byte=$(timeout 2 head -c 5 <&8 2>/dev/null | tail -c 1 | od -An -tu1 | tr -d ' ') || true
    exec 8<&- 8>&-
    [[ "$byte" == 10 ]]
}
