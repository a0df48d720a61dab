//! What tests of all runtimes have in common: the plugin's configuration, pods of runtimes as the node sees them, streams.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use integration::node::pod_request;
use integration::underlay::SWITCH_ADDRESS;
use integration::{
    Background, Cluster, ClusterOptions, NodeOptions, TestNode, TestPod, binary, programs, wait,
};
use protocol::message::CreatePod;
use protocol::object::Pod;
use serde_json::{Value, json};

/// The name of the network in every runtime.
pub(crate) const NETWORK: &str = "vpod";

/// What `make install` installs.
const INSTALLED: &str = include_str!("../../../scripts/10-vpod.conflist");

/// Writes the one configuration of directory `dir`, which is what `make install` installs, but that the plugin asks this node. `extra`
/// are further keys of its object.
pub(crate) fn configure_plugin(node: &TestNode, dir: &Path, extra: &Value) {
    static FRESH: Once = Once::new();
    FRESH.call_once(|| programs::assert_fresh("vpod-cni"));
    let mut list: Value = serde_json::from_str(INSTALLED).expect("what is installed is JSON");
    list["name"] = NETWORK.into();
    let keys = list["plugins"][0].as_object_mut().expect("an object");
    keys.insert("socket".to_owned(), json!(node.socket()));
    keys.extend(extra.as_object().expect("an object").clone());
    fs::create_dir_all(dir).expect("the node's directory can be written to");
    fs::write(dir.join("10-vpod.conflist"), list.to_string()).expect("a new file");
}

/// Where the plugins under test are.
pub(crate) fn plugin_dir() -> PathBuf {
    binary("vpod-cni").parent().expect("programs are in a directory").to_owned()
}

/// The pod that a runtime's container became, which is ready when its runtime has come back from starting it.
#[track_caller]
pub(crate) fn pod_of(node: &TestNode, name: &str) -> TestPod {
    TestPod::of(
        &find(node, name).unwrap_or_else(|| panic!("no pod {name}: {:?}\n{}", node.pods(), node.log())),
    )
}

fn find(node: &TestNode, name: &str) -> Option<Pod> {
    node.pods().into_iter().find(|pod| pod.metadata.name.as_str() == name)
}

/// One node on a network that is its way out, so that it is reached from there.
#[track_caller]
pub(crate) fn node_with_outside() -> Cluster {
    let cluster = ClusterOptions::new(1).start();
    let node = cluster.node(0);
    node.sh(&format!("ip route replace default via {SWITCH_ADDRESS}")).ok();
    // It was started before there was a way out.
    wait::until("the uplink is open", || node.sh("nft list table netdev vpod").succeeded().then_some(()));
    cluster
}

/// Pod `name` with label `app=web`.
pub(crate) fn labelled(name: &str) -> CreatePod {
    let mut request = pod_request(name, &[]);
    request.labels.insert("app".to_owned(), "web".to_owned());
    request
}

/// A node that answers for names, in its system pod.
#[track_caller]
pub(crate) fn node_with_dns() -> TestNode {
    programs::assert_fresh("vpod-dns");
    let dns =
        format!("[dns]\nenabled = true\nprogram = {:?}\nupstreams = [\"192.0.2.53\"]\n", binary("vpod-dns"));
    let node = NodeOptions::default().sections(&dns).start();
    let name = format!("vpod-dns-{}", node.name());
    wait::until("names are answered", || {
        node.pods().into_iter().find(|pod| pod.metadata.name.as_str() == name && pod.status.ready)
    });
    node
}

/// Waits until the node has no pod `name`: what runtimes do after a container's end, they do in the background.
#[track_caller]
pub(crate) fn until_gone(node: &TestNode, name: &str) {
    wait::until(&format!("pod {name} is gone"), || find(node, name).is_none().then_some(()));
}

/// A stream between two network namespaces, which has to arrive whole.
pub(crate) struct Stream {
    receiver: Background,
    sender: Background,
}

impl Stream {
    /// At 2 MiB a second for so many seconds; begun when this returns.
    #[track_caller]
    pub(crate) fn start(from: &TestPod, to: &TestPod, seconds: u64) -> Self {
        Self::into(from, &format!("/run/netns/{}", to.netns), to.ip, seconds)
    }

    /// The same, to the network namespace at a path.
    #[track_caller]
    pub(crate) fn into(from: &TestPod, netns: &str, address: IpAddr, seconds: u64) -> Self {
        let program = binary("stream");
        let rate: u64 = 2 << 20;
        let mut serve = Command::new("nsenter");
        serve.arg(format!("--net={netns}")).arg(&program).args(["serve", &format!("{address}:7000")]);
        let mut receiver = Background::start(serve);
        let program = program.display();
        receiver.wait_for_output("ready\n");
        let sender = from.spawn(&format!("exec {program} send {address}:7000 {} {rate}", seconds * rate));
        Self { receiver, sender }
    }

    /// It has outlasted what was done meanwhile.
    #[track_caller]
    pub(crate) fn complete(mut self) {
        assert!(self.sender.is_running(), "the stream must outlast what is done to the node");
        let (sent, received) = (self.sender.wait().ok(), self.receiver.wait().ok());
        assert_eq!(sent, received, "the receiver's length and hash differ from the sender's");
    }
}
