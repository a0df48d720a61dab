//! Fragments of translated datagrams: they follow their first, in whatever order they come.

use std::time::Duration;

use proptest::prelude::*;
use protocol::PortId;
use protocol::link::PortConfig;

use crate::common::*;
use crate::services::*;

/// Bytes behind the IP header in a fragment.
const PIECE: usize = 1424;

/// The packet in a frame, in fragments that fit.
fn fragments(frame: &[u8], identification: u16) -> Vec<Vec<u8>> {
    let path = Path {
        from_mac: protocol::Mac(frame[6..12].try_into().unwrap()),
        to_mac: protocol::Mac(frame[..6].try_into().unwrap()),
        from: frame[26..30].try_into().unwrap(),
        to: frame[30..34].try_into().unwrap(),
        ttl: frame[22],
    };
    let pieces: Vec<_> = frame[34..].chunks(PIECE).collect();
    let fragment = |(number, piece): (usize, &&[u8])| {
        let mut header =
            etherparse::Ipv4Header::new(0, path.ttl, frame[23].into(), path.from, path.to).unwrap();
        header.dont_fragment = false;
        header.identification = identification;
        header.more_fragments = number + 1 < pieces.len();
        header.fragment_offset = u16::try_from(number * PIECE / 8).unwrap().try_into().unwrap();
        ipv4_with(path, header, piece)
    };
    pieces.iter().enumerate().map(fragment).collect()
}

/// What fragments are, put together again.
#[track_caller]
fn reassembled(mut fragments: Vec<Vec<u8>>) -> Vec<u8> {
    let offset = |frame: &Vec<u8>| usize::from(u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff) * 8;
    fragments.sort_by_key(offset);
    let mut payload = Vec::new();
    for fragment in &fragments {
        decode(fragment);
        assert_eq!(fragment[18..20], fragments[0][18..20], "one datagram");
        assert_eq!(offset(fragment), payload.len(), "a gap");
        payload.extend_from_slice(&fragment[34..]);
    }
    let first = &fragments[0];
    let path = Path {
        from_mac: protocol::Mac(first[6..12].try_into().unwrap()),
        to_mac: protocol::Mac(first[..6].try_into().unwrap()),
        from: first[26..30].try_into().unwrap(),
        to: first[30..34].try_into().unwrap(),
        ttl: first[22],
    };
    ipv4(path, first[23], &payload)
}

/// What goes out by each port, of one packet sent.
fn cut_for(sent: Vec<(PortId, Vec<u8>)>, to: PortId) -> Vec<Vec<u8>> {
    assert!(sent.len() > 1, "it was not cut");
    sent.into_iter()
        .map(|(port, frame)| {
            assert_eq!(port, to);
            ethernet(&frame).to_vec()
        })
        .collect()
}

#[test]
fn packet_that_is_too_large_for_its_link_is_cut_unless_it_says_no() {
    let mut h = Harness::new();
    h.update(PortConfig { ip_mtu: 1000, ..port(B, "default/b", B_IP) });
    let data: Vec<u8> = (0..1400_u16).map(|n| n.to_le_bytes()[0]).collect();
    let whole = udp(routed(A_IP, B_IP), 1, 2, &data);
    // Twice: decided, then found as a flow.
    for round in 0..2 {
        let cut = cut_for(h.send(A, &may_be_cut(whole.clone())), B);
        assert!(cut.iter().all(|fragment| fragment.len() <= 14 + 1000), "round {round}");
        let arrived = reassembled(cut);
        assert_eq!((&arrived[34..], arrived[22]), (&whole[34..], 63));
        h.assert_deltas([(A, Delta::forwarded()), (B, Delta { tx: 2, ..Delta::default() })]);
    }
    h.send(A, &whole);
    h.assert_deltas([(A, Delta::refused_with_error("packet_too_big"))]);
    // At layer 2 nobody is a router.
    h.assert_dropped(A, &may_be_cut(udp(direct(A_IP, B_IP), 1, 2, &data)), "frame_too_big");
}

#[test]
fn checksum_left_to_a_device_is_complete_before_the_packet_is_cut() {
    let mut h = Harness::new();
    h.update(PortConfig { ip_mtu: 1000, ..port(B, "default/b", B_IP) });
    let whole = may_be_cut(udp(routed(A_IP, B_IP), 1, 2, &[9; 1200]));
    let mut partial = whole.clone();
    partial[40..42].copy_from_slice(&[0xde, 0xad]);
    let sent = h.send_with(A, Vnet::partial(6), &partial);
    assert!(sent.iter().all(|(_, frame)| Vnet::of(frame) == Vnet::default()));
    assert_eq!(reassembled(cut_for(sent, B))[34..], whole[34..]);
}

#[test]
fn fragment_is_cut_again() {
    let mut h = Harness::new();
    h.update(PortConfig { ip_mtu: 700, ..port(B, "default/b", B_IP) });
    let whole = udp(routed(A_IP, B_IP), 1, 2, &[5; 4000]);
    let sent =
        fragments(&whole, 7).into_iter().flat_map(|fragment| cut_for(h.send(A, &fragment), B)).collect();
    assert_eq!(reassembled(sent)[34..], whole[34..]);
}

