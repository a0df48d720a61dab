#!/bin/busybox sh
# shellcheck shell=dash
# The first process of a virtual machine of `make vm-test`. Brings the machine up, then runs the scripts
# that come over the virtio-serial port "agent" (integration/src/vm.rs is at its other end):
#   host:   ID SECONDS SCRIPT-IN-BASE64
#   guest:  "ready", then for each script: ID STATUS OUTPUT-IN-BASE64
# Kernel parameters: vpod.address=ADDRESS/LEN of eth0; vpod.trial=1 powers the machine off at once.
/bin/busybox mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root NO_COLOR=1

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup

parameter() { tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"; }

if [ "$(parameter vpod.trial)" = 1 ]; then
    poweroff -f
fi
for module in /modules/*.ko; do
    insmod "$module" || echo "vm-init: $module cannot be loaded"
done
ip link set lo up
ip address add "$(parameter vpod.address)" dev eth0
ip link set eth0 up

agent=
for _ in $(seq 100); do
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" != agent ] || agent=/dev/${port##*/}
    done
    [ -z "$agent" ] || break
    sleep 0.1
done
echo "vm-init: $(uname -r), $(parameter vpod.address), agent at $agent"

serve() {
    echo ready
    while read -r id seconds script; do
        echo "$script" | base64 -d >/tmp/script
        timeout -s KILL "$seconds" sh /tmp/script >/tmp/output 2>&1 </dev/null
        echo "$id $? $(base64 </tmp/output | tr -d '\n')"
    done
}
# The port can be opened once, so once for both directions.
[ -z "$agent" ] || serve <>"$agent" >&0
echo "vm-init: the host has hung up"
poweroff -f
