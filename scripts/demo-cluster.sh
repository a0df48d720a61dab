#!/usr/bin/env bash
# Three nodes that know each other through etcd, each a network namespace on one wire. One of them loses its
# power, the others do not notice but for its pods, and it comes back as what it was. Every output is
# checked. Nothing stays behind, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

build_first "$@"
. scripts/demo-lib.sh

# Nothing of this is routed outside the namespaces, so that any range does.
readonly underlay="192.0.2"

begin
heading "A wire, and etcd on it"
for number in 1 2 3; do new_node "vpdc$number"; done
new_wire vpdcw "$underlay.254"

# address NUMBER: of the pod of that node.
address() { on "vpdc$1" vpodctl get pod "pod$1" -o json | jq -r .status.podIP; }

# pings FROM ADDRESS: whether a pod reaches an address, within five seconds.
pings() {
    on "vpdc$1" within 5 vpodctl exec "pod$1" -- ping -c 1 -W 1 "$2"
}

heading "Three nodes; nobody tells them their ranges or each other"
for number in 1 2 3; do
    plug "vpdc$number" vpdcw "node$number" "$underlay.$number"
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

[ingress]
enabled = false
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
plug vpdc2 vpdcw node2 "$underlay.2"
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
