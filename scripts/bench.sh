#!/usr/bin/env bash
# All workloads of vpod-bench, vpod and its peers in turn in one run. With BASE=<commit> the same is
# run on that commit too, built in a worktree, so that both figures come from one machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

measure() {
    (
        cd "$1"
        cargo build --release --locked --workspace --bins
        as_root "${CARGO_TARGET_DIR:-target}/release/vpod-bench" run same-node-tcp create-pod idle-cpu
    )
}

say "== this tree"
measure .
if [ -n "${BASE:-}" ]; then
    tree=$(mktemp -d /tmp/vpod-bench.XXXXXX)
    trap 'git worktree remove --force "$tree" 2>/dev/null || true; rm -rf "$tree"' EXIT
    git worktree add --detach "$tree" "$BASE"
    say "== $BASE"
    measure "$tree"
fi
