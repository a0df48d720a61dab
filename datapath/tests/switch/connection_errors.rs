//! ICMP errors about translated packets: each end sees what it sent itself (RFC 5508).

use std::time::Duration;

use protocol::PortId;
use protocol::link::PortConfig;

use crate::common::*;
use crate::services::*;

/// An ICMP error; one that the packet is too big says for which MTU.
pub(crate) fn error(path: Path, (kind, code): (u8, u8), quote: &[u8]) -> Vec<u8> {
    let mtu: [u8; 2] = if (kind, code) == (3, 4) { [5, 0x14] } else { [0; 2] };
    let mut message = [&[kind, code, 0, 0, 0, 0][..], &mtu, quote].concat();
    let sum =
        message.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    ipv4(path, 1, &message)
}

/// What the router makes of it on the way to a pod.
fn delivered(from: [u8; 4], to: [u8; 4]) -> Path {
    Path { from_mac: router_mac(), ttl: 63, ..direct(from, to) }
}

/// The IP packet in a frame that was written.
pub(crate) fn packet(frame: &[u8]) -> &[u8] {
    &ethernet(frame)[14..]
}

fn hop_later(path: Path) -> Path {
    Path { ttl: path.ttl - 1, ..path }
}

#[track_caller]
fn assert_delivered(sent: Vec<(PortId, Vec<u8>)>, to: PortId, wanted: &[u8]) {
    let (port, frame) = only(sent);
    decode(ethernet(&frame));
    assert_eq!((port, ethernet(&frame)), (to, wanted));
}

const ALL_ERRORS: [(u8, u8); 7] = [(3, 0), (3, 1), (3, 3), (3, 4), (4, 0), (11, 0), (12, 0)];

#[test]
fn client_is_told_about_the_packet_it_sent_by_whom_it_sent_it_to() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let question = udp(routed(A_IP, VIP), 4000, 53, b"question");
    let (_, seen) = only(h.send(A, &question));
    h.deltas();
    for kind in ALL_ERRORS {
        let sent = h.send(B, &error(direct(B_IP, A_IP), kind, packet(&seen)));
        let quoted = udp(hop_later(routed(A_IP, VIP)), 4000, 53, b"question");
        assert_delivered(sent, A, &error(delivered(VIP, A_IP), kind, &quoted[14..]));
        h.assert_deltas([(B, Delta::forwarded()), (A, Delta::sent())]);
    }
}

#[test]
fn backend_is_told_about_its_answer() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?"));
    let (_, seen) = only(h.send(B, &udp(direct(B_IP, A_IP), 5353, 4000, b"answer")));
    for kind in ALL_ERRORS {
        let sent = h.send(A, &error(routed(A_IP, VIP), kind, packet(&seen)));
        let quoted = udp(hop_later(direct(B_IP, A_IP)), 5353, 4000, b"answer");
        assert_delivered(sent, B, &error(delivered(A_IP, B_IP), kind, &quoted[14..]));
    }
}

#[test]
fn quotes_of_tcp_are_translated_with_and_without_their_checksum() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let (_, seen) = only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b"")));
    let wanted = segment(hop_later(routed(A_IP, VIP)), (4000, 80), SYN, b"");
    for quoted in [28, 36, 38, 40] {
        let sent = h.send(B, &error(direct(B_IP, A_IP), (3, 4), &packet(&seen)[..quoted]));
        assert_delivered(sent, A, &error(delivered(VIP, A_IP), (3, 4), &wanted[14..14 + quoted]));
    }
}

#[test]
fn pod_that_is_its_own_backend_is_told_as_client_and_as_server() {
    let mut h = with_services(Harness::new(), &[A_IP]);
    let (_, seen) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")));
    let sent = h.send(A, &error(routed(A_IP, GATEWAY_IP), (3, 3), packet(&seen)));
    let quoted = udp(hop_later(routed(A_IP, VIP)), 4000, 53, b"?");
    assert_delivered(sent, A, &error(delivered(VIP, A_IP), (3, 3), &quoted[14..]));

    let (_, seen) = only(h.send(A, &udp(routed(A_IP, GATEWAY_IP), 5353, 4000, b"!")));
    let sent = h.send(A, &error(routed(A_IP, VIP), (3, 3), packet(&seen)));
    let quoted = udp(hop_later(routed(A_IP, GATEWAY_IP)), 5353, 4000, b"!");
    assert_delivered(sent, A, &error(delivered(GATEWAY_IP, A_IP), (3, 3), &quoted[14..]));
}

