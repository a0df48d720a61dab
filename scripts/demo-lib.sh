# Sourced by the demonstrations: shows commands with their output, checks it, starts nodes, and leaves
# nothing behind however the demonstration ends.
#
# A node is a directory with a file `name` (see common.sh). Its daemon runs in the network namespace of
# that name, or on this machine itself.
# shellcheck shell=bash

programs=$(realpath "${CARGO_TARGET_DIR:-target}/release")
readonly programs
export PATH="$programs:$PATH:/usr/sbin:/sbin"
keep=false
[ -z "${KEEP:-}" ] || [ "${KEEP:-}" = 0 ] || keep=true
finished=false
output=""
nodes=()             # in the order of their creation
declare -A dir_of=() # directory of each
declare -A daemon_of=() netns_of=()

# --- what is shown, and what is checked ----------------------------------------------------------

if [ -t 1 ]; then bold=$'\e[1m' blue=$'\e[1;34m' red=$'\e[1;31m' plain=$'\e[0m'; else bold='' blue='' red='' plain=''; fi

heading() { printf '\n%s# %s%s\n' "$blue" "$*" "$plain"; }

quoted() {
    local word line=""
    for word in "$@"; do
        case "$word" in
        *[!A-Za-z0-9_./:=,@%+-]* | '') line+=" '$word'" ;;
        *) line+=" $word" ;;
        esac
    done
    printf '%s' "${line# }"
}

# Shows a command, runs it, and keeps its output in $output for `expect`.
show() {
    announce "" "$@"
    run "$@" || fail "this command ended with status $?"
}

# Runs vpodctl against the daemon of node $1, as somebody sitting there would.
show_on() {
    local node=$1
    shift
    announce "$node" vpodctl "$@"
    on "$node" run vpodctl "$@" || fail "this command ended with status $?"
}

# As show_on, for what must not succeed.
show_failing_on() {
    local node=$1
    shift
    announce "$node" vpodctl "$@"
    ! on "$node" run vpodctl "$@" || fail "this command should have failed"
}

# announce NODE COMMAND…
announce() {
    local node=$1
    shift
    printf '%s%s$ %s%s\n' "$bold" "${node:+[$node] }" "$(quoted "$@")" "$plain"
}

run() {
    local status=0
    output=$(timeout --foreground 60 "$@" 2>&1) || status=$?
    [ -z "$output" ] || printf '%s\n' "$output"
    return "$status"
}

# Runs a command that asks the daemon of node $1.
on() {
    local VPOD_SOCKET
    VPOD_SOCKET=$(socket_of "$1")
    export VPOD_SOCKET
    shift
    "$@"
}

expect() {
    grep -qE -- "$1" <<<"$output" || fail "the output above should have contained: $1"
}

# Tries a command until it succeeds, for $1 seconds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until timeout 5 "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

fail() {
    printf '%sdemo: FAILED: %s%s\n' "$red" "$*" "$plain" >&2
    local node
    for node in "${nodes[@]}"; do
        [ -s "${dir_of[$node]}/vswitchd.log" ] || continue
        warn "the end of the log of $node:"
        tail -n 20 "${dir_of[$node]}/vswitchd.log" >&2
    done
    exit 1
}

# --- nodes ---------------------------------------------------------------------------------------

# A node of this demonstration; its namespaces, if it has any, begin with this name. A prefix of
# namespaces has 11 characters at most, so names are fixed: one demonstration at a time.
new_node() {
    local node=$1 dir="$DEMO_DIR_GLOB$$.${#nodes[@]}"
    nodes+=("$node")
    dir_of[$node]=$dir
    mkdir -p "$dir"
    echo "$node" >"$dir/name"
}

# Gives a node a network namespace of its own.
new_netns() {
    netns_of[$1]=$1
    ip netns add "$1"
    ip -n "$1" link set lo up
}

socket_of() { printf '%s/run/admin.sock' "${dir_of[$1]}"; }

# Runs a command where the node is.
at() {
    local node=$1
    shift
    if [ -n "${netns_of[$node]:-}" ]; then
        nsenter --net="/run/netns/$node" -- "$@"
    else
        "$@"
    fi
}

# Whether node $1 hears from its peer $2 ($3: true or false).
hears() {
    on "$1" within 15 sh -c "vpodctl get peers -o json |
        jq -e '.items[] | select(.name == \"$2\") | .health.reachable == $3'"
}

# Starts a node's daemon on ${dir_of[NODE]}/vswitchd.toml and waits until it answers.
start_daemon() {
    local node=$1 dir=${dir_of[$1]}
    printf '%s%s$ vswitchd --config %s &%s\n' "$bold" "${netns_of[$node]:+[$node] }" "$dir/vswitchd.toml" "$plain"
    if [ -n "${netns_of[$node]:-}" ]; then
        setsid nsenter --net="/run/netns/$node" -- "$programs/vswitchd" --config "$dir/vswitchd.toml" \
            >>"$dir/vswitchd.log" 2>&1 </dev/null &
    else
        setsid "$programs/vswitchd" --config "$dir/vswitchd.toml" >>"$dir/vswitchd.log" 2>&1 </dev/null &
    fi
    daemon_of[$node]=$!
    # Or bash reports its end.
    disown
    on "$node" within 10 vpodctl status || fail "vswitchd of $node does not answer"
}

