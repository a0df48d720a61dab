#!/usr/bin/env bash
# Installs vpod on this machine, or takes it away: `install.sh install`, `install.sh uninstall`.
# What an administrator has changed is never overwritten, and never removed.
#   PREFIX        where programs go [/usr/local], below DESTDIR
#   CNI_BIN_DIR   where container runtimes look for plugins [/opt/cni/bin]
#   CNI_CONF_DIR  where they look for configurations [/etc/cni/net.d]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

readonly root="${DESTDIR:-}"
readonly bin="$root${PREFIX:-/usr/local}/bin"
readonly plugins="$root${CNI_BIN_DIR:-/opt/cni/bin}"
readonly configurations="$root${CNI_CONF_DIR:-/etc/cni/net.d}"
readonly built="${CARGO_TARGET_DIR:-target}/release"
readonly conflist=scripts/10-vpod.conflist

readonly programs=(vswitchd vpodctl vpod-dns vpod-ingress)
readonly plugin_programs=(vpod-cni vpod-ipam)

install_all() {
    local name
    for name in "${programs[@]}" "${plugin_programs[@]}"; do
        [ -x "$built/$name" ] || die "$built/$name is missing: build it with 'cargo build --release --workspace --bins'"
    done
    install -d "$bin" "$plugins" "$configurations"
    # Under a name of its own first: a runtime may call a plugin, and a daemon may run, while it is replaced.
    for name in "${programs[@]}"; do put "$built/$name" "$bin/$name"; done
    for name in "${plugin_programs[@]}"; do put "$built/$name" "$plugins/$name"; done
    put_configuration
    say "installed: programs in $bin, plugins in $plugins"
    [ -n "$root" ] || say "check it: vpodctl cni check --bin-dir $plugins --conf-dir $configurations"
}

put() {
    install -m 0755 "$1" "$2.new"
    mv -f "$2.new" "$2"
}

put_configuration() {
    local target="$configurations/10-vpod.conflist"
    if [ -e "$target" ] && ! cmp -s "$conflist" "$target"; then
        install -m 0644 "$conflist" "$target.new"
        warn "$target was changed and stays; this version's is $target.new"
    else
        install -m 0644 "$conflist" "$target"
        rm -f "$target.new"
        say "installed: $target"
    fi
}

uninstall_all() {
    local name target="$configurations/10-vpod.conflist"
    for name in "${programs[@]}"; do rm -f "$bin/$name"; done
    for name in "${plugin_programs[@]}"; do rm -f "$plugins/$name"; done
    rm -f "$target.new"
    if [ -e "$target" ] && ! cmp -s "$conflist" "$target"; then
        warn "$target was changed and stays: remove it, or runtimes will look for plugins that are gone"
    else
        rm -f "$target"
    fi
    say "uninstalled; state of a daemon is removed by 'vswitchd --purge' before"
}

case "${1:-}" in
install) install_all ;;
uninstall) uninstall_all ;;
*) die "say install or uninstall" ;;
esac