#[test]
fn routers_of_other_nodes_and_the_node_are_understood() {
    let mut h = with_services(harness_a(), &[C_IP]);
    h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?"));
    let train = h.wire.trains.remove(0);
    let seen = inner(&train.datagrams[0])[14..].to_vec();
    let quoted = udp(hop_later(routed(A_IP, VIP)), 4000, 53, b"?");
    // Who says it means nothing to the client, who knows the service only.
    for from in [C_IP, GATEWAY_B_IP, NODE_B_IP] {
        let told = vxlan(VNI, &error(from_peer(from, A_IP), (3, 4), &seen));
        let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[told]);
        let path = Path { ttl: 62, ..delivered(VIP, A_IP) };
        assert_delivered(sent, A, &error(path, (3, 4), &quoted[14..]));
    }
    let path = Path { from_mac: gateway_mac(), to_mac: router_mac(), from: NODE_IP, to: A_IP, ttl: 64 };
    let sent = h.send(GATEWAY, &error(path, (11, 0), &seen));
    assert_delivered(sent, A, &error(delivered(VIP, A_IP), (11, 0), &quoted[14..]));
}

#[test]
fn the_switch_itself_quotes_what_the_sender_sent() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.update(PortConfig { ip_mtu: 1000, ..port(B, "default/b", B_IP) });
    for _ in ["decided", "by the flow table"] {
        h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"small"));
        let big = udp(routed(A_IP, VIP), 4000, 53, &[7; 1200]);
        let (port, told) = only(h.send(A, &big));
        assert_eq!(port, A);
        let told = decode(ethernet(&told)).payload.slice().to_vec();
        assert_eq!(told, &big[14..14 + told.len()]);
    }
}

#[test]
fn errors_about_no_connection_are_dropped_at_a_service_and_pass_elsewhere() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let unknown = udp(direct(VIP, A_IP), 53, 4001, b"?");
    h.assert_dropped(A, &error(routed(A_IP, VIP), (3, 3), &unknown[14..]), "icmp_error_unrelated");
    h.assert_dropped(A, &error(routed(A_IP, VIP), (3, 3), &[0x45; 10]), "icmp_error_unrelated");
    let direct_one = udp(direct(B_IP, A_IP), 1, 2, b"of no service");
    let sent = h.send(A, &error(direct(A_IP, B_IP), (3, 3), &direct_one[14..]));
    assert_delivered(sent, B, &error(direct(A_IP, B_IP), (3, 3), &direct_one[14..]));
}

#[test]
fn damaged_errors_and_errors_for_others_are_dropped() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let (_, seen) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"question")));
    let right = error(direct(B_IP, A_IP), (3, 3), packet(&seen));
    let mut wrong_checksum = right.clone();
    wrong_checksum[36] ^= 1;
    h.assert_dropped(B, &wrong_checksum, "icmp_error_invalid");
    let mut quote = packet(&seen).to_vec();
    quote[10] ^= 1;
    h.assert_dropped(B, &error(direct(B_IP, A_IP), (3, 3), &quote), "icmp_error_invalid");
    h.assert_dropped(B, &error(direct(B_IP, VM_IP), (3, 3), packet(&seen)), "icmp_error_invalid");

    let mut header = etherparse::Ipv4Header::new(0, 64, 1.into(), B_IP, A_IP).unwrap();
    header.more_fragments = true;
    let fragment = ipv4_with(direct(B_IP, A_IP), header, &right[34..34 + 40]);
    h.assert_dropped(B, &fragment, "icmp_error_invalid");
    assert_eq!(h.send(B, &right).len(), 1);
}

/// RFC 5508 §4.3, RFC 4787 REQ-12.
#[test]
fn errors_neither_refresh_nor_end_a_connection() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let (_, seen) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")));
    let told = error(direct(B_IP, A_IP), (3, 1), packet(&seen));
    for _ in 0..2 {
        h.wait(Duration::from_secs(14));
        assert_eq!(h.send(B, &told).len(), 1);
        h.sweep();
    }
    assert_eq!(h.switch.connections_page(0, 9, h.now).0.len(), 1);
    h.wait(Duration::from_secs(3));
    h.sweep();
    assert_eq!(h.switch.connections_page(0, 9, h.now).0.len(), 0);
}
