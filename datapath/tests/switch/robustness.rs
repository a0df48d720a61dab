//! Whatever comes in: no panic, no impossible frame out, and every frame counted once.
//!
//! The harness checks the conservation law after each frame and refuses frames shorter than Ethernet.

use crate::common::*;
use datapath::Limits;
use proptest::prelude::*;
use protocol::link::PortConfig;
use protocol::{Mac, Offloads, PortId};

/// Ports of every kind: offloading, plain, learning, small.
fn harness() -> Harness {
    let mut ports = standard_ports();
    ports[2] = PortConfig { offloads: Offloads::NONE, ..port(B, "default/b", B_IP) };
    let small = PortConfig { ip_mtu: 68, ..port(PortId(4), "default/small", [10, 244, 0, 5]) };
    ports.push(small);
    Harness::with(ports, Limits { flood_per_second: 1_000_000, flood_burst: 1_000_000, ..Limits::default() })
}

/// One of each header and each path through the switch, with the virtio header it comes with.
fn seeds() -> Vec<(PortId, Vnet, Vec<u8>)> {
    let plain = Vnet::default();
    let options = |protocol: u8, payload: &[u8]| {
        let path = routed(A_IP, B_IP);
        let mut header = etherparse::Ipv4Header::new(0, 64, protocol.into(), path.from, path.to).unwrap();
        header.options = [7, 7, 4, 0, 0, 0, 0, 0].into();
        ipv4_with(path, header, payload)
    };
    let fragment = |offset: u16, more| {
        let path = routed(A_IP, B_IP);
        let mut header = etherparse::Ipv4Header::new(0, 64, 17.into(), path.from, path.to).unwrap();
        header.fragment_offset = offset.try_into().unwrap();
        header.more_fragments = more;
        ipv4_with(path, header, &[0, 1, 0, 2, 0, 90, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    };
    let partial = |mut frame: Vec<u8>, offset: usize| {
        make_partial(&mut frame, offset);
        frame
    };
    let tcp_gso = Vnet { gso_type: GSO_TCPV4, gso_size: 60, hdr_len: 54, ..Vnet::partial(16) };
    let udp_gso = Vnet { gso_type: GSO_UDP_L4, gso_size: 60, hdr_len: 42, ..Vnet::partial(6) };
    let broadcast = Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) };
    let stranger = Mac([2, 0, 0, 0, 0, 1]);
    vec![
        (A, plain, udp(direct(A_IP, B_IP), 1, 2, &[9; 10])),
        (A, plain, tcp(routed(A_IP, B_IP), 1, 2, &[9; 10])),
        (A, Vnet::partial(16), partial(tcp(direct(A_IP, B_IP), 1, 2, &[9; 11]), 16)),
        (A, tcp_gso, partial(tcp(routed(A_IP, B_IP), 1, 2, &[9; 200]), 16)),
        (A, udp_gso, partial(udp(direct(A_IP, B_IP), 1, 2, &[9; 200]), 6)),
        (A, plain, echo_request(routed(A_IP, GATEWAY_IP), 1, &[9; 10])),
        (A, plain, udp(routed(A_IP, [8, 8, 8, 8]), 1, 2, &[9; 10])),
        (A, plain, udp(Path { ttl: 1, ..routed(A_IP, B_IP) }, 1, 2, &[9; 10])),
        (A, plain, udp(routed(A_IP, [10, 244, 0, 5]), 1, 2, &[9; 100])),
        (A, plain, udp(broadcast, 1, 2, &[9; 10])),
        (A, plain, options(17, &[0, 1, 0, 2, 0, 8, 0, 0])),
        (A, plain, options(132, &[9; 16])),
        (A, plain, fragment(0, true)),
        (A, plain, fragment(9, false)),
        (A, plain, ArpFrame::request(pod_mac(A_IP), A_IP, B_IP).bytes()),
        (VM, plain, ArpFrame::request(stranger, [10, 244, 0, 50], [10, 244, 0, 51]).bytes()),
        (VM, plain, ArpFrame::reply(stranger, [10, 244, 0, 50], pod_mac(A_IP), A_IP).bytes()),
        (GATEWAY, plain, tcp(from_node(A_IP), 1, 2, &[9; 10])),
        (GATEWAY, plain, udp(Path { to_mac: router_mac(), ..from_node([10, 244, 0, 99]) }, 1, 2, b"x")),
    ]
}

