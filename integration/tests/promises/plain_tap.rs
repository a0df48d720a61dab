//! The plain TAP back-end, without offloads: the fallback where a kernel refuses the virtio header.

use integration::NodeOptions;
use protocol::Offloads;

use crate::stream::{Place, Stream, datagrams};

#[test]
fn everything_passes_plain_taps() {
    let node = NodeOptions::default().config("tap = \"plain\"").start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    assert!(node.ports().iter().all(|port| port.offloads == Offloads::NONE), "{:#?}", node.ports());
    a.sh(&format!("ping -n -c 2 -i 0.2 -W 1 {}", b.ip)).ok();
    Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 8 << 20, None).complete();
    Stream::start(Place::Node(&node), Place::Pod(&b), b.ip, 8 << 20, None).complete();
    datagrams(Place::Pod(&a), Place::Pod(&b), b.ip, 60_000, 5);
    datagrams(Place::Pod(&b), Place::Node(&node), node.address().parse().expect("an address"), 1200, 50);
}
