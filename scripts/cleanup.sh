#!/usr/bin/env bash
# Removes what a killed test run or demonstration left behind: processes, namespaces (their TAPs go
# with them), cgroups, /etc/netns entries, mounts, directories. Everything is found by the run's
# directory and the name written in it, so nothing of an installed vswitchd is touched, and what
# belongs to a run that still lives is left alone. Says what it removed.
# Usage: cleanup.sh [--tests | --demo]; both without.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/common.sh

globs=("$TEST_DIR_GLOB" "$DEMO_DIR_GLOB" "$BENCH_DIR_GLOB")
case "${1:-}" in
# Tests run vpod-bench too.
--tests) globs=("$TEST_DIR_GLOB" "$BENCH_DIR_GLOB") ;;
--demo) globs=("$DEMO_DIR_GLOB") ;;
"") ;;
*) die "usage: cleanup.sh [--tests | --demo]" ;;
esac

shopt -s nullglob
dirs=()
for glob in "${globs[@]}"; do
    for path in "$glob"*; do
        owned "$path" || dirs+=("$path")
    done
done
[ "${#dirs[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    as_root "$0" "$@"
    exit
fi

# Whoever was started with a path below the directory: the daemon, its datapath, its shims.
kill_users_of() {
    local process
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -qF -- "$1/"; then
            kill -KILL "${process#/proc/}" 2>/dev/null
        fi
    done
}

# What the harness calls its namespaces: see common.sh.
remove_bench_namespaces() {
    local path
    for path in "/run/netns/v$(printf '%x' "$1")-"* /run/netns/vb-*-"$1"-*; do
        [ ! -e "$path" ] || remove_namespaces "${path##*/}"
    done
}

remove_namespaces() {
    local path pids
    for path in "/run/netns/$1" "/run/netns/$1-"*; do
        [ -e "$path" ] || continue
        say "cleanup: namespace ${path##*/}"
        pids=$(ip netns pids "${path##*/}" 2>/dev/null)
        # shellcheck disable=SC2086  # one word per process
        [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
        ip netns delete "${path##*/}" 2>/dev/null || rm -f "$path"
    done
    for path in "/etc/netns/$1-"*; do
        say "cleanup: $path"
        rm -rf -- "$path"
    done
}

remove_cgroups() {
    local group pid
    # Deepest first: a cgroup with children cannot be removed.
    while IFS= read -r group; do
        while IFS= read -r pid; do
            kill -KILL "$pid" 2>/dev/null
        done <"$group/cgroup.procs"
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            rmdir "$group" 2>/dev/null && break
            sleep 0.1
        done
    done < <(find /sys/fs/cgroup -depth -type d -path "*/pod-$1-*" 2>/dev/null)
}

# Containers of a test's podman, whose namespaces bear podman's names. Those of its containerd are found like other processes.
remove_containers() {
    local name
    [ -e "$1/podman/containers.conf" ] || return 0
    name=$(cat "$1/name" 2>/dev/null)
    say "cleanup: containers of $1"
    CONTAINERS_CONF="$1/podman/containers.conf" CONTAINERS_STORAGE_CONF="$1/podman/storage.conf" \
        timeout 60 nsenter --net="/run/netns/$name" -- podman rm --all --force --time 0 >/dev/null 2>&1
}

for dir in "${dirs[@]}"; do
    say "cleanup: $dir"
    remove_containers "$dir"
    # Daemons first, or they start again what is killed below.
    kill_users_of "$dir"
    name=$(cat "$dir/name" 2>/dev/null)
    if [ -n "$name" ]; then
        remove_namespaces "$name"
        remove_cgroups "$name"
    fi
    case "$dir" in
    "$BENCH_DIR_GLOB"*)
        pid=${dir#"$BENCH_DIR_GLOB"}
        remove_bench_namespaces "${pid%%.*}"
        ;;
    esac
    # The demonstration's node is this machine itself, so its gateway is in no namespace of its own.
    [ ! -e "$dir/gateway-device" ] || ip link delete "$(cat "$dir/gateway-device")" 2>/dev/null
    grep -F " $dir" /proc/self/mounts | awk '{print $2}' | sort -r | xargs -r -n 1 umount -l
    rm -rf -- "$dir"
done
