#!/usr/bin/env bash
# Makes a Debian machine ready to build, demonstrate and test vpod. Installs only what is missing,
# so a second run changes nothing and needs no network. With --quiet it speaks only when it acts, with
# --bench it also installs what make bench compares vpod with, with --vm what make vm-test boots with, with
# --runtimes the container runtimes that make test-runtimes calls.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

# Before the first edition-2024 release cargo could not even read the manifest; the exact number
# is the highest one demanded by a dependency.
readonly RUST_MINIMUM="1.95"

# command (or file) that proves it : Debian package
readonly NEEDED=(
    "ip:iproute2" "ping:iputils-ping" "arping:iputils-arping" "iperf3:iperf3" "curl:curl"
    "tcpdump:tcpdump" "tshark:tshark" "/usr/bin/python3:python3" "jq:jq" "nsenter:util-linux"
    "nft:nftables" "ethtool:ethtool" "dig:bind9-dnsutils" "busybox:busybox-static"
    "cc:gcc" "make:make" "/usr/include/stdio.h:libc6-dev" "git:git" "ps:procps" "mount:mount"
    "/etc/ssl/certs/ca-certificates.crt:ca-certificates"
    # The etcd client is generated from its protocol's definition.
    "protoc:protobuf-compiler" "/usr/include/google/protobuf/descriptor.proto:libprotobuf-dev"
    # Tests and `make demo-cluster` run a server of their own.
    "etcd:etcd-server" "etcdctl:etcd-client"
    # Clients of the ingress, in its tests.
    "openssl:openssl" "h2load:nghttp2-client" "/usr/lib/python3/dist-packages/websockets/__init__.py:python3-websockets"
    # Plugins of other authors, which vpod-ipam and vpod-cni work with.
    "/usr/lib/cni/bridge:containernetworking-plugins"
    # Names are also asked for by a static binary with another C library.
    "musl-gcc:musl-tools"
)

# Only `make lint` wants these.
readonly NEEDED_BY_LINT=("shellcheck:shellcheck")

# Only `make bench` compares with these.
readonly NEEDED_BY_BENCH=(
    "ovs-vswitchd:openvswitch-switch" "vde_switch:vde2" "iptables-legacy-restore:iptables"
    "nginx:nginx-light" "haproxy:haproxy" "wrk:wrk"
    # dnsmasq without what makes it a service of this machine.
    "dnsperf:dnsperf" "unbound:unbound" "kresd:knot-resolver" "dnsmasq:dnsmasq-base"
)

# Only `make vm-test` boots machines. Their kernel is fetched by vm-image.sh.
readonly NEEDED_BY_VM=(
    "qemu-system-x86_64:qemu-system-x86" "/usr/share/seabios/bios-256k.bin:seabios"
    "busybox:busybox-static" "cpio:cpio" "modprobe:kmod" "xz:xz-utils" "zstd:zstd" "strip:binutils"
)

# Only `make test-runtimes` runs containers. What Debian recommends besides is another network and init systems.
readonly NEEDED_BY_RUNTIMES=(
    "podman:podman" "conmon:conmon" "runc:runc" "containerd:containerd" "pgrep:procps" "unshare:util-linux" "tar:tar"
    "/usr/lib/cni/loopback:containernetworking-plugins"
)

quiet=false
wanted=("${NEEDED[@]}" "${NEEDED_BY_LINT[@]}")
case "${1:-}" in
--quiet)
    quiet=true
    wanted=("${NEEDED[@]}")
    ;;
--bench) wanted=("${NEEDED[@]}" "${NEEDED_BY_BENCH[@]}") ;;
--vm)
    quiet=true
    wanted=("${NEEDED[@]}" "${NEEDED_BY_VM[@]}")
    ;;
--runtimes)
    quiet=true
    wanted=("${NEEDED[@]}" "${NEEDED_BY_RUNTIMES[@]}")
    ;;
esac
# Debian keeps some of these in /usr/sbin, which a user's PATH may lack.
export PATH="$PATH:/usr/sbin:/sbin"
export DEBIAN_FRONTEND=noninteractive

