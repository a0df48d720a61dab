//! The virtio header: what passes whole, what is refused, what is done in software.

use crate::common::*;
use datapath::Limits;
use etherparse::{Ipv4Header, PacketBuilder, TransportHeader};
use protocol::link::PortConfig;
use protocol::{Offloads, PortId};

const TCP_PARTIAL: u16 = 16;
const UDP_PARTIAL: u16 = 6;

/// A TCP superframe as Linux leaves it: partial checksum, FIN, PSH and CWR set, options present.
fn tcp_superframe(path: Path, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ip(etherparse::IpHeaders::Ipv4(
            Ipv4Header {
                identification: 0xfffe,
                ..Ipv4Header::new(0, path.ttl, 6.into(), path.from, path.to).unwrap()
            },
            etherparse::Ipv4Extensions::default(),
        ))
        .tcp(40_000, 80, u32::MAX - 2000, 7000)
        .ack(9)
        .psh()
        .fin()
        .cwr()
        .options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
        .unwrap();
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    make_partial(&mut frame, 16);
    frame
}

const TCP_HEADERS: u16 = 14 + 20 + 32;

fn tcp_gso(gso_size: u16) -> Vnet {
    Vnet { gso_type: GSO_TCPV4, gso_size, hdr_len: TCP_HEADERS, ..Vnet::partial(TCP_PARTIAL) }
}

fn udp_superframe(path: Path, payload: &[u8]) -> Vec<u8> {
    let mut frame = udp(path, 5000, 6000, payload);
    make_partial(&mut frame, 6);
    frame
}

fn udp_gso(gso_size: u16) -> Vnet {
    Vnet { gso_type: GSO_UDP_L4, gso_size, hdr_len: 42, ..Vnet::partial(UDP_PARTIAL) }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

fn with_b_offloads(offloads: Offloads) -> Harness {
    let mut ports = standard_ports();
    ports[2] = PortConfig { offloads, ..port(B, "default/b", B_IP) };
    Harness::with(ports, Limits::default())
}

#[test]
fn superframes_pass_whole_between_offloading_ports() {
    let mut h = Harness::new();
    let full = payload(65_535 - 20 - 32);
    for ecn in [0, 0x80] {
        let vnet = Vnet { gso_type: GSO_TCPV4 | ecn, ..tcp_gso(1398) };
        let frame = tcp_superframe(direct(A_IP, B_IP), &full);
        let sent = h.send_with(A, vnet, &frame);
        assert_eq!((sent.len(), sent[0].0), (1, B));
        assert_eq!((Vnet::of(&sent[0].1), ethernet(&sent[0].1)), (vnet, &frame[..]));
    }
    let frame = udp_superframe(direct(A_IP, B_IP), &payload(60_000));
    let sent = h.send_with(A, udp_gso(1400), &frame);
    assert_eq!((Vnet::of(&sent[0].1), ethernet(&sent[0].1)), (udp_gso(1400), &frame[..]));
}

#[test]
fn routed_superframe_keeps_its_offload() {
    let mut h = Harness::new();
    let sent = h.send_with(A, tcp_gso(1398), &tcp_superframe(routed(A_IP, B_IP), &payload(20_000)));
    let wanted = Path { from_mac: router_mac(), ttl: 63, ..direct(A_IP, B_IP) };
    let wanted = tcp_superframe(wanted, &payload(20_000));
    assert_eq!((Vnet::of(&sent[0].1), ethernet(&sent[0].1)), (tcp_gso(1398), &wanted[..]));
}

#[test]
fn smallest_segments_linux_makes_pass_and_more_do_not() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    // tcp_min_snd_mss 48 less 12 bytes of timestamps, in a full superframe.
    assert_eq!(h.send_with(A, tcp_gso(36), &tcp_superframe(path, &payload(65_000))).len(), 1);
    h.assert_dropped_with(A, tcp_gso(1), &tcp_superframe(path, &payload(10_000)), "vnet_segments_invalid");
    h.assert_dropped_with(A, tcp_gso(31), &tcp_superframe(path, &payload(65_000)), "vnet_segments_invalid");
    // UDP_MAX_SEGMENTS.
    assert_eq!(h.send_with(A, udp_gso(100), &udp_superframe(path, &payload(12_800))).len(), 1);
    h.assert_dropped_with(A, udp_gso(100), &udp_superframe(path, &payload(12_801)), "vnet_segments_invalid");
    for gso_size in [0, 0xffff] {
        h.assert_dropped_with(
            A,
            tcp_gso(gso_size),
            &tcp_superframe(path, &payload(5000)),
            "vnet_segments_invalid",
        );
        h.assert_dropped_with(
            A,
            udp_gso(gso_size),
            &udp_superframe(path, &payload(5000)),
            "vnet_segments_invalid",
        );
    }
}

