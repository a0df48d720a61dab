# Sourced by the other scripts: messages, root, and the one list of names that tests and demo use.
# shellcheck shell=bash

# Everything a test run creates begins with one of these, so that leftovers are found by name.
# The test harness (integration/src/node.rs) and demo.sh use the same prefixes.
export TEST_PREFIX="vpt"
export DEMO_PREFIX="vpdemo"
export TEST_DIR_GLOB="/tmp/vpod-test."
export DEMO_DIR_GLOB="/tmp/vpod-demo."

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