/// What was written is a frame: its virtio header agrees with its length, its IP header is right.
#[track_caller]
fn assert_sound(sent: &[(PortId, Vec<u8>)]) {
    for (_, frame) in sent {
        let (vnet, ethernet) = (Vnet::of(frame), ethernet(frame));
        assert_eq!(vnet.num_buffers, 0);
        assert_eq!(vnet.flags & !NEEDS_CSUM, 0);
        assert!(usize::from(vnet.hdr_len) <= ethernet.len());
        if vnet.flags == NEEDS_CSUM {
            assert!(usize::from(vnet.csum_start + vnet.csum_offset) + 2 <= ethernet.len());
            assert!(vnet.csum_start >= 34 && vnet.hdr_len > vnet.csum_start);
        } else {
            assert_eq!(vnet, Vnet::default());
        }
        match ethernet[12..14] {
            [8, 0] => {
                let ip = etherparse::Ipv4HeaderSlice::from_slice(&ethernet[14..]).unwrap();
                assert_eq!(usize::from(ip.total_len()) + 14, ethernet.len());
                // Over the bytes: etherparse's own sum leaves the reserved flag out.
                let words = ip.slice().chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
                let sum = words.sum::<u32>();
                assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "IPv4 header checksum");
            }
            [8, 6] => assert_eq!(ethernet.len(), 42),
            _ => panic!("neither IPv4 nor ARP was written"),
        }
    }
}

#[test]
fn seeds_are_forwarded_answered_or_refused_with_an_error() {
    let mut h = harness();
    for (ingress, vnet, frame) in seeds() {
        let sent = h.send_with(ingress, vnet, &frame);
        assert!(!sent.is_empty(), "a seed that goes nowhere tests little: {frame:02x?}");
        assert_sound(&sent);
    }
}

#[test]
fn every_truncation_is_survived() {
    let mut h = harness();
    for (ingress, vnet, frame) in seeds() {
        let whole = [&vnet.bytes()[..], &frame].concat();
        for len in 0..whole.len() {
            assert_sound(&h.send_raw(ingress, &whole[..len]));
        }
    }
}

#[test]
fn every_single_bit_flip_is_survived() {
    for (ingress, vnet, frame) in seeds() {
        let whole = [&vnet.bytes()[..], &frame].concat();
        // Both with a cold flow table, and with the flow of the intact frame cached.
        let (mut cold, mut warm) = (harness(), harness());
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            warm.send_raw(ingress, &whole);
            assert_sound(&warm.send_raw(ingress, &flipped));
            assert_sound(&cold.send_raw(ingress, &flipped));
        }
    }
}

#[test]
fn flipped_ip_header_with_a_right_checksum_is_survived() {
    let mut h = harness();
    for (ingress, vnet, frame) in seeds() {
        if frame[12..14] != [8, 0] {
            continue;
        }
        let header_len = usize::from(frame[14] & 0xf) * 4;
        for bit in 0..header_len * 8 {
            let mut flipped = frame.clone();
            flipped[14 + bit / 8] ^= 1 << (bit % 8);
            // Over as many bytes as the header now claims, where the frame has them.
            let claimed = 14 + usize::from(flipped[14] & 0xf) * 4;
            if (34..=flipped.len()).contains(&claimed) {
                flipped[24..26].fill(0);
                let words =
                    flipped[14..claimed].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
                let sum = words.sum::<u32>();
                let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
                flipped[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            assert_sound(&h.send_with(ingress, vnet, &flipped));
        }
    }
}

#[test]
fn longest_frames_are_survived() {
    let mut h = harness();
    let mut biggest = tcp(direct(A_IP, B_IP), 1, 2, &vec![7; 65_535 - 40]);
    make_partial(&mut biggest, 16);
    let vnet = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    assert_eq!(h.send_with(A, vnet, &biggest).len(), (65_535usize - 40).div_ceil(1400));
    // Larger than any IP packet: trailing garbage up to the end of the buffer.
    let mut garbage = udp(direct(A_IP, B_IP), 1, 2, b"x");
    garbage.resize(72 * 1024 - datapath::HEADROOM - datapath::VNET_HDR_LEN, 0xaa);
    let sent = h.send(A, &garbage);
    assert_eq!(ethernet(&sent[0].1).len(), 43);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn hostile_virtio_headers_are_survived(
        seed in 0..19usize,
        header in any::<[u8; 12]>(),
        kind in prop_oneof![Just(None), (0..8u8).prop_map(Some)],
        flags in prop_oneof![Just(None), (0..4u8).prop_map(Some)],
    ) {
        let (ingress, _, frame) = seeds().swap_remove(seed);
        let mut header = header;
        // Pure noise is nearly always refused by its first two bytes.
        header[0] = flags.unwrap_or(header[0]);
        header[1] = kind.unwrap_or(header[1]);
        let mut h = harness();
        assert_sound(&h.send_raw(ingress, &[&header[..], &frame].concat()));
    }

    #[test]
    fn noise_behind_a_valid_ethernet_header_is_survived(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        ether_type in prop_oneof![Just(0x0800u16), Just(0x0806), any::<u16>()],
        port in 0..5u32,
    ) {
        let mut h = harness();
        let from = h.switch.ports().find(|p| p.id.0 == port).unwrap().mac;
        let mut frame = ethernet_header(router_mac(), from, ether_type);
        frame.extend_from_slice(&noise);
        assert_sound(&h.send(PortId(port), &frame));
    }
}
