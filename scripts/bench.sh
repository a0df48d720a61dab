#!/usr/bin/env bash
# Workloads of vpod-bench beside all peers that are installed (`make bench-setup`), without arguments those of the switch, in one run of
# at most fifteen minutes: one table here, figures and a plot in benches/results/. With BASE=<commit> that
# commit is built in a worktree and measured in turn with this tree, as the peer "base". With --services
# only what goes through services, also with 10,000 of them, which kube-proxy's rules take minutes to load; with
# --http only names and HTTP, beside the servers that people use for them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

# Many short samples rather than few long ones: what disturbs a shared machine comes and goes.
rounds=4
seconds=0.5
readonly PEERS=bridge,flannel,ovs,vde,plain,pump,kube-proxy-iptables,kube-proxy-nft,kernel-masquerade
# 250 pods of every peer take too long to make.
readonly IDLE_PODS=10,100
readonly RESULTS=benches/results

of_services=(service-crr service-rr service-tcp first-packet program egress-crr)
workloads=(same-node-{tcp,udp,rr,crr} cross-node-{tcp,udp,rr} "${of_services[@]}"
    fairness scale-pods pod-churn create-pod idle-cpu)
services=1,1000
case "${1:-}" in
--services)
    workloads=("${of_services[@]}")
    services=1,1000,10000
    rounds=7
    ;;
--http)
    # dnsperf, wrk and h2load count whole seconds.
    workloads=(dns dns-pod ingress)
    seconds=1
    rounds=5
    ;;
esac

# Debian keeps daemons in sbin, which a user's PATH may lack.
export PATH="$PATH:/usr/sbin:/sbin"

say "== build"
cargo build --release --locked --workspace --bins
arguments=(--peers "$PEERS" --seconds "$seconds" --idle-pods "$IDLE_PODS"
    --services "$services")
if [ -n "${BASE:-}" ]; then
    say "== build of $BASE"
    tree=$(mktemp -d /tmp/vpod-base.XXXXXX)
    trap 'git worktree remove --force "$tree" 2>/dev/null || true; rm -rf "$tree"' EXIT
    git worktree add --detach "$tree" "$BASE"
    (cd "$tree" && CARGO_TARGET_DIR="$tree/target" cargo build --release --locked -p vswitchd -p vpodctl)
    arguments+=(--base "$tree/target/release")
    # One subject more in the same ten minutes.
    rounds=3
fi

say "== measure"
mkdir -p "$RESULTS"
name="$RESULTS/$(date -u +%Y%m%d-%H%M%S)-$(git describe --always --dirty --abbrev=12 --exclude='*')"
as_root "${CARGO_TARGET_DIR:-target}/release/vpod-bench" run "${workloads[@]}" --rounds "$rounds" "${arguments[@]}" \
    --save "$name.json" --plot "$name.svg"
as_root chown "$(id -u):$(id -g)" "$name.json" "$name.svg"
say "written: $name.json, $name.svg"