#[test]
fn superframe_of_one_segment_is_an_ordinary_frame() {
    let mut h = Harness::new();
    let frame = tcp_superframe(direct(A_IP, B_IP), &payload(1000));
    let sent = h.send_with(A, tcp_gso(1398), &frame);
    assert_eq!(Vnet::of(&sent[0].1), Vnet { hdr_len: TCP_HEADERS, ..Vnet::partial(TCP_PARTIAL) });
}

#[test]
fn segmentation_that_does_not_fit_the_packet_is_refused() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    let tcp_frame = tcp_superframe(path, &payload(4000));
    let udp_frame = udp_superframe(path, &payload(4000));
    for gso_type in 1..=255u8 {
        let right_tcp = matches!(gso_type, GSO_TCPV4 | 0x81);
        let right_udp = gso_type == GSO_UDP_L4;
        if !right_tcp {
            h.assert_dropped_with(A, Vnet { gso_type, ..tcp_gso(1398) }, &tcp_frame, "vnet_gso_invalid");
        }
        if !right_udp {
            h.assert_dropped_with(A, Vnet { gso_type, ..udp_gso(1400) }, &udp_frame, "vnet_gso_invalid");
        }
        let arp = ArpFrame::request(pod_mac(A_IP), A_IP, B_IP).bytes();
        h.assert_dropped_with(A, Vnet { gso_type, ..Vnet::default() }, &arp, "vnet_gso_invalid");
        let ping = echo_request(path, 1, b"x");
        h.assert_dropped_with(A, Vnet { gso_type, ..Vnet::default() }, &ping, "vnet_gso_invalid");
    }
    // Trailing bytes would be somebody's payload.
    let mut trailing = tcp_frame.clone();
    trailing.push(0);
    h.assert_dropped_with(A, tcp_gso(1398), &trailing, "vnet_gso_invalid");
    // A datagram that ends before its packet does.
    let mut short = udp_frame.clone();
    short[38..40].copy_from_slice(&100u16.to_be_bytes());
    h.assert_dropped_with(A, udp_gso(1400), &short, "vnet_gso_invalid");
    // Fragments.
    let header =
        Ipv4Header { more_fragments: true, ..Ipv4Header::new(0, 64, 6.into(), path.from, path.to).unwrap() };
    let fragment = ipv4_with(path, header, &tcp_frame[34..34 + 3200]);
    h.assert_dropped_with(A, tcp_gso(1398), &fragment, "vnet_gso_invalid");
    // Without the checksum left undone there is nothing to segment correctly.
    h.assert_dropped_with(A, Vnet { flags: 0, ..tcp_gso(1398) }, &tcp_frame, "vnet_checksum_invalid");
    h.assert_dropped_with(
        A,
        Vnet { flags: DATA_VALID, ..udp_gso(1400) },
        &udp_frame,
        "vnet_checksum_invalid",
    );
}

