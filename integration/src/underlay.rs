//! The network between the nodes of a [`crate::Cluster`]: a namespace with a bridge, to which each node's
//! `nic0` is a veth. What can go wrong with a network is done to it here, by nftables rules at the bridge
//! (this needs no traffic control modules), by the devices' MTU, and by their offloads.
//!
//! Rules are collected in one chain and stay until [`Underlay::heal`].

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, Background, Ran};
use crate::netns::{self, NodeNetns};
use crate::options::{Place, claim_place};

/// What is on the bridge itself: etcd, and whoever injects packets.
pub const SWITCH_ADDRESS: &str = "192.0.2.254";
/// Ethernet, as it is almost everywhere.
const USUAL_MTU: u32 = 1500;

/// A bridge in a namespace of its own, deleted when dropped.
pub struct Underlay {
    netns: NodeNetns,
    dir: PathBuf,
    rules: Vec<String>,
    mtu: u32,
}

/// Address of node `number`.
#[must_use]
pub fn node_address(number: usize) -> String {
    format!("192.0.2.{}", number + 1)
}

impl Underlay {
    /// Without nodes.
    #[must_use]
    pub fn create() -> Self {
        crate::privilege::require_root();
        let Place { name, dir } = claim_place();
        let netns = NodeNetns::without_nic(&name, SWITCH_ADDRESS);
        netns.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
        netns.ip(&format!("address add {SWITCH_ADDRESS}/24 dev br0"));
        netns.ip("link set br0 up");
        Self { netns, dir, rules: Vec::new(), mtu: USUAL_MTU }
    }

    /// For whatever runs on the bridge.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn netns_name(&self) -> &str {
        self.netns.name()
    }

    /// Runs a shell script on the bridge.
    #[track_caller]
    #[must_use]
    pub fn sh(&self, script: &str) -> Ran {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        command::run(command)
    }

    /// Starts a shell script on the bridge.
    #[track_caller]
    #[must_use]
    pub fn spawn(&self, script: &str) -> Background {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        Background::start(command)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        self.netns.command(program)
    }

    /// A namespace for node `number`, with a `nic0` on the bridge.
    pub(crate) fn plug(&self, number: usize, name: &str) -> NodeNetns {
        let address = node_address(number);
        let node = NodeNetns::without_nic(name, &address);
        let mtu = self.mtu;
        self.netns.ip(&format!(
            "link add {} mtu {mtu} type veth peer name nic0 mtu {mtu} netns {}",
            port(number),
            node.name()
        ));
        self.netns.ip(&format!("link set {} master br0 up", port(number)));
        node.ip(&format!("address add {address}/24 dev nic0"));
        node.ip("link set nic0 up");
        node
    }

    /// A machine on the bridge in the place of node `number`, without anything of ours.
    #[must_use]
    pub fn plug_foreign(&self, number: usize) -> ForeignNode {
        ForeignNode(self.plug(number, &format!("{}-foreign{number}", self.netns.name())))
    }

    /// Nothing passes between two nodes any more, in either direction.
    pub fn cut(&mut self, one: usize, other: usize) {
        self.rule(format!("iifname {} oifname {} drop", port(one), port(other)));
        self.rule(format!("iifname {} oifname {} drop", port(other), port(one)));
    }

    /// Nothing passes between a node and the other nodes any more. What is on the bridge itself stays.
    pub fn isolate(&mut self, node: usize) {
        self.rule(format!("iifname {} drop", port(node)));
        self.rule(format!("oifname {} drop", port(node)));
    }

    /// Of the frames between nodes `percent` are lost, at random.
    pub fn lose(&mut self, percent: u32) {
        self.rule(format!("numgen random mod 100 < {percent} drop"));
    }

    /// ICMP of the underlay itself is dropped, as by many a firewall.
    pub fn filter_icmp(&mut self) {
        self.rule("ip protocol icmp drop".to_owned());
    }

    /// IP packets over `bytes` vanish on the way between nodes, and nobody is told.
    pub fn swallow_packets_over(&mut self, bytes: u32) {
        self.rule(format!("ip length > {bytes} drop"));
    }

    /// Frames to this UDP port alone are dropped: the tunnel is cut, everything else passes.
    pub fn drop_udp(&mut self, port: u16) {
        self.rule(format!("udp dport {port} drop"));
    }

    /// No fault any more; MTUs and offloads stay.
    pub fn heal(&mut self) {
        self.rules.clear();
        self.load_rules();
    }

    /// All devices of the underlay, those of the nodes too.
    pub fn set_mtu(&mut self, mtu: u32, nodes: &[&str]) {
        self.mtu = mtu;
        for (number, node) in nodes.iter().enumerate() {
            self.netns.ip(&format!("link set {} mtu {mtu}", port(number)));
            run(netns::enter(node, "ip"), &format!("link set nic0 mtu {mtu}"));
        }
        self.netns.ip(&format!("link set br0 mtu {mtu}"));
    }

    /// As on a NIC that cannot segment: every packet crosses the bridge as it would cross a wire.
    pub fn turn_offloads_off(&self, nodes: &[&str]) {
        for node in nodes {
            let off = "-K nic0 tx off rx off gso off tso off gro off tx-udp-segmentation off";
            run(netns::enter(node, "ethtool"), off);
        }
    }

    fn rule(&mut self, rule: String) {
        self.rules.push(rule);
        self.load_rules();
    }

    /// All of them in one transaction, so that a change of faults is never half done.
    fn load_rules(&self) {
        let mut text = "table bridge faults\ndelete table bridge faults\ntable bridge faults {\n \
                        chain forward { type filter hook forward priority 0;\n"
            .to_owned();
        for rule in &self.rules {
            writeln!(text, "  {rule}").expect("a string takes everything");
        }
        text.push_str(" }\n}\n");
        let file = self.dir.join("faults.nft");
        fs::write(&file, text).expect("our directory can be written to");
        let mut nft = self.command("nft");
        nft.arg("-f").arg(file);
        command::run(nft).ok();
    }
}

/// A machine on the underlay that knows nothing of vpod.
pub struct ForeignNode(NodeNetns);

impl ForeignNode {
    /// File name of its network namespace.
    #[must_use]
    pub fn netns(&self) -> &str {
        self.0.name()
    }

    /// Runs a shell script on it.
    #[track_caller]
    #[must_use]
    pub fn sh(&self, script: &str) -> Ran {
        let mut command = self.0.command("sh");
        command.args(["-c", script]);
        command::run(command)
    }

    /// Starts a shell script on it.
    #[track_caller]
    #[must_use]
    pub fn spawn(&self, script: &str) -> Background {
        let mut command = self.0.command("sh");
        command.args(["-c", script]);
        Background::start(command)
    }
}

impl Drop for Underlay {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The bridge's end of a node's NIC.
pub(crate) fn port(number: usize) -> String {
    format!("node{number}")
}

fn run(mut command: Command, words: &str) {
    command.args(words.split_whitespace());
    command::run(command).ok();
}
