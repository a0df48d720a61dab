#!/usr/bin/env bash
# Three nodes that know each other through etcd, each a network namespace on one wire. One of them loses its
# power, the others do not notice but for its pods, and it comes back as what it was. Every output is
# checked. Nothing stays behind, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

if [ "${1:-}" != "--built" ]; then
    say "Building (release)…"
    cargo build --release --locked -p vswitchd -p vpodctl
    as_root "$0" --built
    exit
fi
. scripts/demo-lib.sh

# Nothing of this is routed outside the namespaces, so that any range does.
readonly underlay="192.0.2" etcd_url="http://192.0.2.254:2379"

begin
heading "A wire, and etcd on it"
for number in 1 2 3; do new_node "vpdc$number"; done
# No node, but cleaned up like one, and after them, because daemons talk to etcd until they end.
new_node vpdcw
new_netns vpdcw
ip -n vpdcw link add br0 type bridge forward_delay 0
ip -n vpdcw address add "$underlay.254/24" dev br0
ip -n vpdcw link set br0 up
etcd_dir=${dir_of[vpdcw]}
printf '%s[vpdcw] $ etcd --listen-client-urls %s … &%s\n' "$bold" "$etcd_url" "$plain"
setsid nsenter --net=/run/netns/vpdcw -- etcd --data-dir "$etcd_dir/etcd" --logger zap \
    --listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380 >"$etcd_dir/etcd.log" 2>&1 </dev/null &
etcd=$!
disown
export ETCDCTL_API=3
within 10 nsenter --net=/run/netns/vpdcw -- etcdctl --endpoints "$etcd_url" endpoint health ||
    fail "etcd does not answer: $(tail -n 3 "$etcd_dir/etcd.log")"

# plug NUMBER: a namespace for the node, with a NIC on the wire.
plug() {
    new_netns "vpdc$1"
    ip -n vpdcw link add "node$1" type veth peer name nic0 netns "vpdc$1"
    ip -n vpdcw link set "node$1" master br0 up
    ip -n "vpdc$1" address add "$underlay.$1/24" dev nic0
    ip -n "vpdc$1" link set nic0 up
}

# address NUMBER: of the pod of that node.
address() { on "vpdc$1" vpodctl get pod "pod$1" -o json | jq -r .status.podIP; }

# pings FROM ADDRESS: whether a pod reaches an address, within five seconds.
pings() {
    on "vpdc$1" within 5 vpodctl exec "pod$1" -- ping -c 1 -W 1 "$2"
}

heading "Three nodes; nobody tells them their ranges or each other"
for number in 1 2 3; do
    plug "$number"
    node="vpdc$number"
    cat >"${dir_of[$node]}/vswitchd.toml" <<CONFIG
node = "$node"
state_dir = "${dir_of[$node]}/state"
run_dir = "${dir_of[$node]}/run"
netns_prefix = "$node-"

[tunnel]
address = "$underlay.$number"

[etcd]
endpoints = ["$etcd_url"]
lease_seconds = 5
CONFIG
    [ "$number" -ne 1 ] || show cat "${dir_of[$node]}/vswitchd.toml"
    start_daemon "$node"
done
for other in vpdc2 vpdc3; do hears vpdc1 "$other" true || fail "node 1 does not hear from $other"; done
show_on vpdc1 get nodes
for number in 1 2 3; do expect "vpdc$number +Ready"; done

heading "A pod on each; all reach each other"
for number in 1 2 3; do show_on vpdc"$number" create-pod "pod$number"; done
for from in 1 2 3; do
    for to in 1 2 3; do
        pings "$from" "$(address "$to")" || fail "pod$from does not reach pod$to"
    done
done
show_on vpdc1 exec pod1 -- ping -c 2 -i 0.2 "$(address 2)"
expect ' 0% packet loss'
show_on vpdc1 exec pod1 -- ping -c 2 -i 0.2 "$(address 3)"
expect ' 0% packet loss'
show_on vpdc1 get peers

heading "Node 2 loses its power: its processes, namespaces and devices are gone at once"
lost=$(address 2)
lost_range=$(on vpdc2 vpodctl status -o json | jq -r .node.spec.podCIDR)
for path in /run/netns/vpdc2 /run/netns/vpdc2-*; do
    ip netns pids "${path##*/}" | xargs -r kill -KILL
done
daemon_of[vpdc2]=""
for path in /run/netns/vpdc2 /run/netns/vpdc2-*; do ip netns delete "${path##*/}"; done
rm -rf "${dir_of[vpdc2]}/run"
show_failing_on vpdc1 exec pod1 -- ping -c 1 -W 1 "$lost"
show_on vpdc1 exec pod1 -- ping -c 5 -i 0.2 "$(address 3)"
expect ' 0% packet loss'
hears vpdc1 vpdc2 false || fail "node 1 does not notice that node 2 is gone"
show_on vpdc1 get peers

heading "It comes back with the range and the pod it had"
plug 2
start_daemon vpdc2
show_on vpdc2 get pods -o wide
expect "$lost"
[ "$(on vpdc2 vpodctl status -o json | jq -r .node.spec.podCIDR)" = "$lost_range" ] ||
    fail "node 2 had $lost_range before"
for from in 1 3; do pings "$from" "$lost" || fail "pod$from does not reach pod2 again"; done
show_on vpdc1 exec pod1 -- ping -c 2 -i 0.2 "$lost"
expect ' 0% packet loss'
hears vpdc1 vpdc2 true || fail "node 1 does not notice that node 2 is back"
show_on vpdc1 get peers
expect 'vpdc2 +Reachable'

heading "etcd dies: packets do not care"
kill -KILL "$etcd"
show_on vpdc3 exec pod3 -- ping -c 10 -i 0.2 "$lost"
expect ' 0% packet loss'

finished=true
if $keep; then
    cat <<NEXT

${blue}# Left running. Try next:${plain}
  export PATH=$programs:\$PATH
  vpodctl --socket $(socket_of vpdc1) get peers -w        # and: ip -n vpdcw link set node3 down
  vpodctl --socket $(socket_of vpdc1) get routes
  vpodctl --socket $(socket_of vpdc3) exec pod3 -- ping $lost
The daemons' logs: ${DEMO_DIR_GLOB}$$.*/vswitchd.log
Stop and remove everything with: scripts/cleanup.sh --demo
NEXT
else
    heading "Done"
fi