#[test]
fn checksum_asked_for_elsewhere_than_the_packet_has_one_is_refused() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    let tcp_frame = tcp_superframe(path, &payload(100));
    let udp_frame = udp_superframe(path, &payload(100));
    let ping = echo_request(path, 1, &payload(100));
    let reason = "vnet_checksum_invalid";
    for start in (0..=200).chain([0xff00, 0xffff]) {
        for offset in (0..=24).chain([0xfff0, 0xffff]) {
            let vnet = Vnet { csum_start: start, ..Vnet::partial(offset) };
            if (start, offset) != (34, 16) {
                h.assert_dropped_with(A, vnet, &tcp_frame, reason);
            }
            let inside = start >= 42 && usize::from(start) + usize::from(offset) + 2 <= udp_frame.len();
            if (start, offset) != (34, 6) && !inside {
                h.assert_dropped_with(A, vnet, &udp_frame, reason);
            }
            if (start, offset) != (34, 2) {
                h.assert_dropped_with(A, vnet, &ping, reason);
            }
        }
    }
    let arp = ArpFrame::request(pod_mac(A_IP), A_IP, B_IP).bytes();
    h.assert_dropped_with(A, Vnet::partial(16), &arp, reason);
    // Of a fragment the checksum covers what is not there.
    for (protocol, offset, l4) in [(6, 16, &tcp_frame[34..34 + 64]), (17, 6, &udp_frame[34..34 + 64])] {
        let mut header = Ipv4Header::new(0, 64, protocol.into(), path.from, path.to).unwrap();
        header.more_fragments = true;
        let fragment = ipv4_with(path, header, l4);
        h.assert_dropped_with(A, Vnet::partial(offset), &fragment, reason);
    }
}

#[test]
fn header_is_written_anew_whatever_it_said() {
    let mut h = Harness::new();
    let frame = udp(direct(A_IP, B_IP), 1, 2, b"complete");
    let garbage = Vnet {
        flags: DATA_VALID | 0xfc,
        gso_type: 0,
        hdr_len: 0xffff,
        gso_size: 77,
        csum_start: 3,
        csum_offset: 0xffff,
        num_buffers: 9,
    };
    let sent = h.send_with(A, garbage, &frame);
    assert_eq!((Vnet::of(&sent[0].1), ethernet(&sent[0].1)), (Vnet::default(), &frame[..]));
    let hostile = Vnet { hdr_len: 0xffff, num_buffers: 3, flags: 0xff, ..tcp_gso(1398) };
    let sent = h.send_with(A, hostile, &tcp_superframe(direct(A_IP, B_IP), &payload(9000)));
    assert_eq!(Vnet::of(&sent[0].1), tcp_gso(1398));
}

#[test]
fn wrong_pseudo_header_sum_is_put_right() {
    let mut h = Harness::new();
    let right = udp_superframe(direct(A_IP, B_IP), &payload(300));
    let mut wrong = right.clone();
    wrong[40..42].copy_from_slice(&[0xde, 0xad]);
    let sent = h.send_with(A, Vnet::partial(UDP_PARTIAL), &wrong);
    assert_eq!(ethernet(&sent[0].1), right);
}

#[test]
fn partial_checksum_is_completed_for_a_port_that_does_not() {
    let mut h = with_b_offloads(Offloads::NONE);
    for len in [0, 1, 2, 3, 99, 1400] {
        let path = direct(A_IP, B_IP);
        for (offset, frame) in [
            (TCP_PARTIAL, tcp_superframe(path, &payload(len.min(1390)))),
            (UDP_PARTIAL, udp_superframe(path, &payload(len))),
        ] {
            let sent = h.send_with(A, Vnet::partial(offset), &frame);
            assert_eq!((sent.len(), Vnet::of(&sent[0].1)), (1, Vnet::default()));
            decode(ethernet(&sent[0].1));
        }
    }
    // A UDP checksum that comes out as zero is sent as all ones (RFC 768).
    let path = direct(A_IP, B_IP);
    let zero =
        (0..=u16::MAX).map(|word| udp(path, 1, 2, &word.to_be_bytes())).find(|f| f[40..42] == [0xff, 0xff]);
    let mut frame = zero.unwrap();
    make_partial(&mut frame, 6);
    let sent = h.send_with(A, Vnet::partial(UDP_PARTIAL), &frame);
    assert_eq!(ethernet(&sent[0].1)[40..42], [0xff, 0xff]);
}

