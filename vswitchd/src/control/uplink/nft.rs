//! The one nftables table: its text, and the program that loads it.
//!
//! One chain at the `ingress` hook of the uplink's interface, before everything else the node's stack does with a frame, and
//! three sets that follow the services. A script is one transaction: it is loaded whole or not at all.
//!
//! A second chain, at the `egress` hook of the loopback device, is the way of the node's own programs to the node's ports of services:
//! packets for the node's own address are routed to that device, whatever routes say, and this is the last place before they are
//! received. They leave by the gateway device instead, as if the node had routed them there, and nothing else is touched: neither rules
//! of routing nor connection tracking. A program that sends from 127.0.0.1 could not be answered and finds what the kernel has.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use protocol::link::Transport;

use super::hidden::{Hidden, OwnWay};

/// Before other chains at that hook.
const PRIORITY: i32 = -500;
/// Where Debian has it; a daemon's `PATH` may lack it.
const SBIN: &str = "/usr/sbin:/sbin";

/// Why the kernel does not hide what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    #[error("the program \"nft\" is not installed (Debian: apt-get install nftables)")]
    Missing,
    #[error("cannot run nft: {0}")]
    Run(#[from] io::Error),
    #[error("nft refused the rules of table netdev vpod: {0}")]
    Refused(String),
}

/// `nft -f -`, in the namespace of this process.
pub(super) fn load(script: &str) -> Result<(), NftError> {
    run(&["-f", "-"], script)
}

