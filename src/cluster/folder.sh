# Works on a folder of the engine's host, mounted at /weir in a container of the nodes' own image.
#
#   folder.sh prepare|check|remove CLUSTER NODE
#   folder.sh list CLUSTER
#
# The last line says how it is: a word, then details. Weir puts it into sentences (folder.rs).
#
# /weir/NODE/.weir is Weir's mark, /weir/NODE/data the data directory. The mark comes first and goes last, so what was
# cut off is recognised.
set -u
command=$1 cluster=$2 node=${3-}
base=/weir folder=/weir/$node data=/weir/$node/data mark=/weir/$node/.weir

say() { printf '%s\n' "$*"; exit 0; }
field() { sed -n "s/^$2=//p" "$1" 2>/dev/null; }
uuid() { sed -n 's/^server[-_]uuid *= *//p' "$1/auto.cnf" 2>/dev/null; }
has_data() { [[ -e $1/mysql.ibd || -e $1/ibdata1 || -e $1/auto.cnf || -d $1/mysql ]]; }
only_ours() { local owner; owner=$(field "$mark" cluster); [[ $owner == "$cluster" ]] || say other-cluster "$owner"; }

# Somebody's folder is taken only when it is empty, as the root of a disk of its own.
look_at_stranger() {
    local place first
    for place in "$folder" "$data"; do
        ! has_data "$place" || say foreign-data "$(uuid "$place")"
    done
    first=$(find "$folder" -mindepth 1 -maxdepth 1 \! -name lost+found -print -quit)
    [[ -z $first ]] || say not-empty "${first##*/}"
}

prepare() {
    local made=no words
    if [[ -e $mark ]]; then
        only_ours
        ! has_data "$data" || say holds-data "$(uuid "$data")"
    else
        if [[ -e $folder || -L $folder ]]; then
            [[ -d $folder ]] || say not-a-directory "$node"
            look_at_stranger
        else
            words=$(mkdir -m 0755 "$folder" 2>&1) || say not-writable "$words"
            made=yes
        fi
        words=$( { printf 'cluster=%s\nmade=%s\n' "$cluster" "$made" >"$mark"; } 2>&1) || say not-writable "$words"
        sync "$mark" "$folder"
    fi
    words=$(mkdir -p "$data" 2>&1 && chown mysql:mysql "$data" 2>&1 && chmod 0750 "$data" 2>&1) ||
        say not-writable "$words"
}

check() {
    local words stranger probe=$data/.weir-probe
    [[ -e $mark ]] || say gone
    only_ours
    [[ -d $data ]] || say gone
    stranger=$(find "$data" -maxdepth 1 \! -user mysql -print -quit)
    [[ -z $stranger ]] || say wrong-owner "$(stat -c %u "$stranger")" "$(id -u mysql)" "${stranger#/weir/}"
    # As the server will: root may write where it may not.
    words=$(chroot --userspec=mysql:mysql / touch "$probe" 2>&1) || say not-writable "$words"
    rm -f "$probe"
}

remove() {
    local made words
    [[ -e $mark ]] || say gone
    only_ours
    made=$(field "$mark" made)
    words=$(rm -rf "$data" 2>&1) || say not-writable "$words"
    rm -f "$mark"
    # What an operator put beside the data stays, and with it the folder.
    if [[ $made == yes ]]; then rmdir "$folder" 2>/dev/null; fi
}

list() {
    local each
    for each in "$base"/*/.weir; do
        [[ $(field "$each" cluster) == "$cluster" ]] || continue
        each=${each%/.weir}
        printf 'node %s\n' "${each##*/}"
    done
}

[[ -d $base ]] || say not-a-directory
case $command in
    prepare) prepare; check ;;
    *) "$command" ;;
esac
say fine