#[test]
fn flood_serves_ports_with_and_without_offload_from_one_frame() {
    let mut h = with_b_offloads(Offloads::NONE);
    let path = Path { to_mac: protocol::Mac::BROADCAST, ..direct(A_IP, [255; 4]) };
    let sent = h.send_with(A, Vnet::partial(UDP_PARTIAL), &udp_superframe(path, &payload(200)));
    assert_eq!(sent.len(), 3);
    for (port, frame) in sent {
        // In port order: before B partial, from B on complete.
        let partial = Vnet::of(&frame) != Vnet::default();
        assert_eq!(partial, port == GATEWAY);
        if !partial {
            decode(ethernet(&frame));
        }
    }
}

#[test]
fn checksum_left_undone_inside_a_tunnel_is_completed_on_the_way_in() {
    let mut h = Harness::new();
    // VXLAN from inside a pod: UDP to 4789, eight bytes of header, and a frame whose TCP checksum is
    // the device's to do. The outer checksum is valid once the inner one is complete.
    let inner_path = Path { from: [172, 16, 0, 1], to: [172, 16, 0, 2], ..direct(A_IP, B_IP) };
    let complete = tcp(inner_path, 7, 8, b"inner payload");
    let mut partial = complete.clone();
    make_partial(&mut partial, 16);
    let wrap =
        |inner: &[u8]| udp(direct(A_IP, B_IP), 5000, 4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], inner].concat());
    let mut frame = wrap(&partial);
    let wanted = wrap(&complete);
    frame[40..42].copy_from_slice(&wanted[40..42]);
    let vnet = Vnet { csum_start: 42 + 8 + 34, ..Vnet::partial(16) };
    let sent = h.send_with(A, vnet, &frame);
    assert_eq!((Vnet::of(&sent[0].1), ethernet(&sent[0].1)), (Vnet::default(), &wanted[..]));
    decode(ethernet(&sent[0].1));
    // IP in IP, where nothing behind the outer header was read.
    let frame = ipv4(direct(A_IP, B_IP), 4, &partial[14..]);
    let vnet = Vnet { csum_start: 34 + 20, ..Vnet::partial(16) };
    let sent = h.send_with(A, vnet, &frame);
    assert_eq!(ethernet(&sent[0].1), ipv4(direct(A_IP, B_IP), 4, &complete[14..]));
    // But never at the outer headers.
    let vnet = Vnet { csum_start: 26, ..Vnet::partial(0) };
    h.assert_dropped_with(A, vnet, &frame, "vnet_checksum_invalid");
}

/// What etherparse makes of one segment of the superframe above.
fn reference_tcp(path: Path, payload: &[u8], index: u16, offset: u32, last: bool) -> Vec<u8> {
    let mut tcp = etherparse::TcpHeader::new(40_000, 80, (u32::MAX - 2000).wrapping_add(offset), 7000);
    tcp.acknowledgment_number = 9;
    tcp.ack = true;
    (tcp.psh, tcp.fin, tcp.cwr) = (last, last, index == 0);
    tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
    let mut ip = Ipv4Header::new(0, path.ttl, 6.into(), path.from, path.to).unwrap();
    ip.identification = 0xfffeu16.wrapping_add(index);
    ip.set_payload_len(tcp.header_len() + payload.len()).unwrap();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).unwrap();
    let mut body = Vec::new();
    tcp.write(&mut body).unwrap();
    body.extend_from_slice(payload);
    ipv4_with(path, ip, &body)
}

