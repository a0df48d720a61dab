#!/usr/bin/env bash
# Two nodes with pods and real programs that talk through the userspace switch: this machine is one node,
# a network namespace with a wire to it the other, and each is the other's static peer. Every command is
# shown before its output, and every output is checked: a demonstration whose curl fails ends with an
# error. Nothing stays behind, however it ends.
#
# It has its own directories, namespace prefixes, devices and address ranges, so that an installed
# vswitchd is not disturbed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

build_first "$@"
. scripts/demo-lib.sh

# The device's name has 15 characters at most.
readonly gateway_device="vpdemo0" wire="vpdemo-wire"
# shellcheck disable=SC2034  # demo-lib.sh looks for them at the end
devices="$gateway_device $wire"

# The first range that no route of this machine touches.
free_range() {
    local second
    for second in 244 213 187 151; do
        if unrouted "10.$second.0.0/16"; then
            echo "10.$second"
            return
        fi
    done
    fail "10.244.0.0/16 and all alternatives are routed on this machine already"
}

# The same for the wire between the nodes: RFC 5737 sets these aside.
free_wire() {
    local net
    for net in 192.0.2 198.51.100 203.0.113; do
        if unrouted "$net.0/24"; then
            echo "$net"
            return
        fi
    done
    fail "192.0.2.0/24 and all alternatives are routed on this machine already"
}

unrouted() {
    [ -z "$(ip -4 route show root "$1")$(ip -4 route show match "$1" | grep -v '^default')" ]
}

begin
range=$(free_range)
underlay=$(free_wire)
readonly range underlay gateway="$range.0.1"
new_node vpdemo
new_node vpdemo2
dir=${dir_of[vpdemo]}
socket=$(socket_of vpdemo)
far=$(socket_of vpdemo2)
readonly socket far
export VPOD_SOCKET="$socket"
echo "$gateway_device" >"$dir/gateway-device"
mkdir -p "$dir/www"
echo '<h1>Hello from the web pod</h1>' >"$dir/www/index.html"

# configure NODE NUMBER OTHER: pods of each are in a range of its own, and the other's are behind it.
configure() {
    local node=$1 number=$2 other=$3
    cat >"${dir_of[$node]}/vswitchd.toml" <<CONFIG
node = "$node"
state_dir = "${dir_of[$node]}/state"
run_dir = "${dir_of[$node]}/run"
netns_prefix = "$node-"
gateway_device = "$gateway_device"
cluster_cidr = "$range.0.0/16"
pod_cidr = "$range.$number.0/24"

[tunnel]
address = "$underlay.$((number + 1))"

[uplink]
# One node is this machine, whose own network is nobody's playground.
enabled = false

[ingress]
enabled = false

[[peer]]
name = "$other"
address = "$underlay.$((2 - number))"
pod_cidrs = ["$range.$((1 - number)).0/24"]
CONFIG
}

heading "Two nodes, each the other's peer: this machine, and a namespace with a wire to it"
new_netns vpdemo2
show ip link add "$wire" type veth peer name nic0 netns vpdemo2
show ip address add "$underlay.1/24" dev "$wire"
show ip link set "$wire" up
show ip -n vpdemo2 address add "$underlay.2/24" dev nic0
show ip -n vpdemo2 link set nic0 up
configure vpdemo 0 vpdemo2
configure vpdemo2 1 vpdemo
show tail -n 4 "$dir/vswitchd.toml"
start_daemon vpdemo
start_daemon vpdemo2

heading "Three pods in two namespaces"
show vpodctl create-pod web -n shop -l app=web -- /usr/bin/python3 -u -m http.server 8080 --directory "$dir/www"
show vpodctl create-pod client -n shop
show vpodctl create-pod speed -n lab -l app=iperf --cpu 2 --memory 256Mi -- iperf3 -s
for pod in "web -n shop" "client -n shop" "speed -n lab"; do
    # shellcheck disable=SC2086  # name and namespace are words
    vpodctl wait pod $pod --for=ready --timeout 10s >/dev/null || fail "pod $pod is not ready"
done
show vpodctl get pods -A -o wide
expect 'shop +web .*Running'
expect 'shop +client .*Running'
expect 'lab +speed .*Running'
ip_of() { vpodctl get pod "$1" -n "$2" -o json | jq -r .status.podIP; }
web=$(ip_of web shop)
client=$(ip_of client shop)
speed=$(ip_of speed lab)
for _ in $(seq 50); do
    vpodctl exec web -n shop -- curl -s http://localhost:8080/ >/dev/null && break
    sleep 0.1
