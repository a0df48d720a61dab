#!/usr/bin/env python3
"""Checks what the workspace depends on, offline, from `cargo metadata` and deny.toml.

1. Crate boundaries: the direct dependencies of the crates whose purity the design rests on, and
   the crates nothing below them may reach.
2. Licences, bans, sources and duplicate versions, as deny.toml says (see there).
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict

# Direct dependencies, without those of tests. A new one is a decision: say why in the commit.
DIRECT = {
    "protocol": {"serde", "bincode", "postcard", "ipnet", "thiserror", "humantime"},
    "datapath": {"protocol", "etherparse", "zerocopy", "hashbrown", "foldhash", "multiversion", "ipnet", "thiserror"},
    "store": {
        "protocol", "redb", "ipnet", "serde", "serde_json", "thiserror", "crossbeam-channel", "etcd-client", "k8s-openapi",
        "tokio",
    },
    "routing": {"protocol", "ipnet", "k8s-openapi", "rustls", "rustls-pki-types", "serde", "serde_json", "thiserror"},
    "policy": {"protocol", "ipnet", "serde", "serde_json"},
    "vpod-cni": {"protocol", "ipnet", "serde_json", "thiserror"},
    "vpod-cni-plugin": {"vpod-cni", "protocol", "netdev", "ipnet", "libc", "serde_json"},
    "vpodctl": {
        "protocol", "netdev", "anyhow", "clap", "clap_complete", "clap_mangen", "comfy-table", "hickory-proto",
        "humantime", "ipnet", "k8s-openapi", "serde", "serde_json", "serde-saphyr", "signal-hook", "thiserror",
    },
}
# Never reached from these crates, however indirectly.
UNREACHABLE = {
    "protocol": {"libc", "nix", "mio", "socket2", "tokio", "tracing"},
    "datapath": {"libc", "nix", "mio", "socket2", "tokio", "tracing", "parking_lot"},
    "netdev": {"tokio", "store", "vswitchd"},
    "store": {"netdev", "datapath"},
    "routing": {"mio", "socket2", "tokio", "tracing", "netdev", "store"},
    "policy": {"libc", "nix", "mio", "socket2", "tokio", "tracing", "netdev", "datapath", "store"},
    "vpod-cni": {"libc", "nix", "mio", "socket2", "tokio", "tracing", "netdev", "store", "datapath", "vswitchd"},
    "vpod-cni-plugin": {"tokio", "store", "datapath", "vswitchd"},
    "vpod-dns": {"store", "datapath", "vswitchd"},
    "vpodctl": {"tokio", "store", "datapath"},
    "vpod-ingress": {"store", "datapath", "vswitchd"},
}
# The only crate whose sources may lift the workspace's ban on unsafe code.
UNSAFE_CRATE = "netdev"
# Test code that may too: an allocator that counts cannot be written otherwise.
UNSAFE_TESTS = {"datapath/tests/allocations/mod.rs"}


def satisfied(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences alone."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def term():
        token = tokens.pop(0)
        if token == "(":
            value = alternatives()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            del tokens[:2]
            return f"{token} WITH" in allowed
        return token in allowed

    def conjunction():
        value = term()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = term() and value
        return value

    def alternatives():
        value = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = conjunction() or value
        return value

    return alternatives()


def main():
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked", "--offline",
             "--filter-platform", "x86_64-unknown-linux-gnu"],
            check=True, stdout=subprocess.PIPE,
        ).stdout
    )
    with open("deny.toml", "rb") as file:
        policy = tomllib.load(file)
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    members = {packages[m]["name"]: m for m in metadata["workspace_members"]}
    problems = []

    def normal(node_id):
        for dep in nodes[node_id]["deps"]:
            if any(kind["kind"] != "dev" for kind in dep["dep_kinds"]):
                yield dep["pkg"]

    def reached_from(roots):
        seen, queue = set(), list(roots)
        while queue:
            node_id = queue.pop()
            if node_id not in seen:
                seen.add(node_id)
                queue.extend(normal(node_id))
        return seen

    for crate, allowed in DIRECT.items():
        for extra in sorted({packages[d]["name"] for d in normal(members[crate])} - allowed):
            problems.append(f"boundary: {crate} must not depend on {extra}")
    for crate, forbidden in UNREACHABLE.items():
        reached = {packages[d]["name"] for d in reached_from([members[crate]])}
        for bad in sorted(reached & forbidden):
            problems.append(f"boundary: {crate} reaches {bad}")

    # Tests and benches too: their code runs on developers' machines.
    used = reached_from(members.values())
    for member in members.values():
        used |= reached_from(dep["pkg"] for dep in nodes[member]["deps"])

    allowed = set(policy["licenses"]["allow"])
    exceptions = {e["name"]: set(e["allow"]) for e in policy["licenses"].get("exceptions", [])}
    banned = {b["name"]: b.get("reason", "") for b in policy["bans"]["deny"]}
    accepted = {s["name"] if isinstance(s, dict) else s for s in policy["bans"]["skip"]}
    registries = {f"registry+{url}" for url in policy["sources"]["allow-registry"]}
    versions = defaultdict(set)
    for node_id in used:
        package = packages[node_id]
        name, version = package["name"], package["version"]
        versions[name].add(version)
        licence = package["license"]
        if not licence or not satisfied(licence, allowed | exceptions.get(name, set())):
            problems.append(f"licence: {name} {version} is {licence or 'not stated'}")
        if name in banned:
            problems.append(f"ban: {name} {version}: {banned[name]}")
        if package["source"] is not None and package["source"] not in registries:
            problems.append(f"source: {name} {version} comes from {package['source']}")
    for name, several in versions.items():
        if len(several) > 1 and name.split("@")[0] not in accepted:
            problems.append(f"duplicate: {name} {', '.join(sorted(several))} (accept it in deny.toml, with a reason)")

    found = subprocess.run(
        ["git", "grep", "-lE", r"(allow|expect)\(unsafe_code"], stdout=subprocess.PIPE, text=True
    ).stdout.split()
    for path in found:
        if path.endswith(".rs") and not path.startswith(f"{UNSAFE_CRATE}/") and path not in UNSAFE_TESTS:
            problems.append(f"boundary: {path} lifts the ban on unsafe code; only {UNSAFE_CRATE} may")

    for problem in sorted(problems):
        print(problem, file=sys.stderr)
    print(f"dependencies: {len(used)} packages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