/// Whether the table is there, whatever is in it.
pub(super) fn has_table() -> Result<bool, NftError> {
    match run(&["-t", "list", "table", "netdev", "vpod"], "") {
        Ok(()) => Ok(true),
        Err(NftError::Refused(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

fn run(arguments: &[&str], script: &str) -> Result<(), NftError> {
    let path = std::env::var("PATH").map_or_else(|_| SBIN.to_owned(), |path| format!("{path}:{SBIN}"));
    let child = Command::new("nft")
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NftError::Missing),
        other => other?,
    };
    // It reads everything before it says anything. If it ends early, its words tell why.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return written.map_err(NftError::Run);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(NftError::Refused(first.trim().to_owned()))
}

/// Takes the table away; fine if there is none.
pub(super) const REMOVAL: &str = "add table netdev vpod\ndelete table netdev vpod\n";

/// The whole table, in place of whatever there was.
pub(super) fn table(hidden: &Hidden) -> String {
    let mut script = REMOVAL.to_owned();
    let ports = &hidden.source_ports;
    let sets = [
        set("node_addresses", "ipv4_addr", &hidden.node_addresses),
        set("node_ports", "inet_proto . inet_service", &elements(&hidden.node_ports)),
        set("host_ports", "ipv4_addr . inet_proto . inet_service", &at_addresses(&hidden.host_ports)),
        set("local_ports", "inet_proto . inet_service", &elements(&hidden.local_ports)),
        set("addresses", "ipv4_addr", &hidden.addresses),
    ];
    let rules = [
        format!(
            "type filter hook ingress device \"{}\" priority {PRIORITY}; policy accept;",
            hidden.device.name
        ),
        "ip daddr @addresses drop".to_owned(),
        "ip daddr @node_addresses meta l4proto . th dport @node_ports drop".to_owned(),
        "ip daddr . meta l4proto . th dport @host_ports drop".to_owned(),
        format!(
            "ip daddr @node_addresses meta l4proto {{ tcp, udp, sctp }} th dport {}-{} drop",
            ports.start(),
            ports.end()
        ),
    ];
    let chain = |name, rules: &[String]| format!("\tchain {name} {{\n\t\t{}\n\t}}\n", rules.join("\n\t\t"));
    let own = hidden.own.as_ref().map(|own| {
        [
            chain("own_local", &own_local_rules(own)),
            chain("own", &own_rules(own)),
            chain("own_local_answers", &answer_rules(own)),
        ]
        .concat()
    });
    let body = [sets.concat(), chain("ingress", &rules), own.unwrap_or_default()].concat();
    // A string takes everything.
    let _ = write!(script, "table netdev vpod {{\n{body}}}\n");
    script
}

fn own_rules(own: &OwnWay) -> [String; 4] {
    let to_switch = to_switch(own);
    [
        format!("type filter hook egress device \"lo\" priority {PRIORITY}; policy accept;"),
        "ip daddr 127.0.0.1 meta l4proto . th dport @local_ports goto own_local".to_owned(),
        format!(
            "ip saddr != 127.0.0.0/8 ip daddr @node_addresses meta l4proto . th dport @node_ports {to_switch}"
        ),
        format!("ip saddr != 127.0.0.0/8 ip daddr . meta l4proto . th dport @host_ports {to_switch}"),
    ]
}

fn to_switch(own: &OwnWay) -> String {
    format!("fwd ip to {} device \"{}\"", own.next_hop, own.gateway.name)
}

/// 127.0.0.1 means nothing at another device: other addresses stand for it.
fn own_local_rules(own: &OwnWay) -> [String; 2] {
    [
        format!("ip saddr 127.0.0.1 ip saddr set {}", own.address),
        format!("ip daddr set {} {}", own.next_hop, to_switch(own)),
    ]
}

/// And back. Other packets come from that address to other ports only: as the clients of a backend that is the node itself.
fn answer_rules(own: &OwnWay) -> [String; 3] {
    let from = format!("ip saddr {} meta l4proto . th sport @local_ports", own.next_hop);
    [
        format!(
            "type filter hook ingress device \"{}\" priority {PRIORITY}; policy accept;",
            own.gateway.name
        ),
        format!("{from} ip daddr {} ip daddr set 127.0.0.1 ip saddr set 127.0.0.1 accept", own.address),
        format!("{from} ip saddr set 127.0.0.1"),
    ]
}

/// What turns the sets of `old` into those of `new`, which has the same rules; `None` if they are equal.
pub(super) fn changes(old: &Hidden, new: &Hidden) -> Option<String> {
    let script = [
        difference("node_addresses", &old.node_addresses, &new.node_addresses),
        difference("node_ports", &elements(&old.node_ports), &elements(&new.node_ports)),
        difference("host_ports", &at_addresses(&old.host_ports), &at_addresses(&new.host_ports)),
        difference("local_ports", &elements(&old.local_ports), &elements(&new.local_ports)),
        difference("addresses", &old.addresses, &new.addresses),
    ]
    .concat();
    (!script.is_empty()).then_some(script)
}

fn set<T: Display>(name: &str, kind: &str, all: &BTreeSet<T>) -> String {
    let elements = if all.is_empty() { String::new() } else { format!("elements = {{ {} }};", list(all)) };
    format!("\tset {name} {{ type {kind}; {elements} }}\n")
}

fn difference<T: Display + Ord>(name: &str, old: &BTreeSet<T>, new: &BTreeSet<T>) -> String {
    let words = |verb: &str, all: Vec<&T>| {
        if all.is_empty() {
            String::new()
        } else {
            format!("{verb} element netdev vpod {name} {{ {} }}\n", list(all))
        }
    };
    [words("delete", old.difference(new).collect()), words("add", new.difference(old).collect())].concat()
}

fn list<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// An element of the set of node ports.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Element(Transport, u16);

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.0 {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        };
        write!(f, "{transport} . {}", self.1)
    }
}

fn elements(ports: &BTreeSet<(Transport, u16)>) -> BTreeSet<Element> {
    ports.iter().map(|(transport, port)| Element(*transport, *port)).collect()
}

/// An element of the set of host ports.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct AtAddress(Ipv4Addr, Element);

impl Display for AtAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} . {}", self.0, self.1)
    }
}