fn question(from: [u8; 4], to: [u8; 4], port: u16, len: usize) -> Vec<u8> {
    let payload: Vec<_> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
    udp(routed(from, to), port, 53, &payload)
}

/// Sends all of them; gives the Ethernet frames that came out, all at one port.
fn pass(h: &mut Harness, ingress: PortId, frames: &[Vec<u8>], egress: PortId) -> Vec<Vec<u8>> {
    let sent = frames.iter().flat_map(|frame| h.send(ingress, frame));
    sent.map(|(port, frame)| {
        assert_eq!(port, egress);
        ethernet(&frame).to_vec()
    })
    .collect()
}

#[test]
fn large_datagram_reaches_the_backend_and_its_answer_the_client() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    for identification in 1..4 {
        let whole = question(A_IP, VIP, 4000, 4000);
        let sent = pass(&mut h, A, &fragments(&whole, identification), B);
        let whole = reassembled(sent);
        assert_eq!(ends(&whole), (at(A_IP, 4000), at(B_IP, 5353)));
        assert_eq!(decode(&whole).payload.slice().len(), 4000);

        let answer = udp(direct(B_IP, A_IP), 5353, 4000, &[9; 3000]);
        let whole = reassembled(pass(&mut h, B, &fragments(&answer, 77), A));
        assert_eq!(ends(&whole), (at(VIP, 53), at(A_IP, 4000)));
        assert_eq!(decode(&whole).payload.slice(), [9; 3000]);
    }
    let delta = |rx, tx| Delta { rx, forwarded: rx, tx, ..Delta::default() };
    h.assert_deltas([(A, delta(9, 9)), (B, delta(9, 9))]);
}

#[test]
fn later_fragments_wait_for_the_first() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let [first, second, third] = <[_; 3]>::try_from(fragments(&question(A_IP, VIP, 4000, 4000), 5)).unwrap();
    for later in [&third, &second] {
        assert!(h.send(A, later).is_empty());
    }
    h.assert_deltas([]);
    let sent: Vec<_> = h.send(A, &first).into_iter().map(|(_, frame)| ethernet(&frame).to_vec()).collect();
    let offsets: Vec<_> =
        sent.iter().map(|frame| u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff).collect();
    assert_eq!(offsets, [0, 356, 178], "the first, then the others as they came");
    assert_eq!(ends(&reassembled(sent)).1, at(B_IP, 5353));
    h.assert_deltas([
        (A, Delta { rx: 3, forwarded: 3, ..Delta::default() }),
        (B, Delta { tx: 3, ..Delta::default() }),
    ]);
}

#[test]
fn fragments_pass_the_tunnel_both_ways_in_any_order() {
    let mut h = with_services(harness_a(), &[C_IP]);
    let parts = fragments(&question(A_IP, VIP, 4000, 2000), 5);
    for part in parts.iter().rev() {
        assert!(h.send(A, part).is_empty());
    }
    let trains = std::mem::take(&mut h.wire.trains);
    assert!(trains.iter().all(|train| train.entropy == trains[0].entropy), "by one way");
    let whole = reassembled(trains.iter().map(|train| inner(&train.datagrams[0]).to_vec()).collect());
    assert_eq!(ends(&whole), (at(A_IP, 4000), at(C_IP, 5353)));

    let answer = udp(from_peer(C_IP, A_IP), 5353, 4000, &[9; 2000]);
    let mut sent = Vec::new();
    h.deltas();
    for part in fragments(&answer, 9).iter().rev() {
        sent.extend(h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, part)]));
    }
    let whole = reassembled(sent.into_iter().map(|(_, frame)| ethernet(&frame).to_vec()).collect());
    assert_eq!(ends(&whole), (at(VIP, 53), at(A_IP, 4000)));
    h.assert_deltas([
        (A, Delta { tx: 2, ..Delta::default() }),
        (TUNNEL, Delta { rx: 2, forwarded: 2, ..Delta::default() }),
    ]);
}

#[test]
fn fragment_whose_first_does_not_come_is_dropped_by_name() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let parts = fragments(&question(A_IP, VIP, 4000, 4000), 5);
    assert!(h.send(A, &parts[1]).is_empty());
    h.wait(Duration::from_millis(2100));
    h.sweep();
    h.assert_deltas([(A, Delta::dropped("fragment_without_first"))]);
    // Nor is the first of yore remembered: the number may be another datagram's by now.
    assert_eq!(h.send(A, &parts[0]).len(), 1);
    h.deltas();
    h.wait(Duration::from_secs(7));
    h.sweep();
    assert!(h.send(A, &parts[1]).is_empty());
    h.assert_deltas([]);
}

