//! Several nodes on one underlay, each with a daemon, directories, a prefix and a Pod CIDR of its own,
//! as they would be on machines of their own. Dropping a [`Cluster`] drops its nodes, with all the checks
//! of [`TestNode`], and then what connected them.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::TestNode;
use crate::etcd::Etcd;
use crate::options::NodeOptions;
use crate::pod::TestPod;
use crate::underlay::{Underlay, node_address};

/// How the nodes know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// Each has a `[[peer]]` for each other.
    Static,
    /// They register in etcd, which gives them their Pod CIDRs.
    Etcd,
}

/// What a cluster is started with.
pub struct ClusterOptions {
    nodes: usize,
    membership: Membership,
    extra: Vec<String>,
    sections: String,
    tunnel: String,
    peer: String,
    etcd: String,
    allowed_log: Vec<&'static str>,
}

impl ClusterOptions {
    /// Nodes with static peers.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            nodes,
            membership: Membership::Static,
            extra: Vec::new(),
            sections: String::new(),
            tunnel: String::new(),
            peer: String::new(),
            etcd: String::new(),
            allowed_log: Vec::new(),
        }
    }

    /// They register in an etcd server instead.
    #[must_use]
    pub fn on_etcd(mut self) -> Self {
        self.membership = Membership::Etcd;
        self
    }

    /// One more line of every node's configuration.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }

    /// One more line of every node's `[tunnel]`.
    #[must_use]
    pub fn tunnel(mut self, line: &str) -> Self {
        self.tunnel.push_str(line);
        self.tunnel.push('\n');
        self
    }

    /// One more line of every `[[peer]]`.
    #[must_use]
    pub fn peer_line(mut self, line: &str) -> Self {
        self.peer.push_str(line);
        self.peer.push('\n');
        self
    }

    /// One more line of every node's `[etcd]`.
    #[must_use]
    pub fn etcd_line(mut self, line: &str) -> Self {
        self.etcd.push_str(line);
        self.etcd.push('\n');
        self
    }

    /// One more table of every node's configuration.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// A warning or error that contains `part` is what the test is about.
    #[must_use]
    pub fn allow_log(mut self, part: &'static str) -> Self {
        self.allowed_log.push(part);
        self
    }

    /// Starts everything and waits until the daemons serve.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        for node in &mut cluster.nodes {
            node.start_daemon();
        }
        cluster
    }

    /// A cluster whose daemons do not run yet.
    #[track_caller]
    #[must_use]
    pub fn prepare(self) -> Cluster {
        crate::privilege::require_root();
        let underlay = Underlay::create();
        let etcd = (self.membership == Membership::Etcd).then(|| Etcd::start(&underlay));
        let nodes = (0..self.nodes).map(|number| self.node(number, &underlay)).collect();
        Cluster { nodes, etcd, underlay }
    }

    fn node(&self, number: usize, underlay: &Underlay) -> TestNode {
        let mut options = NodeOptions::default();
        for line in &self.extra {
            options = options.config(line);
        }
        for part in &self.allowed_log {
            options = options.allow_log(part);
        }
        options = match self.membership {
            Membership::Static => options.pod_cidr(&pod_cidr(number)),
            Membership::Etcd => options.without_pod_cidr(),
        };
        options.sections(&self.tables(number)).prepare_on(number, underlay)
    }

    /// What comes after the keys at the top of the file.
    fn tables(&self, number: usize) -> String {
        let mut text = format!("[tunnel]\ndevice = \"nic0\"\n{}", self.tunnel);
        match self.membership {
            Membership::Static => {
                for other in (0..self.nodes).filter(|&other| other != number) {
                    text.push_str(&peer(other));
                    text.push_str(&self.peer);
                }
            }
            Membership::Etcd => {
                writeln!(text, "[etcd]\nendpoints = [{:?}]\n{}", Etcd::endpoint(), self.etcd)
                    .expect("a string takes it");
            }
        }
        text + &self.sections
    }
}

/// Pod CIDR of node `number` where peers are static.
#[must_use]
pub fn pod_cidr(number: usize) -> String {
    format!("10.244.{number}.0/24")
}

/// The entry that makes node `number` a peer.
#[must_use]
pub fn peer(number: usize) -> String {
    let (address, cidr) = (node_address(number), pod_cidr(number));
    format!(
        "[[peer]]\nname = \"node{number}\"\naddress = {address:?}\npod_cidrs = [{cidr:?}]\n\
         node_addresses = [{address:?}]\n"
    )
}

/// Nodes on an underlay.
pub struct Cluster {
    // Dropped in this order: daemons first, then what they talk to.
    nodes: Vec<TestNode>,
    etcd: Option<Etcd>,
    underlay: Underlay,
}

impl Cluster {
    /// Nodes with static peers.
    #[track_caller]
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        ClusterOptions::new(nodes).start()
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[TestNode] {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn node(&self, number: usize) -> &TestNode {
        &self.nodes[number]
    }

    /// One node, to start and stop its daemon.
    pub fn node_mut(&mut self, number: usize) -> &mut TestNode {
        &mut self.nodes[number]
    }

    /// The network between them.
    #[must_use]
    pub fn underlay(&self) -> &Underlay {
        &self.underlay
    }

    /// The network between them, to break it.
    pub fn underlay_mut(&mut self) -> &mut Underlay {
        &mut self.underlay
    }

    /// The etcd server.
    ///
    /// # Panics
    /// When they have static peers.
    pub fn etcd(&mut self) -> &mut Etcd {
        self.etcd.as_mut().expect("the cluster was started on etcd")
    }

    /// The same pods on every node: one each, called `name`.
    #[track_caller]
    #[must_use]
    pub fn create_pods(&self, name: &str) -> Vec<TestPod> {
        self.nodes.iter().map(|node| node.create_pod(name)).collect()
    }

    /// Changes the MTU of all NICs.
    pub fn set_underlay_mtu(&mut self, mtu: u32) {
        let names: Vec<&str> = self.nodes.iter().map(TestNode::name).collect();
        self.underlay.set_mtu(mtu, &names);
    }

    /// From now on every packet crosses the underlay as it would cross a wire.
    pub fn turn_offloads_off(&self) {
        let names: Vec<&str> = self.nodes.iter().map(TestNode::name).collect();
        self.underlay.turn_offloads_off(&names);
    }

    /// Takes the power from a node: all its processes are killed, its namespaces and devices are gone. Its
    /// files stay.
    #[track_caller]
    pub fn crash(&mut self, number: usize) {
        self.nodes[number].lose_power();
        // The kernel takes its time with a namespace's devices.
        let gone = format!("! ip link show {}", crate::underlay::port(number));
        crate::wait::until("its NIC is gone", || self.underlay.sh(&gone).succeeded().then_some(()));
    }

    /// Gives the power back: a new namespace with the NIC it had, and a daemon on the files it had.
    #[track_caller]
    pub fn boot(&mut self, number: usize) {
        let netns = self.underlay.plug(number, self.nodes[number].name());
        self.nodes[number].regain_power(netns);
    }

    /// Whether a pod reaches an address, asked again until it does; returns how long that took.
    #[track_caller]
    pub fn until_reached(
        &self,
        pod: &TestPod,
        target: IpAddr,
        patience: std::time::Duration,
    ) -> std::time::Duration {
        let since = std::time::Instant::now();
        let what = format!("{} reaches {target}", pod.key());
        crate::wait::until_within(patience, &what, || {
            pod.sh(&format!("ping -n -c 1 -W 0.2 {target}")).succeeded().then_some(())
        });
        since.elapsed()
    }
}
