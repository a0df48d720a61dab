//! Nobody gets a packet into a pod through the tunnel who is not a known peer and says who it is; and each
//! attempt is counted under its name.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use integration::frames::{Between, CANARY, EVIL, v4};
use integration::raw::{Sniffer, contains};
use integration::{Cluster, TestNode, TestPod, frames, wait};
use protocol::Mac;

use super::{TUNNEL_PORT, address, tunnel_drops};

/// The I flag (RFC 7348 §5).
const VNI_IS_VALID: u8 = 0x08;
/// What we use everywhere.
const VNI: u32 = 1;
/// Sent of each sort, so that a count of something else is noticed.
const COPIES: u64 = 5;

/// Frames of the payload, each an outer UDP payload.
const SEND: &str = r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for payload in sys.argv[2:]:
    s.sendto(bytes.fromhex(payload), (sys.argv[1], 4789))
"#;

fn vxlan(flags: u8, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    [&[flags, 0, 0, 0, a, b, c, 0][..], inner].concat()
}

fn send_command(target: &TestNode, packet: &[u8], copies: u64) -> String {
    let mut hex = String::new();
    for byte in packet {
        write!(hex, "{byte:02x}").expect("a string takes everything");
    }
    let payloads = vec![hex; usize::try_from(copies).expect("a few")].join(" ");
    format!("/usr/bin/python3 -c '{SEND}' {} {payloads}", target.address())
}

/// Three nodes, of which number 1 is the liar (what runs on it may send what it likes from its address).
struct Scene {
    cluster: Cluster,
    victim: TestPod,
    others: Vec<TestPod>,
}

impl Scene {
    fn set() -> Self {
        let cluster = Cluster::start(3);
        let mut others = cluster.create_pods("a");
        let victim = others.remove(0);
        Self { cluster, victim, others }
    }

    /// An honest packet of node 1 to the victim.
    fn honest(&self) -> Between {
        let gateway: IpAddr = "10.244.0.1".parse().expect("an address");
        Between {
            from_mac: Mac::for_router("10.244.1.1".parse().expect("an address")),
            from_ip: Ipv4Addr::new(10, 244, 1, 77),
            to_mac: Mac::for_router(gateway),
            to_ip: v4(self.victim.ip),
        }
    }

    /// Sent from node 1's own address, `packet` is dropped for `reason`, every time, and nothing else is.
    #[track_caller]
    fn is_dropped(&self, what: &str, packet: &[u8], reason: &str) {
        self.is_dropped_from(what, packet, reason, |script| self.cluster.node(1).sh(script).ok());
    }

    #[track_caller]
    fn is_dropped_from(&self, what: &str, packet: &[u8], reason: &str, send: impl Fn(&str) -> String) {
        let target = self.cluster.node(0);
        let sniffer = Sniffer::start(&self.victim);
        let before = tunnel_drops(target, reason);
        send(&send_command(target, packet, COPIES));
        let canary = frames::udp(self.honest(), (1000, 1001), CANARY);
        let last = send_command(target, &vxlan(VNI_IS_VALID, VNI, &canary), 1);
        self.cluster.node(1).sh(&last).ok();
        let seen = sniffer.frames();
        assert!(!seen.iter().any(|frame| contains(frame, EVIL)), "{what} reached the pod");
        let dropped = tunnel_drops(target, reason) - before;
        assert_eq!(dropped, COPIES, "{what} is counted as {reason}: {:?}", target.ports());
    }
}

#[test]
fn packets_of_unknown_senders_are_dropped() {
    let scene = Scene::set();
    let packet = vxlan(VNI_IS_VALID, VNI, &frames::udp(scene.honest(), (1000, 1001), EVIL));
    scene.is_dropped_from("a stranger's packet", &packet, "unknown_peer", |script| {
        scene.cluster.underlay().sh(script).ok()
    });
}

#[test]
fn packets_of_other_networks_and_broken_ones_are_dropped() {
    let scene = Scene::set();
    let inner = frames::udp(scene.honest(), (1000, 1001), EVIL);
    scene.is_dropped("a foreign VNI", &vxlan(VNI_IS_VALID, 2, &inner), "bad_vni");
    scene.is_dropped("a header without the I flag", &vxlan(0, VNI, &inner), "not_vxlan");
    scene.is_dropped("half a header", &[VNI_IS_VALID, 0, 0, 0], "not_vxlan");
    let tagged = frames::vlan_ping(scene.honest(), 7, EVIL);
    scene.is_dropped("an inner VLAN tag", &vxlan(VNI_IS_VALID, VNI, &tagged), "inner_vlan");
    let foreign = Between { to_mac: scene.victim.mac, ..scene.honest() };
    let inner = frames::udp(foreign, (1000, 1001), EVIL);
    scene.is_dropped("a frame for a pod's own MAC", &vxlan(VNI_IS_VALID, VNI, &inner), "not_for_router");
}

#[test]
fn packets_with_sources_that_the_peer_does_not_own_are_dropped() {
    let scene = Scene::set();
    let beside = scene.cluster.node(0).create_pod("beside");
    let foreign = "source_not_of_peer";
    let martian = "martian_source";
    let sources = [
        ("a pod of the receiver's own node", v4(beside.ip), foreign),
        ("a pod of a third node", v4(scene.others[1].ip), foreign),
        ("the receiver's gateway", Ipv4Addr::new(10, 244, 0, 1), foreign),
        ("the receiver itself", v4(address(scene.cluster.node(0))), foreign),
        ("somebody outside the cluster", Ipv4Addr::new(198, 51, 100, 7), foreign),
        ("nobody", Ipv4Addr::UNSPECIFIED, martian),
        ("a group", Ipv4Addr::new(239, 1, 2, 3), martian),
        ("the loopback", Ipv4Addr::LOCALHOST, martian),
    ];
    for (what, from_ip, reason) in sources {
        let lie = Between { from_ip, ..scene.honest() };
        let packet = vxlan(VNI_IS_VALID, VNI, &frames::udp(lie, (1000, 1001), EVIL));
        scene.is_dropped(&format!("a packet that claims to be of {what}"), &packet, reason);
    }
}

#[test]
fn pods_cannot_reach_any_nodes_tunnel() {
    let scene = Scene::set();
    let inner = frames::udp(scene.honest(), (1000, 1001), EVIL);
    let packet = vxlan(VNI_IS_VALID, VNI, &inner);
    for number in 0..3 {
        let node = scene.cluster.node(number);
        let before = scene.cluster.node(0).drops(&scene.victim, "tunnel_port_protected");
        scene.victim.sh(&send_command(node, &packet, COPIES)).ok();
        // They are sent when the program ends, but perhaps not read yet.
        wait::until(
            &format!("{COPIES} are dropped on their way to port {TUNNEL_PORT} of {}", node.address()),
            || {
                let dropped = scene.cluster.node(0).drops(&scene.victim, "tunnel_port_protected") - before;
                (dropped == COPIES).then_some(())
            },
        );
    }
}
