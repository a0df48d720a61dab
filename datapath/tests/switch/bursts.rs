//! Frames of one flow that are read together are written together, and nobody can tell.

use crate::common::*;
use datapath::VNET_HDR_LEN;
use protocol::PortId;

fn datagrams(path: Path, ports: [u16; 2], count: u8) -> Vec<(PortId, Vec<u8>)> {
    (0..count).map(|n| (A, udp(path, ports[0], ports[1], &[n; 64]))).collect()
}

/// The flow is known from here on: the frame that makes it known is written by itself.
fn introduce(h: &mut Harness, path: Path, ports: [u16; 2]) {
    h.send_batch(&datagrams(path, ports, 1));
    h.deltas();
}

#[test]
fn burst_of_datagrams_is_one_write() {
    let mut h = Harness::new();
    introduce(&mut h, routed(A_IP, B_IP), [1, 2]);
    let sent = h.send_batch(&datagrams(routed(A_IP, B_IP), [1, 2], 20));
    let [(to, written)] = &sent[..] else { panic!("{} writes", sent.len()) };
    assert_eq!(*to, B);
    let vnet = Vnet::of(written);
    assert_eq!((vnet.gso_type, vnet.gso_size, vnet.flags), (GSO_UDP_L4, 64, NEEDS_CSUM));
    let packet = decode_headers(written);
    assert_eq!(ipv4_of(&packet).time_to_live, 63, "routed, as one");
    let payload: Vec<u8> = (0..20).flat_map(|n| [n; 64]).collect();
    assert_eq!(packet.payload.slice(), payload);

    let deltas = h.deltas();
    assert_eq!((deltas[&A].rx, deltas[&A].forwarded, deltas[&B].tx), (20, 20, 1));
    let row = &h.switch.flows_page(0, 10, h.now).0[0];
    assert_eq!((row.frames, row.bytes), (21, 21 * (14 + 20 + 8 + 64)));
    assert_eq!(h.switch.summary().merged, 19);
}

#[test]
fn frame_that_makes_a_flow_known_is_written_by_itself() {
    let mut h = Harness::new();
    let sent = h.send_batch(&datagrams(direct(A_IP, B_IP), [1, 2], 10));
    let lengths: Vec<_> = sent.iter().map(|(_, frame)| frame.len() - VNET_HDR_LEN - 42).collect();
    assert_eq!(lengths, [64, 9 * 64]);
}

#[test]
fn flows_are_not_mixed_and_keep_their_order() {
    let mut h = Harness::new();
    let ports = [[1, 2], [3, 2]];
    ports.iter().for_each(|ports| introduce(&mut h, direct(A_IP, B_IP), *ports));
    let [one, other] = ports.map(|ports| datagrams(direct(A_IP, B_IP), ports, 3));
    let mixed: Vec<_> =
        one[..2].iter().chain(&other[..1]).chain(&one[2..]).chain(&other[1..]).cloned().collect();
    let sent = h.send_batch(&mixed);
    let payloads: Vec<_> =
        sent.iter().map(|(_, frame)| decode_headers(frame).payload.slice().to_vec()).collect();
    let bytes = |numbers: &[u8]| numbers.iter().flat_map(|n| [*n; 64]).collect::<Vec<_>>();
    assert_eq!(payloads, [bytes(&[0, 1]), bytes(&[0]), bytes(&[2]), bytes(&[1, 2])]);
}

#[test]
fn port_without_segmentation_gets_frame_by_frame() {
    let mut h = Harness::with(ports_without_segmentation(), datapath::Limits::default());
    introduce(&mut h, direct(A_IP, B_IP), [1, 2]);
    assert_eq!(h.send_batch(&datagrams(direct(A_IP, B_IP), [1, 2], 5)).len(), 5);
}

#[test]
fn burst_that_is_refused_is_dropped_frame_by_frame() {
    let mut h = Harness::new();
    introduce(&mut h, direct(A_IP, B_IP), [1, 2]);
    h.wire.full = vec![B];
    h.send_batch(&datagrams(direct(A_IP, B_IP), [1, 2], 6));
    let deltas = h.deltas();
    assert_eq!(deltas[&A].drops["port_queue_full"], 6);
    assert_eq!(deltas[&B].refused, 1);
}

#[test]
fn expired_burst_is_reported_one_packet_at_a_time() {
    let mut h = Harness::new();
    let path = Path { ttl: 1, ..routed(A_IP, B_IP) };
    introduce(&mut h, routed(A_IP, B_IP), [1, 2]);
    let sent = h.send_batch(&datagrams(path, [1, 2], 3));
    assert_eq!(h.deltas()[&A].drops["ttl_expired"], 3);
    assert_eq!(sent.len(), 3, "an error for each");
    for (to, error) in &sent {
        assert_eq!(*to, A);
        let quoted = &ethernet(error)[14 + 20 + 8..];
        assert_eq!(
            u16::from_be_bytes([quoted[2], quoted[3]]),
            20 + 8 + 64,
            "quotes the packet that was sent"
        );
    }
}

#[test]
fn acknowledgments_and_pushed_segments_pass_one_by_one() {
    let mut h = Harness::new();
    let segment = |payload: &[u8]| (A, tcp(direct(A_IP, B_IP), 1, 2, payload));
    h.send_batch(&[segment(b"")]);
    // The same sequence number again and again: a retransmission, never a continuation.
    assert_eq!(h.send_batch(&vec![segment(b"12345678"); 4]).len(), 4);
    assert_eq!(h.send_batch(&vec![segment(b""); 4]).len(), 4);
}

/// Headers of what was written; its checksum is the device's to complete.
fn decode_headers(written: &[u8]) -> etherparse::PacketHeaders<'_> {
    etherparse::PacketHeaders::from_ethernet_slice(ethernet(written)).unwrap()
}