fn at_addresses(ports: &BTreeSet<(Ipv4Addr, Transport, u16)>) -> BTreeSet<AtAddress> {
    ports.iter().map(|(address, transport, port)| AtAddress(*address, Element(*transport, *port))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::hidden::Interface;
    use super::*;

    fn hidden() -> Hidden {
        Hidden {
            device: Interface { name: "lo".to_owned(), index: 1 },
            source_ports: 61_000..=65_535,
            node_port_range: 30_000..=32_767,
            node_addresses: [Ipv4Addr::new(192, 0, 2, 1)].into(),
            node_ports: [(Transport::Tcp, 30_080), (Transport::Udp, 30_080), (Transport::Sctp, 31_000)]
                .into(),
            addresses: [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 9)].into(),
            host_ports: [(Ipv4Addr::new(192, 0, 2, 1), Transport::Udp, 53)].into(),
            local_ports: [(Transport::Tcp, 8080)].into(),
            routed: BTreeSet::new(),
            own: None,
        }
    }

    /// `lo` is the one device that is everywhere.
    fn with_own_way() -> Hidden {
        let gateway = Interface { name: "lo".to_owned(), index: 1 };
        let (address, next_hop) = (Ipv4Addr::new(10, 244, 0, 1), Ipv4Addr::new(10, 96, 0, 0));
        Hidden { own: Some(OwnWay { gateway, address, next_hop }), ..hidden() }
    }

    /// Says whether nft would load it, without doing so.
    fn check(script: &str) {
        run(&["-c", "-f", "-"], script).unwrap_or_else(|error| panic!("{error}\n{script}"));
    }

    #[test]
    fn the_table_is_what_nft_understands() {
        check(&table(&hidden()));
        let none = Hidden {
            node_ports: BTreeSet::new(),
            addresses: BTreeSet::new(),
            node_addresses: BTreeSet::new(),
            ..hidden()
        };
        check(&table(&none));
        check(&table(&with_own_way()));
        check(REMOVAL);
    }

    #[test]
    fn the_table_says_what_is_hidden() {
        let script = table(&hidden());
        for words in [
            "add table netdev vpod\ndelete table netdev vpod\ntable netdev vpod {\n",
            "hook ingress device \"lo\" priority -500; policy accept;",
            "elements = { tcp . 30080, udp . 30080, sctp . 31000 };",
            "elements = { 198.51.100.1, 198.51.100.9 };",
            "ip daddr @node_addresses meta l4proto { tcp, udp, sctp } th dport 61000-65535 drop",
        ] {
            assert!(script.contains(words), "{words}\n{script}");
        }
    }

    #[test]
    fn the_nodes_own_packets_for_services_leave_by_the_gateway_device() {
        assert!(!table(&hidden()).contains("egress"));
        let script = table(&with_own_way());
        for words in [
            "hook egress device \"lo\" priority -500; policy accept;",
            "ip saddr != 127.0.0.0/8 ip daddr @node_addresses meta l4proto . th dport @node_ports fwd ip to 10.96.0.0 device \"lo\"\n",
        ] {
            assert!(script.contains(words), "{words}\n{script}");
        }
    }

    #[test]
    fn changes_are_what_differs() {
        let old = hidden();
        let new = Hidden {
            node_ports: [(Transport::Tcp, 30_080), (Transport::Tcp, 30_081)].into(),
            addresses: [Ipv4Addr::new(198, 51, 100, 9)].into(),
            ..hidden()
        };
        assert_eq!(changes(&old, &old), None);
        let script = changes(&old, &new).unwrap();
        let expected = "delete element netdev vpod node_ports { udp . 30080, sctp . 31000 }\n\
                        add element netdev vpod node_ports { tcp . 30081 }\n\
                        delete element netdev vpod addresses { 198.51.100.1 }\n";
        assert_eq!(script, expected);
        check(&format!("{}{script}", table(&old)));
    }

    #[test]
    fn nfts_words_are_passed_on() {
        let error = run(&["-c", "-f", "-"], "no such words").unwrap_err().to_string();
        assert!(error.starts_with("nft refused the rules of table netdev vpod: "), "{error}");
    }
}