stop_daemon() {
    local pid=${daemon_of[$1]:-}
    [ -n "$pid" ] || return 0
    daemon_of[$1]=""
    kill -0 "$pid" 2>/dev/null || return 0
    kill -TERM "$pid"
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
}

# --- a cluster -----------------------------------------------------------------------------------

# A wire in a namespace of its own, $1, where it has the address $2, and etcd on it. $etcd is its process, $etcd_url where it
# is asked.
new_wire() {
    local wire=$1 address=$2 dir
    # No node, but cleaned up like one, and after them, because daemons talk to etcd until they end.
    new_node "$wire"
    new_netns "$wire"
    ip -n "$wire" link add br0 type bridge forward_delay 0
    ip -n "$wire" address add "$address/24" dev br0
    ip -n "$wire" link set br0 up
    dir=${dir_of[$wire]}
    etcd_url="http://$address:2379"
    printf '%s[%s] $ etcd --listen-client-urls %s … &%s\n' "$bold" "$wire" "$etcd_url" "$plain"
    setsid nsenter --net="/run/netns/$wire" -- etcd --data-dir "$dir/etcd" --logger zap \
        --listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster default=http://127.0.0.1:2380 >"$dir/etcd.log" 2>&1 </dev/null &
    # shellcheck disable=SC2034  # for who wants to end it
    etcd=$!
    disown
    ETCDCTL_API=3 within 10 nsenter --net="/run/netns/$wire" -- etcdctl --endpoints "$etcd_url" endpoint health ||
        fail "etcd does not answer: $(tail -n 3 "$dir/etcd.log")"
}

# plug NAMESPACE WIRE PORT ADDRESS: makes a namespace with a NIC, nic0, on a wire.
plug() {
    new_netns "$1"
    ip -n "$2" link add "$3" type veth peer name nic0 netns "$1"
    ip -n "$2" link set "$3" master br0 up
    ip -n "$1" address add "$4/24" dev nic0
    ip -n "$1" link set nic0 up
}

# --- begin and end -------------------------------------------------------------------------------

end() {
    local status=$? node
    trap - EXIT INT TERM HUP
    if $keep && $finished; then
        exit "$status"
    fi
    for node in "${nodes[@]}"; do
        stop_daemon "$node"
        [ -e "${dir_of[$node]}/vswitchd.toml" ] || continue
        at "$node" vswitchd --config "${dir_of[$node]}/vswitchd.toml" --purge \
            >>"${dir_of[$node]}/vswitchd.log" 2>&1 ||
            warn "vswitchd --purge of $node failed; cleaning up by force"
    done
    ENDING=$$ scripts/cleanup.sh --demo >/dev/null
    if $finished; then
        leftovers || status=1
    fi
    exit "$status"
}

# Whether anything of this demonstration still exists. Devices of this machine that it made are in
# $devices.
leftovers() {
    local found node
    found=$(
        for node in "${nodes[@]}"; do
            ip netns list | awk '{print $1}' | grep -E "^$node(-|\$)" | sed 's/^/namespace /'
            find /sys/fs/cgroup -type d -path "*/pod-$node-*" 2>/dev/null | sed 's/^/cgroup /'
            ls -d "/etc/netns/$node-"* "${dir_of[$node]}" 2>/dev/null
            for process in /proc/[0-9]*; do
                tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -F "${dir_of[$node]}/" | sed 's/^/process /'
            done
        done
        for device in ${devices:-}; do
            ip -o link show | grep -oE "\b$device\b" | sed 's/^/link /'
            ip route show | grep -F "$device" | sed 's/^/route /'
        done
    ) || true
    if [ -n "$found" ]; then
        printf '%sdemo: left behind:%s\n%s\n' "$red" "$plain" "$found" >&2
        return 1
    fi
    say "Nothing was left behind."
}

# Removes what a demonstration that was kept, or killed, has left, and takes care of our own end.
begin() {
    local other
    scripts/cleanup.sh --demo
    for other in "$DEMO_DIR_GLOB"*; do
        [ ! -d "$other" ] || die "another demonstration is running ($other)"
    done
    trap end EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Two nodes on etcd and one wire, behind which the Internet is played, with addresses for load balancers. Names of nodes begin with $1. The command
# $2, which is given a node, prints the end of its configuration.
begin_before_internet() {
    local number node wire="$1w"
    # Nothing of this is routed outside the namespaces, so that any range does.
    underlay="192.0.2" internet="203.0.113.10" balancer="192.0.2.200"
    for number in 1 2; do new_node "$1$number"; done
    new_wire "$wire" "$underlay.254"
    ip -n "$wire" address add "$internet/32" dev lo
    for number in 1 2; do
        node="$1$number"
        plug "$node" "$wire" "node$number" "$underlay.$number"
        ip -n "$node" route add default via "$underlay.254"
        cat >"${dir_of[$node]}/vswitchd.toml" <<CONFIG
node = "$node"
state_dir = "${dir_of[$node]}/state"
run_dir = "${dir_of[$node]}/run"
netns_prefix = "$node-"

[etcd]
endpoints = ["$etcd_url"]
lease_seconds = 5

[[load_balancer.pool]]
name = "demo"
addresses = ["$balancer-$underlay.210"]

$("$2" "$node")
CONFIG
        [ "$number" -ne 1 ] || show cat "${dir_of[$node]}/vswitchd.toml"
        start_daemon "$node"
    done
    hears "$1"1 "$1"2 true || fail "node 1 does not hear from node 2"
}