present() {
    case "$1" in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

install_packages() {
    local missing=() entry
    for entry in "${wanted[@]}"; do
        present "${entry%%:*}" || missing+=("${entry#*:}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "missing: ${missing[*]}. This is not Debian (no apt-get): install them by hand"
    say "setup: installing ${missing[*]}"
    case " ${missing[*]} " in
    *" tshark "*)
        # Otherwise its package asks whether users may capture.
        if command -v debconf-set-selections >/dev/null; then
            echo "wireshark-common wireshark-common/install-setuid boolean false" |
                as_root debconf-set-selections
        fi
        ;;
    esac
    as_root apt-get -q update
    case " ${missing[*]} " in
    *" openvswitch-switch "* | *" etcd-server "* | *" containerd "* | *" podman "*) forbid_daemons ;;
    esac
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends "${missing[@]}" ||
        die "apt-get could not install: ${missing[*]}"
    # Nor at the next boot. Who has a runtime already has it as it was.
    case " ${missing[*]} " in
    *" containerd "*) as_root systemctl disable containerd.service 2>/dev/null || true ;;
    esac
    case " ${missing[*]} " in
    *" podman "*)
        as_root systemctl disable podman.service podman.socket podman-restart.service \
            podman-auto-update.service podman-auto-update.timer 2>/dev/null || true
        ;;
    esac
    case " ${missing[*]} " in
    *" openvswitch-switch "*) as_root systemctl disable openvswitch-switch.service 2>/dev/null || true ;;
    esac
    case " ${missing[*]} " in
    *" etcd-server "*) as_root systemctl disable etcd.service 2>/dev/null || true ;;
    esac
    for entry in "${wanted[@]}"; do
        present "${entry%%:*}" || die "${entry%%:*} is still missing after installing ${entry#*:}"
    done
}

# Harness and tests run an Open vSwitch, an etcd and a containerd of their own; the packages' daemons are not to
# start. Debian's packages ask this program before they start anything (invoke-rc.d(8)).
forbid_daemons() {
    local policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || return 0
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 0755 "$policy"
}

check_rust() {
    local hint="install it with: curl --proto '=https' -sSf https://sh.rustup.rs | sh"
    # A shell that was open before rustup came has no cargo in its PATH.
    if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then
        die "cargo is not in PATH, but Rust is installed: run '. ~/.cargo/env' first"
    fi
    command -v cargo >/dev/null || die "no Rust toolchain: vpod needs Rust $RUST_MINIMUM; $hint"
    local version
    # With rustup this fetches the toolchain that rust-toolchain.toml pins.
    version=$(rustc --version 2>&1) || die "the pinned Rust toolchain cannot be used: $version"
    version=$(awk '{print $2}' <<<"$version")
    if [ "$(printf '%s\n' "$RUST_MINIMUM" "$version" | sort -V | head -n 1)" != "$RUST_MINIMUM" ]; then
        die "Rust $version is too old: vpod needs $RUST_MINIMUM; with rustup: rustup update; else $hint"
    fi
    $quiet || say "setup: Rust $version"
}

check_tun() {
    local device=/dev/net/tun
    if [ ! -c "$device" ]; then
        say "setup: $device is missing, creating it"
        as_root modprobe tun 2>/dev/null || true
        if [ ! -c "$device" ]; then
            as_root mkdir -p /dev/net
            # 10:200 is the kernel's number for it (Documentation/admin-guide/devices.txt).
            as_root mknod "$device" c 10 200 || die "cannot create $device"
            as_root chmod 0666 "$device"
        fi
    fi
    # The node exists even where the driver does not; only opening it tells.
    as_root sh -c ': <>/dev/net/tun' 2>/dev/null ||
        die "$device cannot be opened: the kernel has no TUN driver (CONFIG_TUN), or this container may not use it (docker: --device /dev/net/tun --cap-add NET_ADMIN)"
    $quiet || say "setup: $device is usable"
}

install_packages
check_rust
check_tun
$quiet || say "setup: complete"
