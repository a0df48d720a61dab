# The only task runner: CI calls the same targets. `make help` lists them.
#
# `make demo`, `make test` and `make vm-test` do their own set-up, so each works on a fresh Debian 12 with Rust.
# Variables:  KEEP=1       make demo, demo-pods, demo-cluster, demo-service, demo-http leave everything running and say what to try next
#             TESTS=word   make test and test-runtimes run only integration tests whose name contains the word
#             PREFIX, DESTDIR, CNI_BIN_DIR, CNI_CONF_DIR  where make install puts things: /usr/local, /, /opt/cni/bin, /etc/cni/net.d
#             BASE=commit  make bench measures that commit too, as the peer "base"

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-pods demo-cluster demo-service demo-http test test-runtimes setup-runtimes vm-test soak soak-cni install uninstall lint bench bench-services bench-http bench-setup clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@awk '/^# Variables:/,/^$$/{sub(/^#( Variables:)? */, "    "); if (NF) print}' Makefile

setup: ## Install what is missing: Debian packages, /dev/net/tun; check the Rust toolchain
	@scripts/setup.sh

demo: ## Pods, services, names and HTTP: demo-pods, demo-service and demo-http one after the other (KEEP=1 leaves the last running)
	@scripts/setup.sh --quiet
	@KEEP= scripts/demo-pods.sh
	@KEEP= scripts/demo-service.sh
	@KEEP='$(KEEP)' scripts/demo-http.sh

demo-pods: ## Two nodes on this machine, four pods: ping, HTTP, containers, node and pod, iperf3 (KEEP=1)
	@scripts/setup.sh --quiet
	@KEEP='$(KEEP)' scripts/demo-pods.sh

demo-cluster: ## Three nodes on etcd: one loses its power and comes back (KEEP=1)
	@scripts/setup.sh --quiet
	@KEEP='$(KEEP)' scripts/demo-cluster.sh

demo-service: ## Two nodes on etcd: a service that loses no connect while pods die, and a pretended Internet (KEEP=1)
	@scripts/setup.sh --quiet
	@KEEP='$(KEEP)' scripts/demo-service.sh

demo-http: ## Two nodes on etcd: hosts and paths over HTTP and HTTPS from a pretended Internet, while pods are replaced (KEEP=1)
	@scripts/setup.sh --quiet
	@KEEP='$(KEEP)' scripts/demo-http.sh

test: ## Unit and model tests, then the promises on the real kernel (as root, through sudo if need be)
	@scripts/setup.sh --quiet
	@scripts/test.sh $(TESTS)

vm-test: ## The promises that need several kernels, in three small virtual machines (QEMU; no root but for set-up)
	@scripts/setup.sh --vm
	@scripts/vm-test.sh

test-runtimes: ## podman and containerd run containers on vpod, as root (two minutes)
	@scripts/setup.sh --runtimes
	@scripts/test-runtimes.sh $(TESTS)

setup-runtimes: ## Install the container runtimes that make test-runtimes calls
	@scripts/setup.sh --runtimes

soak: ## Two hundred kills of daemons under churn, as root (a minute)
	@scripts/setup.sh --quiet
	@VPOD_KILLS=200 scripts/test.sh nodes::churn

soak-cni: ## Ten thousand CNI calls, of which one in twenty is killed, with kills of the daemon, as root (half an hour)
	@scripts/setup.sh --quiet
	@VPOD_CNI_CALLS=10000 scripts/test.sh cni::churn

install: ## Programs, CNI plugins and their configuration, as root (PREFIX, DESTDIR, CNI_BIN_DIR, CNI_CONF_DIR)
	@if command -v cargo >/dev/null; then cargo build --release --workspace --bins --locked; fi
	@scripts/install.sh install

uninstall: ## Take away what make install put there; what was changed since stays
	@scripts/install.sh uninstall

lint: ## Format, clippy, rustdoc, crate boundaries, licences and bans, scripts
	@scripts/lint.sh

bench: ## The switch beside all installed peers, in fifteen minutes; results go to benches/results/
	@scripts/setup.sh --quiet
	@BASE='$(BASE)' scripts/bench.sh

bench-services: ## The workloads through services, with up to 10,000 of them: half an hour
	@scripts/setup.sh --bench
	@BASE='$(BASE)' scripts/bench.sh --services

bench-http: ## Names and HTTP beside unbound, knot-resolver, dnsmasq, nginx and haproxy: six minutes
	@scripts/setup.sh --bench
	@BASE= scripts/bench.sh --http

bench-setup: ## Install the peers that are compared with: Open vSwitch, VDE, iptables, DNS servers, HTTP proxies
	@scripts/setup.sh --bench

clean: ## Remove build output and whatever a killed test or demo left behind
	@scripts/cleanup.sh
	cargo clean