#[test]
fn fragments_of_what_is_refused_are_refused() {
    let mut h = with_services(Harness::new(), &[]);
    let parts = fragments(&question(A_IP, VIP, 4000, 4000), 5);
    assert!(h.send(A, &parts[2]).is_empty());
    let told = only(h.send(A, &parts[0]));
    assert_eq!((told.0, &ethernet(&told.1)[34..36]), (A, &[3, 3][..]), "only once, about the first");
    assert!(h.send(A, &parts[1]).is_empty());
    let drops = [("service_no_endpoints".to_owned(), 3)].into();
    h.assert_deltas([(A, Delta { rx: 3, drops, tx: 1, originated: 1, ..Delta::default() })]);
}

#[test]
fn a_port_with_its_share_of_waiting_fragments_loses_its_own() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let others = fragments(&question(VM_IP, VIP, 4000, 2000), 5);
    assert!(h.send(VM, &others[1]).is_empty());
    let mine = fragments(&question(A_IP, VIP, 4000, 2000), 0);
    for identification in 0..100 {
        let parts = fragments(&question(A_IP, VIP, 4000, 2000), identification);
        assert!(h.send(A, &parts[1]).is_empty());
    }
    let drops = [("fragment_without_first".to_owned(), 84)].into();
    h.assert_deltas([(A, Delta { rx: 84, drops, ..Delta::default() })]);
    assert_eq!(h.send(VM, &others[0]).len(), 2);
    assert_eq!(h.send(A, &mine[0]).len(), 1, "the other part is gone");
}

#[test]
fn jumbo_fragments_do_not_wait() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.update(PortConfig { ip_mtu: 9000, ..port(B, "default/b", B_IP) });
    let mut header = etherparse::Ipv4Header::new(0, 64, 17.into(), A_IP, VIP).unwrap();
    header.fragment_offset = 100.try_into().unwrap();
    let large = ipv4_with(routed(A_IP, VIP), header, &[0; 2100]);
    h.assert_dropped(A, &large, "fragment_without_first");
}

#[test]
fn fragments_of_what_is_not_translated_pass_beside_connections() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let direct_one = udp(direct(A_IP, B_IP), 1, 2, &[3; 3000]);
    let parts = fragments(&direct_one, 5);
    assert_eq!(h.send(A, &parts[1]).len(), 1, "nothing is translated");
    h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?"));
    let mut reversed = parts.clone();
    reversed.reverse();
    let sent = pass(&mut h, A, &reversed, B);
    assert_eq!(sent.len(), 3);
    assert_eq!(reassembled(sent), reassembled(parts));
}

#[test]
fn first_fragment_holds_its_transport_header_or_nothing_of_it_passes() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let mut header = etherparse::Ipv4Header::new(0, 64, 6.into(), A_IP, VIP).unwrap();
    header.more_fragments = true;
    let syn = segment(routed(A_IP, VIP), (4000, 80), SYN, b"");
    h.assert_dropped(A, &ipv4_with(routed(A_IP, VIP), header.clone(), &syn[34..50]), "tcp_header_invalid");
    header.fragment_offset = 1.try_into().unwrap();
    h.assert_dropped(A, &ipv4_with(routed(A_IP, VIP), header, &syn[42..50]), "fragment_invalid");
}

proptest! {
    #[test]
    fn every_datagram_arrives_whatever_the_order_of_its_fragments(
        datagrams in proptest::collection::vec((any::<bool>(), 1..7000usize), 1..4),
        seed in any::<u64>(),
        batched in any::<bool>(),
    ) {
        let mut h = with_services(Harness::new(), &[B_IP]);
        // Something is translated from the beginning.
        h.send(A, &udp(routed(A_IP, VIP), 1, 53, b"?"));
        let client = |is_a: bool| if is_a { (A, A_IP) } else { (VM, VM_IP) };
        let mut frames = Vec::new();
        for (number, (is_a, len)) in (0u16..).zip(&datagrams) {
            let (ingress, address) = client(*is_a);
            let whole = question(address, VIP, 4000 + number, *len);
            frames.extend(fragments(&whole, number).into_iter().map(|frame| (ingress, frame)));
        }
        shuffle(&mut frames, seed);
        let sent = if batched {
            h.send_batch(&frames)
        } else {
            frames.iter().flat_map(|(ingress, frame)| h.send(*ingress, frame)).collect()
        };
        prop_assert_eq!(sent.len(), frames.len());
        for (number, (is_a, len)) in (0u16..).zip(&datagrams) {
            let (_, address) = client(*is_a);
            let of_it = |frame: &&(PortId, Vec<u8>)| {
                let frame = ethernet(&frame.1);
                frame[18..20] == number.to_be_bytes() && frame[26..30] == address
            };
            let parts = sent.iter().filter(of_it).map(|(_, frame)| ethernet(frame).to_vec()).collect();
            let whole = reassembled(parts);
            prop_assert_eq!(ends(&whole), (at(address, 4000 + number), at(B_IP, 5353)));
            prop_assert_eq!(decode(&whole).payload.slice().len(), *len);
        }
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for last in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, usize::try_from(seed >> 33).unwrap() % (last + 1));
    }
}