#[test]
fn tcp_superframe_is_split_as_the_sender_would_have() {
    let mut h = with_b_offloads(Offloads::CSUM);
    for (len, size) in
        [(2, 1), (1399, 1398), (2796, 1398), (2797, 1398), (9999, 536), (60_000, 1398), (1000, 7)]
    {
        let data = payload(len);
        let path = direct(A_IP, B_IP);
        h.deltas();
        let sent = h.send_with(A, tcp_gso(size), &tcp_superframe(path, &data));
        let pieces: Vec<_> = data.chunks(usize::from(size)).collect();
        assert_eq!(sent.len(), pieces.len());
        let mut offset = 0;
        for (index, (piece, (port, frame))) in pieces.iter().zip(&sent).enumerate() {
            let last = index + 1 == pieces.len();
            let index = u16::try_from(index).unwrap();
            assert_eq!((*port, Vnet::of(frame)), (B, Vnet::default()));
            assert_eq!(
                ethernet(frame),
                reference_tcp(path, piece, index, offset, last),
                "segment {index} of {len}/{size}"
            );
            decode(ethernet(frame));
            offset += u32::try_from(piece.len()).unwrap();
        }
        let tx = u64::try_from(pieces.len()).unwrap();
        h.assert_deltas([(A, Delta::forwarded()), (B, Delta { tx, ..Delta::default() })]);
    }
}

#[test]
fn udp_superframe_is_split_into_its_datagrams() {
    let mut h = with_b_offloads(Offloads::CSUM.union(Offloads::TSO4));
    for (len, size) in [(2, 1), (1401, 1400), (2800, 1400), (12_799, 100), (60_000, 1400)] {
        let data = payload(len);
        let path = routed(A_IP, B_IP);
        let sent = h.send_with(A, udp_gso(size), &udp_superframe(path, &data));
        let pieces: Vec<_> = data.chunks(usize::from(size)).collect();
        assert_eq!(sent.len(), pieces.len());
        for (index, (piece, (_, frame))) in pieces.iter().zip(&sent).enumerate() {
            let packet = decode(ethernet(frame));
            let ip = ipv4_of(&packet);
            assert_eq!((usize::from(ip.identification), ip.time_to_live), (index, 63));
            let Some(TransportHeader::Udp(udp)) = packet.transport else { panic!("not UDP") };
            assert_eq!((udp.source_port, udp.destination_port), (5000, 6000));
            assert_ne!(udp.checksum, 0);
            assert_eq!(packet.payload.slice(), *piece);
        }
    }
}

#[test]
fn split_stops_at_a_full_queue_and_is_forwarded_if_any_part_was() {
    struct Stingy(usize, Vec<PortId>);
    impl datapath::Egress for Stingy {
        fn transmit(&mut self, port: PortId, _: &[u8]) -> datapath::Transmit {
            self.1.push(port);
            if self.1.len() > self.0 { datapath::Transmit::QueueFull } else { datapath::Transmit::Sent }
        }
    }
    for (room, wanted) in [(2, Delta::forwarded()), (0, Delta::dropped("port_queue_full"))] {
        let mut h = with_b_offloads(Offloads::NONE);
        let mut pool = datapath::Pool::new(1);
        let mut batch = datapath::Batch::new(1);
        let mut frame = pool.take().unwrap();
        let bytes =
            [&tcp_gso(1000).bytes()[..], &tcp_superframe(direct(A_IP, B_IP), &payload(9000))].concat();
        frame.receive_area()[..bytes.len()].copy_from_slice(&bytes);
        frame.set_received(bytes.len());
        batch.push(A, frame).unwrap();
        let mut stingy = Stingy(room, Vec::new());
        h.switch.process(&mut batch, h.now, &mut stingy);
        assert_eq!(stingy.1.len(), room + 1);
        let tx = u64::try_from(room).unwrap();
        h.assert_deltas([(A, wanted), (B, Delta { tx, refused: 1, ..Delta::default() })]);
    }
}

#[test]
fn mtu_is_held_against_segments_not_superframes() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    let fits = tcp_superframe(path, &payload(30_000));
    assert_eq!(h.send_with(A, tcp_gso(1450 - 52), &fits).len(), 1);
    h.assert_dropped_with(A, tcp_gso(1450 - 51), &fits, "frame_too_big");
    assert_eq!(h.send_with(A, udp_gso(1450 - 28), &udp_superframe(path, &payload(30_000))).len(), 1);
    h.assert_dropped_with(A, udp_gso(1450 - 27), &udp_superframe(path, &payload(30_000)), "frame_too_big");
}
