//! Who has an address, as the network sees it, and as the daemons say.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ChildStdin;

use integration::{Background, Cluster, TestNode};
use protocol::message::Kind;

use super::document;

const PROGRAM: &str =
    concat!("exec /usr/bin/python3 ", env!("CARGO_MANIFEST_DIR"), "/tests/promises/services/watch.py");

/// Questions that were on their way while an address was handed over may find both.
const ON_THE_WAY: u32 = 5;

/// Asks for the address, and connects to it, all the time.
pub(super) struct Watch {
    program: Background,
    input: ChildStdin,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    answers: Vec<(u32, String)>,
    announcements: Vec<String>,
    connects: Vec<(f64, f64, Option<String>)>,
}

impl Watch {
    #[track_caller]
    pub(super) fn start(cluster: &Cluster, address: &str) -> Self {
        Self::run(cluster, &format!("{address} 80"))
    }

    /// As [`Self::start`], but with as much patience as programs have: what a connection may not do is fail.
    #[track_caller]
    pub(super) fn patient(cluster: &Cluster, address: &str, port: u16) -> Self {
        Self::run(cluster, &format!("{address} {port} 10"))
    }

    #[track_caller]
    fn run(cluster: &Cluster, arguments: &str) -> Self {
        let mut program = cluster.underlay().spawn(&format!("{PROGRAM} br0 {arguments}"));
        program.wait_for_output("ready\n");
        let input = program.stdin();
        Self { program, input }
    }

    #[track_caller]
    pub(super) fn end(self) -> Seen {
        drop(self.input);
        let said = self.program.wait().ok();
        let line = said.lines().last().unwrap_or_default();
        let seen = serde_json::from_str(line);
        let (answers, announcements, connects) = seen.unwrap_or_else(|error| panic!("{error}: {said}"));
        Seen { answers, announcements, connects }
    }
}

impl Seen {
    /// Those who answered, in order. Asserts that no two did at once, and that none came back.
    #[track_caller]
    pub(super) fn owners(&self) -> Vec<String> {
        let mut spans: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for (question, mac) in &self.answers {
            let span = spans.entry(mac).or_insert((*question, *question));
            *span = (span.0.min(*question), span.1.max(*question));
        }
        let mut spans: Vec<(&str, (u32, u32))> = spans.into_iter().collect();
        spans.sort_by_key(|(_, (first, _))| *first);
        for pair in spans.windows(2) {
            let [(one, (_, last)), (other, (first, _))] = pair else { continue };
            assert!(*first + ON_THE_WAY > *last, "{one} answers until {last}, {other} from {first} on");
        }
        spans.into_iter().map(|(mac, _)| mac.to_owned()).collect()
    }

    /// Stations that said unasked that they have the address.
    pub(super) fn announced_by(&self, mac: &str) -> bool {
        self.announcements.iter().any(|announced| announced == mac)
    }

    /// Tries that failed.
    pub(super) fn failed(&self) -> usize {
        self.connects.iter().filter(|(_, _, name)| name.is_none()).count()
    }

    /// Who answered.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.connects.iter().filter_map(|(_, _, name)| name.as_deref()).collect()
    }

    /// All tries.
    pub(super) fn connects(&self) -> usize {
        self.connects.len()
    }

    /// The longest time from one success to the next, in seconds.
    pub(super) fn longest_gap(&self) -> f64 {
        let good: Vec<_> = self.connects.iter().filter(|(_, _, name)| name.is_some()).collect();
        good.windows(2).map(|pair| pair[1].1 - pair[0].0).fold(0.0, f64::max)
    }

    /// The last tries succeeded.
    pub(super) fn ends_well(&self) -> bool {
        let last = self.connects.iter().rev().take(10);
        self.connects.len() > 10 && last.into_iter().all(|(_, _, name)| name.is_some())
    }
}

/// The MAC of a node's interface.
#[track_caller]
pub(super) fn mac(node: &TestNode) -> String {
    let said = node.sh("ip -o link show nic0").ok();
    let mut words = said.split_whitespace().skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap_or_else(|| panic!("no MAC: {said}")).to_owned()
}

/// The condition that says who has the address of service `web`: its status and message.
#[track_caller]
pub(super) fn announced(node: &TestNode) -> Option<(bool, String)> {
    let service = document(node, Kind::Services, "web")?;
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == "vpod.io/Announced")?;
    Some((condition["status"] == "True", condition["message"].as_str()?.to_owned()))
}

/// The number of the node that `node` says has the address.
#[track_caller]
pub(super) fn owner(cluster: &Cluster, node: usize) -> Option<usize> {
    let (true, message) = announced(cluster.node(node))? else { return None };
    let name = message.rsplit(' ').next()?;
    cluster.nodes().iter().position(|node| node.name() == name)
}

/// Whether anybody on the network answers for it.
#[track_caller]
pub(super) fn is_answered(cluster: &Cluster, address: &str) -> bool {
    cluster.underlay().sh(&format!("arping -q -c 1 -w 1 -I br0 {address}")).succeeded()
}
