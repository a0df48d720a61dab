#!/usr/bin/env bash
# Three pods in two namespaces on this machine, with real programs talking through the userspace
# switch. Every command is shown before its output, and every output is checked: a demonstration
# whose curl fails ends with an error. Nothing stays behind, however it ends.
#
# It has its own directories, namespace prefix, gateway device and address range, so that an
# installed vswitchd is not disturbed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

# A demonstration needs root for what a daemon needs root for, but cargo runs as the user.
if [ "${1:-}" != "--built" ]; then
    say "Building (release)…"
    cargo build --release --locked -p vswitchd -p vpodctl
    as_root "$0" --built
    exit
fi

# Fixed, because the prefix of namespaces has 11 characters at most and the device's name 15: one
# demonstration at a time.
readonly name="vpdemo" gateway_device="vpdemo0"
readonly dir="$DEMO_DIR_GLOB$$"
readonly socket="$dir/run/admin.sock"
export VPOD_SOCKET="$socket"
programs=$(realpath "${CARGO_TARGET_DIR:-target}/release")
readonly programs
export PATH="$programs:$PATH:/usr/sbin:/sbin"
keep=false
[ -z "${KEEP:-}" ] || [ "${KEEP:-}" = 0 ] || keep=true
daemon=""
finished=false

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
    printf '%s$ %s%s\n' "$bold" "$(quoted "$@")" "$plain"
    local status=0
    output=$(timeout --foreground 60 "$@" 2>&1) || status=$?
    printf '%s\n' "$output"
    [ "$status" -eq 0 ] || fail "this command ended with status $status"
}

expect() {
    grep -qE -- "$1" <<<"$output" || fail "the output above should have contained: $1"
}

fail() {
    printf '%sdemo: FAILED: %s%s\n' "$red" "$*" "$plain" >&2
    if [ -s "$dir/vswitchd.log" ]; then
        warn "the end of the daemon's log:"
        tail -n 20 "$dir/vswitchd.log" >&2
    fi
    exit 1
}

# --- begin and end -------------------------------------------------------------------------------

end() {
    local status=$?
    trap - EXIT INT TERM HUP
    if $keep && $finished; then
        exit "$status"
    fi
    if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
        kill -TERM "$daemon"
        for _ in $(seq 100); do
            kill -0 "$daemon" 2>/dev/null || break
            sleep 0.1
        done
    fi
    if [ -e "$dir/vswitchd.toml" ]; then
        vswitchd --config "$dir/vswitchd.toml" --purge >>"$dir/vswitchd.log" 2>&1 ||
            warn "vswitchd --purge failed; cleaning up by force"
    fi
    ENDING=$$ scripts/cleanup.sh --demo >/dev/null
    if $finished; then
        leftovers || status=1
    fi
    exit "$status"
}

# Whether anything of this demonstration still exists.
leftovers() {
    local found
    found=$(
        ip netns list | awk '{print $1}' | grep "^$name" | sed 's/^/namespace /'
        ip -o link show | grep -oE "\b$gateway_device\b" | sed 's/^/link /'
        ip route show | grep -F "$gateway_device" | sed 's/^/route /'
        find /sys/fs/cgroup -type d -path "*/pod-$name-*" 2>/dev/null | sed 's/^/cgroup /'
        ls -d "/etc/netns/$name"* "$dir" 2>/dev/null
        for process in /proc/[0-9]*; do
            tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -F "$dir/" | sed 's/^/process /'
        done
    ) || true
    if [ -n "$found" ]; then
        printf '%sdemo: left behind:%s\n%s\n' "$red" "$plain" "$found" >&2
        return 1
    fi
    say "Nothing was left behind."
}

# The first range that no route of this machine touches.
free_range() {
    local second
    for second in 244 213 187 151; do
        if [ -z "$(ip -4 route show root "10.$second.0.0/16")$(ip -4 route show match "10.$second.0.0/16" | grep -v '^default')" ]; then
            echo "10.$second"
            return
        fi
    done
    fail "10.244.0.0/16 and all alternatives are routed on this machine already"
}

scripts/cleanup.sh --demo # a demonstration that was kept, or killed
for other in "$DEMO_DIR_GLOB"*; do
    [ ! -d "$other" ] || die "another demonstration is running ($other)"
done
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

range=$(free_range)
readonly range gateway="$range.0.1"
mkdir -p "$dir/www"
echo "$name" >"$dir/name"
echo "$gateway_device" >"$dir/gateway-device"
echo '<h1>Hello from the web pod</h1>' >"$dir/www/index.html"
cat >"$dir/vswitchd.toml" <<CONFIG
state_dir = "$dir/state"
run_dir = "$dir/run"
netns_prefix = "$name-"
gateway_device = "$gateway_device"
cluster_cidr = "$range.0.0/16"
pod_cidr = "$range.0.0/24"
CONFIG

heading "The daemon"
printf '%s$ vswitchd --config %s &%s\n' "$bold" "$dir/vswitchd.toml" "$plain"
setsid "$programs/vswitchd" --config "$dir/vswitchd.toml" >"$dir/vswitchd.log" 2>&1 </dev/null &
daemon=$!
for _ in $(seq 100); do
    vpodctl status >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || fail "vswitchd ended"
    sleep 0.1
done
vpodctl status >/dev/null || fail "vswitchd does not answer"

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

heading "Throughput between two pods"
show vpodctl exec client -n shop -- iperf3 -C cubic -t 3 -c "$speed"
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
