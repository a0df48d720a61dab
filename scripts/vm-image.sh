#!/usr/bin/env bash
# Makes what the virtual machines of `make vm-test` boot: Debian's cloud kernel, unpacked and never
# installed, and an initramfs with busybox, the modules for virtio, TUN and nftables, and our programs and nft with the
# libraries they are linked to. Needs no root. The kernel's package is fetched once per version.
# Usage: vm-image.sh DIRECTORY-WITH-PROGRAMS OUTPUT-DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

[ "$#" -eq 2 ] || die "usage: vm-image.sh DIRECTORY-WITH-PROGRAMS OUTPUT-DIRECTORY"
readonly programs=$1 output=$2
# What a machine of QEMU's "pc" type needs besides what the kernel has built in.
readonly MODULES=(virtio_pci virtio_net virtio_console tun nf_tables)
readonly PROGRAMS=(vswitchd vpodctl stream)
export PATH="$PATH:/usr/sbin:/sbin"

# Leaves the unpacked package in $kernel.
fetch_kernel() {
    local package
    package=$(kernel_package)
    kernel="$output/$package"
    [ -z "$package" ] || [ ! -e "$kernel/complete" ] || return 0
    # Lists that are missing, or older than what the archive still has.
    if [ -z "$package" ] || ! download "$package"; then
        as_root apt-get -q update
        package=$(kernel_package)
        [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64"
        kernel="$output/$package"
        download "$package" || die "apt-get could not download $package"
    fi
    dpkg-deb --extract "$kernel"/*.deb "$kernel"
    rm -- "$kernel"/*.deb
    # Newer packages keep everything below /usr.
    [ -d "$kernel/lib" ] || ln -s usr/lib "$kernel/lib"
    release=$(kernel_release)
    depmod --basedir "$kernel" "$release"
    touch "$kernel/complete"
}

kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        awk '/^ *Depends: linux-image-/ && !found {print $2; found = 1}'
}

download() {
    say "vm-image: fetching $1"
    rm -rf -- "${output:?}/$1"
    mkdir -p "$output/$1"
    # Not sandboxed where root owns the directory: apt says so, and it does not matter here.
    (cd "$output/$1" && apt-get -q -o APT::Sandbox::User=root download "$1" >/dev/null)
}

kernel_release() { basename "$(ls -d "$kernel"/lib/modules/*)"; }

# The modules in an order in which they can be loaded, uncompressed, numbered.
copy_modules() {
    local number=100 name path
    mkdir -p "$root/modules"
    # A module that others share is listed for each; the first place is the right one.
    for name in "${MODULES[@]}"; do
        modprobe --dirname "$kernel" --set-version "$release" --show-depends "$name" ||
            die "the kernel has no module $name"
    done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while IFS= read -r path; do
        number=$((number + 1))
        name=$(basename "$path")
        case "$path" in
        *.xz) xz -dc "$path" >"$root/modules/$number-${name%.xz}" ;;
        *.zst) zstd -dcq "$path" >"$root/modules/$number-${name%.zst}" ;;
        *) cp "$path" "$root/modules/$number-$name" ;;
        esac
    done
    [ -n "$(ls "$root/modules")" ] || die "no kernel module was found"
}

# A program, at /bin, without debugging information, with its libraries where the loader looks.
copy_program() {
    local library
    [ -x "$1" ] || die "$1 is missing: make vm-test builds it"
    strip -o "$root/bin/$(basename "$1")" "$1"
    ldd "$1" | grep -oE '/[^ ]+' | while IFS= read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp --dereference --update "$library" "$root$library"
    done
}

mkdir -p "$output"
fetch_kernel
release=$(kernel_release)
root=$(mktemp -d "$output/root.XXXXXX")
trap 'rm -rf -- "$root"' EXIT
mkdir -p "$root"/{bin,dev,etc,proc,root,run,sys,tmp,var/lib}
cp scripts/vm-init.sh "$root/init"
chmod 0755 "$root/init"
cp "$(command -v busybox)" "$root/bin/busybox"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
copy_modules
for program in "${PROGRAMS[@]}"; do copy_program "$programs/$program"; done
copy_program "$(command -v nft || die "nft is missing: scripts/setup.sh installs it")"
(cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --owner=0:0 --quiet) |
    gzip -1 >"$output/initramfs.new"
mv "$output/initramfs.new" "$output/initramfs"
cp "$kernel/boot/vmlinuz-$release" "$output/vmlinuz"
say "vm-image: Linux $release, initramfs of $(($(stat -c %s "$output/initramfs") >> 20)) MiB"
