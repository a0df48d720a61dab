# Sourced by the other scripts: messages, root, and where tests and demonstrations keep their things.
# shellcheck shell=bash

# Directories of test nodes and demonstrations: this, the process id of the run, and more. Each has
# a file `name`: the run's node namespace, if it has one, is called so, its pods' namespaces so with
# "-" and more, and their cgroups like those.
# The test harness (integration/src/node.rs) and the demonstrations make them, cleanup.sh finds them.
export TEST_DIR_GLOB="/tmp/vpod-test."
export DEMO_DIR_GLOB="/tmp/vpod-demo."
# Those of vpod-bench: this, the process id of the run, and more. Its namespaces are called "vb-", a
# kind, "-", the process id, "-", and more; those of vpod's pods "v", the id in hexadecimal, "-", and more.
export BENCH_DIR_GLOB="/tmp/vpod-bench."

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# Runs a command as root: directly, or through sudo with this environment and PATH (sudo's
# secure_path would lose cargo and python).
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -E env "PATH=$PATH" "$@"
    else
        die "need root for: $* (run as root, or install sudo)"
    fi
}

# Builds what a demonstration shows, as the user, and begins the calling script again as root, which a daemon needs, with the
# word --built; with that word it only returns.
build_first() {
    [ "${1:-}" != "--built" ] || return 0
    say "Building (release)…"
    cargo build --release --locked -p vswitchd -p vpodctl -p vpod-dns -p vpod-ingress
    as_root "$0" --built
    exit
}

# Whether the run that made directory $1 still lives. A run that cleans up after itself names
# itself in ENDING.
owned() {
    local pid=${1#*/vpod-*.}
    pid=${pid%%[!0-9]*}
    [ "$pid" != "${ENDING:-}" ] && grep -qsE '^(promises|runtimes|virtual_machine|demo-(pods|cluster|service|http)\.sh|vpod-bench)' "/proc/$pid/comm"
}
