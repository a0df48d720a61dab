//! Services go on while the daemon's processes die and come again.

use std::net::IpAddr;

use integration::{Background, TestNode, TestPod, binary, wait};
use nix::sys::signal::{Signal, kill};

use super::{Backend, Talk, create_service, tcp, udp, until_answered_by};
use crate::stream::Place;

/// Paced, so that it lasts longer than what is done to the daemon meanwhile.
const BYTES: u64 = 24 << 20;
const BYTES_PER_SECOND: u64 = 8 << 20;
/// The first so many of [`Traffic::talks`].
const TCP_TALKS: usize = 2;

/// Everything that is under way through services of one node when a process dies.
struct Traffic {
    client: TestPod,
    address: IpAddr,
    receiver: Background,
    sender: Background,
    talks: Vec<(String, Talk)>,
    _backends: [Backend; 3],
}

impl Traffic {
    #[track_caller]
    fn start(node: &TestNode) -> Self {
        let client = node.create_pod("client");
        let backends = ["a", "b", "c"].map(|name| Backend::start(node, name, "web", "tcp:80 udp:80"));
        let address = create_service(node, "web", "--tcp 80 --udp 80");
        for at in [tcp(address, 80), udp(address, 80)] {
            until_answered_by(Place::Pod(&client), at, &["a", "b", "c"]);
        }
        let sink = node.create(&super::labelled("sink", "sink"));
        let sink_address = create_service(node, "sink", "--tcp 7000");
        let program = binary("stream");
        let program = program.display();
        let mut receiver = sink.spawn(&format!("exec {program} serve {}:7000", sink.ip));
        receiver.wait_for_output("ready\n");
        super::until_led_to_a_backend(node, "client", "sink");
        let script = format!("exec {program} send {sink_address}:7000 {BYTES} {BYTES_PER_SECOND}");
        let sender = client.spawn(&script);
        let talks = [tcp(address, 80), tcp(address, 80), udp(address, 80), udp(address, 80)].map(|at| {
            let mut talk = Talk::start(Place::Pod(&client), at, 0);
            (talk.name(), talk)
        });
        Self { client, address, receiver, sender, talks: talks.into(), _backends: backends }
    }

    #[track_caller]
    fn new_connections_work(&self) {
        for at in [tcp(self.address, 80), udp(self.address, 80)] {
            until_answered_by(Place::Pod(&self.client), at, &["a", "b", "c"]);
        }
    }

    #[track_caller]
    fn went_on(mut self) {
        for (name, talk) in &mut self.talks {
            assert_eq!(&talk.name(), name, "the connection stays with its backend");
        }
        self.new_connections_work();
        let sent = self.sender.wait().ok();
        assert_eq!(sent, self.receiver.wait().ok(), "the stream arrived intact");
    }

    #[track_caller]
    fn began_anew(mut self, node: &TestNode) {
        assert_eq!(super::cluster_ip(node, "web"), self.address, "the service is the same");
        self.new_connections_work();
        for (_, talk) in self.talks.iter_mut().skip(TCP_TALKS) {
            let name = talk.name();
            assert!(["a", "b", "c"].contains(&name.as_str()), "the source port is served again: {name}");
        }
    }
}

#[track_caller]
fn kill_datapath(node: &TestNode) {
    let before = node.datapath_pid();
    kill(before, Signal::SIGKILL).expect("the datapath can be killed");
    wait::until("another datapath runs", || {
        let now = node.status().datapath?;
        (i64::from(now.pid) != i64::from(before.as_raw())).then_some(())
    });
}

#[test]
fn connections_through_services_survive_a_killed_datapath() {
    let mut node = TestNode::start();
    node.allow_log("datapath");
    let mut traffic = Traffic::start(&node);
    for _ in 0..2 {
        kill_datapath(&node);
    }
    assert!(traffic.sender.is_running(), "the stream must outlast the kills");
    traffic.went_on();
}

#[test]
fn connections_through_services_survive_a_killed_control_process() {
    let mut node = TestNode::start();
    let traffic = Traffic::start(&node);
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
    traffic.new_connections_work();
    node.start_daemon();
    assert_eq!(node.datapath_pid(), datapath, "the running datapath is taken over");
    // What is changed after the takeover works with what was there before.
    let d = Backend::start(&node, "d", "web", "tcp:80 udp:80");
    until_answered_by(Place::Pod(&traffic.client), tcp(traffic.address, 80), &["a", "b", "c", "d"]);
    node.delete_pod(&d.pod);
    traffic.went_on();
}

/// The table of connections lives as long as one of the two processes does: TCP begins anew, UDP does so by itself.
#[test]
fn services_work_again_after_both_processes_were_killed() {
    let mut node = TestNode::start();
    node.allow_log("datapath");
    let traffic = Traffic::start(&node);
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    kill(datapath, Signal::SIGKILL).expect("the datapath can be killed");
    let _ = node.wait_for_end();
    node.start_daemon();
    traffic.began_anew(&node);
}

#[test]
fn connections_through_services_survive_an_orderly_restart() {
    let mut node = TestNode::start();
    let mut traffic = Traffic::start(&node);
    for _ in 0..2 {
        node.stop_daemon();
        node.start_daemon();
    }
    assert!(traffic.sender.is_running(), "the stream must outlast the restarts");
    traffic.went_on();
}