done

heading "A pod pings another one, also in another namespace"
show vpodctl exec client -n shop -- ping -c 3 -i 0.2 "$web"
expect ' 0% packet loss'
show vpodctl exec client -n shop -- ping -c 1 "$speed"
expect ' 0% packet loss'

heading "A pod fetches a page from another one"
show vpodctl exec client -n shop -- curl -sS "http://$web:8080/"
expect 'Hello from the web pod'

heading "The server saw the client's own address"
show vpodctl logs web -n shop --tail 1
expect "^$client "

heading "Two containers of one pod talk over localhost"
show vpodctl run-container web neighbour -n shop -- sh -c 'curl -sS http://localhost:8080/ && exec sleep infinity'
for _ in $(seq 50); do
    [ -n "$(vpodctl logs web -c neighbour -n shop 2>/dev/null)" ] && break
    sleep 0.1
done
show vpodctl logs web -c neighbour -n shop
expect 'Hello from the web pod'

heading "Host to pod"
show ping -c 1 "$web"
expect ' 0% packet loss'
show curl -sS "http://$web:8080/"
expect 'Hello from the web pod'

heading "Pod to host"
show vpodctl exec client -n shop -- ping -c 1 "$gateway"
expect ' 0% packet loss'
(cd "$dir/www" && exec python3 -m http.server 8081 --bind "$gateway" --directory "$dir/www" >/dev/null 2>&1) &
host_server=$!
for _ in $(seq 50); do
    curl -s "http://$gateway:8081/" >/dev/null && break
    sleep 0.1
done
show vpodctl exec client -n shop -- curl -sS "http://$gateway:8081/"
expect 'Hello from the web pod'
kill "$host_server" 2>/dev/null || true
wait "$host_server" 2>/dev/null || true

heading "A pod of the other node pings and fetches, from an address of its own range"
show_on vpdemo2 create-pod remote -n shop -- /usr/bin/python3 -u -m http.server 8080 --directory "$dir/www"
on vpdemo2 vpodctl wait pod remote -n shop --for=ready --timeout 10s >/dev/null || fail "pod remote is not ready"
remote=$(on vpdemo2 vpodctl get pod remote -n shop -o json | jq -r .status.podIP)
show_on vpdemo2 exec remote -n shop -- ping -c 3 -i 0.2 "$web"
expect ' 0% packet loss'
show_on vpdemo2 exec remote -n shop -- curl -sS "http://$web:8080/"
expect 'Hello from the web pod'
show vpodctl logs web -n shop --tail 1
expect "^$remote "
within 5 curl -sf "http://$remote:8080/" || fail "this machine does not reach the pod of the other node"
show vpodctl exec client -n shop -- curl -sS "http://$remote:8080/"
expect 'Hello from the web pod'
show curl -sS "http://$remote:8080/"
expect 'Hello from the web pod'

heading "What the other node knows of its peer"
hears vpdemo2 vpdemo true || fail "the other node does not hear from this one"
show_on vpdemo2 get peers
expect "vpdemo +Reachable +$underlay.1:"
show_on vpdemo2 get routes
expect "$range.0.0/24 +tunnel +vpdemo"

heading "Throughput between two pods of a node, and between nodes"
show vpodctl exec client -n shop -- iperf3 -C cubic -t 3 -c "$speed"
expect 'receiver'
show_on vpdemo2 exec remote -n shop -- iperf3 -C cubic -t 3 -c "$speed"
expect 'receiver'

heading "What the switch knows"
show vpodctl get fdb
expect "$(vpodctl get pod web -n shop -o json | jq -r .spec.mac)"
show vpodctl status
expect "$range.0.0/24"

finished=true
if $keep; then
    cat <<NEXT

${blue}# Left running. Try next:${plain}
  export VPOD_SOCKET=$socket PATH=$programs:\$PATH
  vpodctl get pods -A -w
  vpodctl exec client -n shop -- curl -s http://$web:8080/
  vpodctl get flows -o wide
  vpodctl get peers -w                                    # and: ip -n vpdemo2 link set nic0 down
  vpodctl --socket $far get pods -A -o wide
  vpodctl get drops -o wide
  vpodctl capture web -n shop -w - --duration 10s | tshark -r -
  vpodctl describe pod web -n shop
  kill -9 \$(vpodctl status -o json | jq .datapath.pid)    # the traffic goes on
The daemon's log: $dir/vswitchd.log
Stop and remove everything with: scripts/cleanup.sh --demo
NEXT
else
    heading "Done"
fi
