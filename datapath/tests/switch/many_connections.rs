//! More connections than caches and flow tables hold.

use datapath::Limits;
use protocol::PortId;

use crate::common::*;
use crate::services::{VIP, at, ends, with_services};

const BATCH: usize = 48;
/// Of each of two pods; all together more than there are flows of a port.
const EACH: u16 = 6000;

/// Frames in batches; what became of each, in order.
fn pass(h: &mut Harness, frames: &[(PortId, Vec<u8>)]) -> Vec<(PortId, Vec<u8>)> {
    frames.chunks(BATCH).flat_map(|batch| h.send_batch(batch)).collect()
}

#[test]
fn every_packet_of_a_batch_finds_its_own_connection() {
    let mut h = with_services(Harness::with(ports_without_segmentation(), Limits::default()), &[B_IP]);
    let ends_of: Vec<_> = (0..EACH).flat_map(|n| [(A, A_IP, 10_000 + n), (VM, VM_IP, 20_000 + n)]).collect();
    // Twice: the second finds some by a flow and others by themselves.
    for _ in 0..2 {
        let asks: Vec<_> = ends_of
            .iter()
            .map(|(pod, address, port)| (*pod, udp(routed(*address, VIP), *port, 53, b"?")))
            .collect();
        let sent = pass(&mut h, &asks);
        assert_eq!(sent.len(), asks.len());
        for ((to, frame), (_, address, port)) in sent.iter().zip(&ends_of) {
            assert_eq!((*to, ends(ethernet(frame))), (B, (at(*address, *port), at(B_IP, 5353))));
        }
    }
    let answers: Vec<_> = ends_of
        .iter()
        .map(|(_, address, port)| (B, udp(direct(B_IP, *address), 5353, *port, b"!")))
        .collect();
    let sent = pass(&mut h, &answers);
    assert_eq!(sent.len(), answers.len());
    for ((to, frame), (pod, address, port)) in sent.iter().zip(&ends_of) {
        assert_eq!((*to, ends(ethernet(frame))), (*pod, (at(VIP, 53), at(*address, *port))));
    }
}
