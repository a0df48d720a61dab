#!/usr/bin/env bash
# Removes what a killed test run or demo left behind: processes in its namespaces, the namespaces
# (their TAPs go with them), cgroups, /etc/netns entries, directories. Everything is found by the
# prefixes of common.sh, so nothing of an installed vswitchd is touched, and what belongs to a run
# that still lives (its process id follows the prefix) is left alone. Reports what it removed.
# Usage: cleanup.sh [--tests | --demo]; both without.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/common.sh

prefixes=("$TEST_PREFIX" "$DEMO_PREFIX")
globs=("$TEST_DIR_GLOB" "$DEMO_DIR_GLOB")
case "${1:-}" in
--tests) prefixes=("$TEST_PREFIX") globs=("$TEST_DIR_GLOB") ;;
--demo) prefixes=("$DEMO_PREFIX") globs=("$DEMO_DIR_GLOB") ;;
"") ;;
*) die "usage: cleanup.sh [--tests | --demo]" ;;
esac

# Whether the run that made $1 still lives: the number after the prefix is its process id. A run
# that cleans up after itself names itself in ENDING.
owned() {
    local pid
    pid=$(grep -oE '[0-9]+' <<<"${1##*/}" | head -n 1)
    [ "${pid:-0}" != "${ENDING:-}" ] || return 1
    grep -qsE '^(promises|demo\.sh)' "/proc/${pid:-0}/comm"
}

# As a user there is nothing to ask root for unless something is there.
if [ "$(id -u)" -ne 0 ]; then
    for glob in "${globs[@]}"; do
        if compgen -G "$glob*" >/dev/null; then
            as_root "$0" "$@"
            exit
        fi
    done
    exit 0
fi

removed=0
removing() {
    say "cleanup: removing $*"
    removed=$((removed + 1))
}

# Daemons first, or they start again what is killed below. One is recognised by its configuration
# file under our own temporary directory.
for glob in "${globs[@]}"; do
    for dir in "$glob"*; do
        { [ -d "$dir" ] && ! owned "$dir"; } || continue
        removing "$dir"
        for process in /proc/[0-9]*; do
            if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF -- "$dir/"; then
                [ "${process#/proc/}" -eq "$$" ] || kill -KILL "${process#/proc/}" 2>/dev/null
            fi
        done
    done
done

shopt -s nullglob
for prefix in "${prefixes[@]}"; do
    for path in "/run/netns/$prefix"[0-9-]*; do
        name=${path#/run/netns/}
        owned "$name" && continue
        removing "namespace $name"
        pids=$(ip netns pids "$name" 2>/dev/null)
        # shellcheck disable=SC2086  # one word per process
        [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
        ip netns delete "$name" 2>/dev/null || rm -f "$path"
    done
    for path in "/etc/netns/$prefix"[0-9-]*; do
        owned "$path" && continue
        removing "$path"
        rm -rf -- "$path"
    done
    # Deepest first: a cgroup with children cannot be removed.
    while IFS= read -r group; do
        owned "$prefix${group##*/"$prefix"}" && continue
        while IFS= read -r pid; do
            kill -KILL "$pid" 2>/dev/null
        done <"$group/cgroup.procs"
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            rmdir "$group" 2>/dev/null && break
            sleep 0.1
        done
        [ -d "$group" ] || removing "cgroup $group"
    done < <(find /sys/fs/cgroup -depth -type d -path "*/${prefix}[0-9-]*" 2>/dev/null)
done

for glob in "${globs[@]}"; do
    for dir in "$glob"*; do
        { [ -d "$dir" ] && ! owned "$dir"; } || continue
        # The demo's node is this machine itself, so its gateway TAP is in no namespace of ours.
        [ ! -e "$dir/owns-gateway" ] || ip link delete vpod0 2>/dev/null
        grep -F " $dir" /proc/self/mounts | awk '{print $2}' | sort -r | xargs -r -n 1 umount -l
        rm -rf -- "$dir"
    done
done
[ "$removed" -eq 0 ] || say "cleanup: done"
