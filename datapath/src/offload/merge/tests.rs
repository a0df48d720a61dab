//! Each rule by example, and the invariant as a property: what random bursts are merged to splits
//! into the packets they were, in order. Packets are made and checksummed by etherparse, not by us.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header as Ip, TcpHeader as Tcp, UdpHeader as Udp};
use proptest::prelude::*;

use super::*;
use crate::frame::{FRAME_SIZE, VNET_HDR_LEN};
use crate::offload::gso;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// Two NOPs and a timestamp, as Linux sends it.
const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sum {
    Partial,
    Complete,
    Wrong,
    Absent,
}

/// A frame in words; [`Spec::frame`] makes it.
#[derive(Debug, Clone, PartialEq)]
struct Spec {
    is_tcp: bool,
    mac: u8,
    tos: u8,
    id: u16,
    flags: u8,
    ttl: u8,
    ip_options: Vec<u8>,
    from: u8,
    to: u8,
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgment: u32,
    tcp_flags: u8,
    reserved: u8,
    window: u16,
    urgent: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
    sum: Sum,
    gso_size: u16,
    padding: usize,
}

const DF: u8 = 0b010;
const EVIL: u8 = 0b100;
const MORE: u8 = 0b001;

fn udp(payload: &[u8]) -> Spec {
    Spec {
        is_tcp: false,
        mac: 1,
        tos: 0,
        id: 0,
        flags: DF,
        ttl: 64,
        ip_options: vec![],
        from: 1,
        to: 2,
        source_port: 5000,
        destination_port: 6000,
        sequence: 0,
        acknowledgment: 0,
        tcp_flags: 0,
        reserved: 0,
        window: 0,
        urgent: 0,
        options: vec![],
        payload: payload.to_vec(),
        sum: Sum::Partial,
        gso_size: 0,
        padding: 0,
    }
}

fn tcp(sequence: u32, payload: &[u8]) -> Spec {
    Spec {
        is_tcp: true,
        sequence,
        acknowledgment: 9,
        tcp_flags: ACK,
        window: 512,
        options: TIMESTAMP.to_vec(),
        ..udp(payload)
    }
}

impl Spec {
    /// The Ethernet frame, its checksum complete.
    fn ethernet(&self) -> Vec<u8> {
        let protocol = if self.is_tcp { IpNumber::TCP } else { IpNumber::UDP };
        let mut ip = Ip::new(0, self.ttl, protocol, [10, 0, 0, self.from], [10, 0, 0, self.to]).unwrap();
        ip.options = self.ip_options.as_slice().try_into().unwrap();
        set_tos(&mut ip, self.tos);
        ip.identification = self.id;
        ip.dont_fragment = self.flags & DF != 0;
        ip.more_fragments = self.flags & MORE != 0;
        ip.fragment_offset = IpFragOffset::ZERO;
        let mut l4 = Vec::new();
        if self.is_tcp {
            ip.set_payload_len(20 + self.options.len() + self.payload.len()).unwrap();
            self.tcp_header(&ip).write(&mut l4).unwrap();
        } else {
            ip.set_payload_len(8 + self.payload.len()).unwrap();
            let (source, destination) = (self.source_port, self.destination_port);
            let header = Udp::with_ipv4_checksum(source, destination, &ip, &self.payload).unwrap();
            header.write(&mut l4).unwrap();
        }
        let mut bytes = vec![2, 0, 0, 0, 0, self.mac, 2, 0, 0, 0, 0, 100, 8, 0];
        ip.header_checksum = ip.calc_header_checksum();
        ip.write_raw(&mut bytes).unwrap();
        let l4_at = bytes.len();
        bytes.extend(l4);
        bytes.extend(&self.payload);
        self.patch(&mut bytes, l4_at);
        bytes
    }

    fn tcp_header(&self, ip: &Ip) -> Tcp {
        let has = |flag: u8| self.tcp_flags & flag != 0;
        let mut header = Tcp::new(self.source_port, self.destination_port, self.sequence, self.window);
        header.acknowledgment_number = self.acknowledgment;
        header.set_options_raw(&self.options).unwrap();
        (header.fin, header.syn, header.rst, header.psh) = (has(FIN), has(SYN), has(RST), has(PSH));
        (header.ack, header.urg, header.ece, header.cwr) = (has(ACK), has(URG), has(ECE), has(CWR));
        header.urgent_pointer = self.urgent;
        header.checksum = header.calc_checksum_ipv4(ip, &self.payload).unwrap();
        header
    }

    /// What etherparse does not write: reserved bits, and checksums that are not right.
    fn patch(&self, bytes: &mut [u8], l4_at: usize) {
        if self.flags & EVIL != 0 {
            bytes[20] |= 0x80;
            bytes[24..26].copy_from_slice(&[0, 0]);
            let sum = crate::wire::checksum::Sum::new().bytes(&bytes[14..l4_at]).checksum();
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let field = l4_at + if self.is_tcp { 16 } else { 6 };
        let old = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
        let mut sum = old;
        if self.is_tcp && self.reserved != 0 {
            bytes[l4_at + 12] |= self.reserved;
            sum = crate::wire::checksum::update(sum, 0, u16::from(self.reserved) << 8);
        }
        match self.sum {
            Sum::Complete | Sum::Partial => {}
            Sum::Wrong => sum = if sum == 0x1234 { 0x4321 } else { 0x1234 },
            Sum::Absent => sum = 0,
        }
        bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// As the device hands it over, then read.
    fn frame(&self) -> (Frame, Received) {
        let mut vnet = [0; VNET_HDR_LEN];
        if self.sum == Sum::Partial {
            let l4_at = u16::try_from(34 + self.ip_options.len()).unwrap();
            vnet[0] = 1;
            vnet[6..8].copy_from_slice(&l4_at.to_ne_bytes());
            vnet[8..10].copy_from_slice(&(if self.is_tcp { 16u16 } else { 6 }).to_ne_bytes());
        }
        if self.gso_size != 0 {
            vnet[1] = if self.is_tcp { 1 } else { 5 };
            vnet[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        }
        let mut bytes = vnet.to_vec();
        bytes.extend(self.ethernet());
        bytes.extend(vec![0xee; self.padding]);
        read(&bytes)
    }
}

fn set_tos(ip: &mut Ip, tos: u8) {
    ip.dscp = (tos >> 2).try_into().unwrap();
    ip.ecn = (tos & 3).try_into().unwrap();
}

#[track_caller]
fn read(bytes: &[u8]) -> (Frame, Received) {
    let mut frame = Frame::new();
    frame.receive_area()[..bytes.len()].copy_from_slice(bytes);
    frame.set_received(bytes.len());
    let received = Received::read(&mut frame).unwrap();
    (frame, received)
}

/// What the switch does with a batch for one port: every frame in order, merged where it may be.
fn coalesce(frames: Vec<(Frame, Received)>) -> Vec<(Frame, Received)> {
    let mut out: Vec<(Frame, Received)> = Vec::new();
    let mut merge: Option<Merge> = None;
    for (next, next_received) in frames {
        if let (Some(merge), Some((head, received))) = (&mut merge, out.last_mut())
            && merge.append(head, received, next.ethernet(), &next_received)
        {
            continue;
        }
        finish(merge.take(), out.last_mut());
        merge = Merge::start(&next, &next_received);
        out.push((next, next_received));
    }
    finish(merge, out.last_mut());
    out
}

fn finish(merge: Option<Merge>, head: Option<&mut (Frame, Received)>) {
    if let (Some(merge), Some((frame, received))) = (merge, head) {
        merge.finish(frame, received);
    }
}

/// What goes over a wire: superframes split, checksums complete.
fn wire(frames: Vec<(Frame, Received)>) -> Vec<Vec<u8>> {
    let mut scratch = vec![0; FRAME_SIZE];
    let mut out = Vec::new();
    for (mut frame, mut received) in frames {
        if let (Body::Ipv4(ip), Some(segments)) = (&received.packet.body, received.offload.segments) {
            gso::split(frame.ethernet(), ip, segments, &mut scratch, |segment| {
                out.push(segment[VNET_HDR_LEN..].to_vec());
                true
            });
        } else {
            received.complete_checksum(&mut frame);
            out.push(frame.ethernet().to_vec());
        }
    }
    out
}

/// Without what a receiver may not look at: the identification of packets that must not be
/// fragmented. And with one spelling of zero in TCP's checksum.
fn visible(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[20] & 0x40 != 0 {
        packet[18..20].fill(0);
        packet[24..26].fill(0);
    }
    let sum = 14 + usize::from(packet[14] & 15) * 4 + 16;
    if packet[23] == 6 && packet[sum..sum + 2] == [0xff, 0xff] {
        packet[sum..sum + 2].fill(0);
    }
    packet
}

/// Merges, checks the invariant, and says how many segments each written frame has.
#[track_caller]
fn merged(specs: &[Spec]) -> Vec<usize> {
    let frames = || specs.iter().map(Spec::frame).collect::<Vec<_>>();
    let out = coalesce(frames());
    for (frame, received) in &out {
        // Canonical: reading it as if it had been received finds nothing to change.
        let (again, as_read) = read(frame.bytes());
        assert_eq!(again.bytes(), frame.bytes());
        assert_eq!(as_read.offload, received.offload);
        assert_eq!(as_read.packet.frame_len(), received.packet.frame_len());
    }
    let counts = out.iter().map(|(_, received)| segment_count(received)).collect();
    let (got, wanted) = (wire(out), wire(frames()));
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.into_iter().zip(wanted) {
        assert_eq!(visible(got), visible(wanted));
    }
    counts
}

fn segment_count(received: &Received) -> usize {
    let (Body::Ipv4(ip), Some(segments)) = (&received.packet.body, received.offload.segments) else {
        return 1;
    };
    (ip.end() - ip.payload_offset()).div_ceil(usize::from(segments.size))
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

/// `count` datagrams of 64 bytes, each with its own contents.
fn datagrams(count: u8) -> Vec<Spec> {
    (0..count).map(|n| udp(&[n; 64])).collect()
}

/// Three segments of 100 bytes in order, with a sequence number that wraps.
fn segments() -> Vec<Spec> {
    (0..3u8).map(|n| tcp(0xffff_ff9c_u32.wrapping_add(100 * u32::from(n)), &[n; 100])).collect()
}

/// That `change` to the second of three frames keeps it apart from both.
#[track_caller]
fn keeps_apart(base: &[Spec], change: impl Fn(&mut Spec)) {
    let mut specs = base.to_vec();
    change(&mut specs[1]);
    assert_eq!(merged(&specs), [1, 1, 1], "{:?}", specs[1]);
}

/// That a frame is neither head nor follower where all three are alike.
#[track_caller]
fn never_merges(base: &[Spec], change: impl Fn(&mut Spec)) {
    let mut specs = base.to_vec();
    specs.iter_mut().for_each(change);
    assert_eq!(merged(&specs), [1, 1, 1], "{:?}", specs[0]);
}

#[test]
fn equal_datagrams_become_one_superframe() {
    let out = coalesce(datagrams(5).iter().map(Spec::frame).collect());
    let [(frame, received)] = &out[..] else { panic!("one frame, not {}", out.len()) };
    let vnet: Vec<u8> =
        [1u8, 5].into_iter().chain([42u16, 64, 34, 6, 0].into_iter().flat_map(u16::to_ne_bytes)).collect();
    assert_eq!(frame.bytes()[..VNET_HDR_LEN], vnet);
    let ethernet = frame.ethernet();
    assert_eq!(ethernet.len(), 42 + 5 * 64);
    assert_eq!(ethernet[16..18], (28 + 5 * 64u16).to_be_bytes(), "IP total length");
    assert_eq!(ethernet[38..40], (8 + 5 * 64u16).to_be_bytes(), "UDP length");
    let (ip, _) = Ip::from_slice(&ethernet[14..]).unwrap();
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    assert_eq!(received.offload.checksum, Checksum::Partial);
    assert_eq!(merged(&datagrams(5)), [5]);
}

#[test]
fn segments_in_order_become_one_superframe() {
    assert_eq!(merged(&segments()), [3]);
    let no_options = segments().into_iter().map(|s| Spec { options: vec![], ..s }).collect::<Vec<_>>();
    assert_eq!(merged(&no_options), [3]);
}

#[test]
fn frame_alone_stays_as_it_was() {
    for spec in [udp(&data(64)), tcp(1, &data(64)), Spec { sum: Sum::Complete, ..udp(&data(64)) }] {
        let (mut frame, mut received) = spec.frame();
        let before = frame.bytes().to_vec();
        let merge = Merge::start(&frame, &received).unwrap();
        assert_eq!(merge.finish(&mut frame, &mut received), 0);
        assert_eq!(frame.bytes(), before);
    }
}

#[test]
fn followers_are_counted() {
    let (mut head, mut received) = udp(&data(64)).frame();
    let mut merge = Merge::start(&head, &received).unwrap();
    assert_eq!(merge.segments(), Segments { kind: SegmentKind::Udp, size: 64 });
    for _ in 0..2 {
        let (next, next_received) = udp(&data(64)).frame();
        assert!(merge.append(&mut head, &received, next.ethernet(), &next_received));
    }
    assert_eq!(merge.finish(&mut head, &mut received), 2);
}

#[test]
fn shorter_last_payload_ends_a_merge_and_a_longer_one_is_not_taken() {
    let sizes = |sizes: &[usize]| sizes.iter().map(|len| udp(&data(*len))).collect::<Vec<_>>();
    assert_eq!(merged(&sizes(&[64, 64, 63, 63, 63])), [3, 2]);
    assert_eq!(merged(&sizes(&[64, 64, 1, 64, 64])), [3, 2]);
    assert_eq!(merged(&sizes(&[63, 64, 64])), [1, 2]);
    assert_eq!(merged(&sizes(&[1, 1, 1])), [3]);
    let mut tail = segments();
    tail[1].payload.truncate(99);
    tail[2].sequence = tail[2].sequence.wrapping_sub(1);
    assert_eq!(merged(&tail), [2, 1]);
}

#[test]
fn empty_payload_neither_merges_nor_is_overtaken() {
    let mut specs = datagrams(4);
    specs[2].payload.clear();
    assert_eq!(merged(&specs), [2, 1, 1]);
    never_merges(&datagrams(3), |spec| spec.payload.clear());
    never_merges(&segments(), |spec| spec.payload.clear());
}

#[test]
fn other_flow_in_between_keeps_its_place() {
    let mut specs = datagrams(5);
    specs[2].source_port = 1;
    assert_eq!(merged(&specs), [2, 1, 2]);
    specs[2] = tcp(1, &data(64));
    assert_eq!(merged(&specs), [2, 1, 2]);
}

#[test]
fn at_most_as_many_segments_as_every_kernel_takes() {
    assert_eq!(merged(&datagrams(64)), [64]);
    assert_eq!(merged(&datagrams(130)), [64, 64, 2]);
    let specs: Vec<_> = (0..66).map(|n| tcp(n * 10, &data(10))).collect();
    assert_eq!(merged(&specs), [64, 2]);
}

#[test]
fn result_is_one_ip_packet() {
    let of = |len: usize, count: usize| vec![udp(&data(len)); count];
    assert_eq!(merged(&of(1400, 50)), [46, 4]);
    // 28 bytes of headers and 3 x 21,835.67: exactly what fits, and one byte more.
    let mut exact = of(21_836, 3);
    exact[2].payload.truncate(21_835);
    assert_eq!(merged(&exact), [3]);
    assert_eq!(merged(&of(21_836, 3)), [2, 1]);
    assert_eq!(merged(&of(65_507, 2)), [1, 1]);
}

#[test]
fn padding_does_not_become_payload() {
    let specs: Vec<_> = (0..3u8).map(|n| Spec { padding: 17, ..udp(&[n; 1]) }).collect();
    assert_eq!(merged(&specs), [3]);
}

#[test]
fn difference_in_any_header_keeps_frames_apart() {
    let changes: [fn(&mut Spec); 10] = [
        |spec| spec.mac = 7,
        |spec| spec.tos = 0b11,
        |spec| spec.tos = 0x20,
        |spec| spec.ttl = 63,
        |spec| spec.flags = 0,
        |spec| spec.from = 7,
        |spec| spec.to = 7,
        |spec| spec.source_port = 7,
        |spec| spec.destination_port = 7,
        |spec| spec.is_tcp = !spec.is_tcp,
    ];
    for change in changes {
        keeps_apart(&datagrams(3), change);
    }
    // The third follows neither the second nor, in sequence, the first.
    for change in changes {
        keeps_apart(&segments(), change);
    }
}

#[test]
fn tcp_headers_that_differ_keep_segments_apart() {
    let changes: [fn(&mut Spec); 9] = [
        |spec| spec.acknowledgment += 1,
        |spec| spec.window += 1,
        |spec| spec.urgent = 1,
        |spec| spec.sequence = spec.sequence.wrapping_add(1),
        |spec| spec.sequence = spec.sequence.wrapping_sub(1),
        |spec| spec.sequence = spec.sequence.wrapping_sub(100),
        |spec| spec.options[7] = 2,
        |spec| spec.options[11] = 3,
        |spec| spec.options.clear(),
    ];
    for change in changes {
        keeps_apart(&segments(), change);
    }
}

#[test]
fn only_ack_and_a_last_psh_are_merged() {
    for flag in [FIN, SYN, RST, URG, ECE, CWR] {
        keeps_apart(&segments(), |spec| spec.tcp_flags |= flag);
        never_merges(&segments(), |spec| spec.tcp_flags |= flag);
    }
    never_merges(&segments(), |spec| spec.tcp_flags = 0);
    never_merges(&segments(), |spec| spec.reserved = 1);
    never_merges(&segments(), |spec| spec.tcp_flags |= PSH);
}

#[test]
fn psh_ends_a_merge_and_stays_on_its_last_segment() {
    let mut specs = segments();
    specs[1].tcp_flags |= PSH;
    assert_eq!(merged(&specs), [2, 1]);
    let out = coalesce(specs.iter().map(Spec::frame).collect());
    assert_eq!(out[0].0.ethernet()[47], ACK | PSH);
    let flags: Vec<_> = wire(out).iter().map(|packet| packet[47]).collect();
    assert_eq!(flags, [ACK, ACK | PSH, ACK]);
}

#[test]
fn options_fragments_and_reserved_bits_of_ip_are_left_alone() {
    for base in [datagrams(3), segments()] {
        never_merges(&base, |spec| spec.ip_options = vec![148, 4, 0, 0]);
        never_merges(&base, |spec| spec.flags = EVIL);
        never_merges(&base, |spec| spec.flags = EVIL | DF);
    }
    never_merges(&datagrams(3), |spec| (spec.flags, spec.sum) = (MORE, Sum::Complete));
}

#[test]
fn identifications_count_up_unless_the_packet_must_not_be_fragmented() {
    let with_ids = |flags: u8, ids: [u16; 3]| {
        let specs = datagrams(3).into_iter().zip(ids);
        merged(&specs.map(|(spec, id)| Spec { id, flags, ..spec }).collect::<Vec<_>>())
    };
    assert_eq!(with_ids(0, [0xffff, 0, 1]), [3]);
    assert_eq!(with_ids(0, [5, 6, 8]), [2, 1]);
    assert_eq!(with_ids(0, [5, 5, 5]), [1, 1, 1]);
    assert_eq!(with_ids(0, [7, 6, 5]), [1, 1, 1]);
    assert_eq!(with_ids(DF, [0, 0, 0]), [3]);
    assert_eq!(with_ids(DF, [9, 1, 70]), [3]);
}

#[test]
fn identifications_that_count_up_come_back_exactly() {
    let specs: Vec<_> =
        (0..5u16).map(|n| Spec { id: 0xfffe_u16.wrapping_add(n), ..udp(&data(64)) }).collect();
    let frames = || specs.iter().map(Spec::frame).collect::<Vec<_>>();
    assert_eq!(wire(coalesce(frames())), wire(frames()));
}

#[test]
fn only_checksums_that_are_right_or_left_to_the_device_are_merged() {
    for base in [datagrams(3), segments()] {
        let with = |sums: [Sum; 3]| {
            let specs = base.iter().cloned().zip(sums);
            merged(&specs.map(|(spec, sum)| Spec { sum, ..spec }).collect::<Vec<_>>())
        };
        assert_eq!(with([Sum::Complete; 3]), [3]);
        assert_eq!(with([Sum::Partial, Sum::Complete, Sum::Partial]), [3]);
        assert_eq!(with([Sum::Complete, Sum::Partial, Sum::Complete]), [3]);
        assert_eq!(with([Sum::Wrong; 3]), [1, 1, 1]);
        assert_eq!(with([Sum::Wrong, Sum::Complete, Sum::Complete]), [1, 2]);
        assert_eq!(with([Sum::Partial, Sum::Partial, Sum::Wrong]), [2, 1]);
    }
    never_merges(&datagrams(3), |spec| spec.sum = Sum::Absent);
}

#[test]
fn superframes_pass_as_they_are() {
    let big = |base: Spec| Spec { payload: data(200), gso_size: 100, ..base };
    let specs = [udp(&data(100)), big(udp(&[])), big(udp(&[])), udp(&data(100))];
    assert_eq!(merged(&specs), [1, 2, 2, 1]);
    let specs = [tcp(0, &data(100)), big(tcp(100, &[])), tcp(300, &data(100))];
    assert_eq!(merged(&specs), [1, 2, 1]);
}

#[test]
fn datagram_that_ends_before_its_packet_is_left_alone() {
    let short = || {
        let mut bytes = vec![0; VNET_HDR_LEN];
        bytes.extend(Spec { sum: Sum::Complete, ..udp(&data(64)) }.ethernet());
        bytes[VNET_HDR_LEN + 38..VNET_HDR_LEN + 40].copy_from_slice(&40u16.to_be_bytes());
        // Right over the whole packet: the length alone tells that a part of it is not the datagram's.
        let sum = [bytes[VNET_HDR_LEN + 40], bytes[VNET_HDR_LEN + 41]];
        let sum = crate::wire::checksum::update(u16::from_be_bytes(sum), 72, 40);
        bytes[VNET_HDR_LEN + 40..VNET_HDR_LEN + 42].copy_from_slice(&sum.to_be_bytes());
        read(&bytes)
    };
    assert_eq!(coalesce(vec![short(), short()]).len(), 2);
}

#[test]
fn what_the_caller_rewrote_is_what_is_compared() {
    // Routed: one hop less and other MAC addresses, in the frame but not in what was read from it.
    let rewrite = |spec: &Spec| {
        let (mut frame, received) = spec.frame();
        frame.ethernet_mut()[..6].fill(0x42);
        Ipv4Header::in_frame(frame.ethernet_mut()).unwrap().decrement_ttl();
        (frame, received)
    };
    let specs = datagrams(3);
    let out = coalesce(specs.iter().map(rewrite).collect());
    assert_eq!(out.len(), 1);
    let wanted = wire(specs.iter().map(rewrite).collect());
    for (got, wanted) in wire(out).into_iter().zip(wanted) {
        assert_eq!(visible(got), visible(wanted));
    }
    let mixed = vec![rewrite(&specs[0]), specs[1].frame()];
    assert_eq!(coalesce(mixed).len(), 2);
}

/// What one frame of a random burst does differently from the one before it; mostly nothing, or
/// nothing would ever be merged.
fn deviation() -> impl Strategy<Value = Option<fn(&mut Spec)>> {
    let some: Vec<fn(&mut Spec)> = vec![
        |spec| spec.mac ^= 1,
        |spec| spec.tos ^= 1,
        |spec| spec.id = spec.id.wrapping_add(3),
        |spec| spec.flags ^= DF,
        |spec| spec.flags ^= EVIL,
        |spec| spec.ttl ^= 1,
        |spec| spec.from ^= 1,
        |spec| spec.to ^= 1,
        |spec| spec.source_port ^= 1,
        |spec| spec.destination_port ^= 1,
        |spec| spec.sequence = spec.sequence.wrapping_add(17),
        |spec| spec.acknowledgment = spec.acknowledgment.wrapping_add(1),
        |spec| spec.window ^= 1,
        |spec| spec.urgent ^= 1,
        |spec| spec.reserved ^= 1,
        |spec| spec.is_tcp = !spec.is_tcp,
        |spec| spec.ip_options = if spec.ip_options.is_empty() { vec![1, 1, 1, 0] } else { vec![] },
        |spec| spec.options = if spec.options.is_empty() { TIMESTAMP.to_vec() } else { vec![] },
        |spec| spec.options = spec.options.iter().rev().copied().collect(),
        |spec| (spec.is_tcp, spec.flags, spec.sum) = (false, MORE, Sum::Complete),
    ];
    prop_oneof![8 => Just(None), 2 => prop::sample::select(some).prop_map(Some)]
}

/// What holds for one frame of a random burst only.
fn peculiarity() -> impl Strategy<Value = (Sum, u8, usize, Option<u16>)> {
    (
        prop_oneof![
            6 => Just(Sum::Partial),
            3 => Just(Sum::Complete),
            1 => Just(Sum::Wrong),
            1 => Just(Sum::Absent),
        ],
        prop_oneof![12 => Just(ACK), 2 => Just(ACK | PSH), 1 => any::<u8>()],
        prop_oneof![8 => Just(0usize), 1 => 0..30usize],
        prop_oneof![15 => Just(None), 1 => (1..200u16).prop_map(Some)],
    )
}

fn payload_len(usual: usize) -> impl Strategy<Value = usize> {
    prop_oneof![10 => Just(usual), 1 => 0..=usual, 1 => 0..1500usize]
}

fn burst() -> impl Strategy<Value = Vec<Spec>> {
    let sizes = prop_oneof![Just(1usize), Just(18), Just(64), Just(65), Just(1400), 2..1472usize];
    (sizes, any::<(bool, u16, u32, u8)>()).prop_flat_map(|(size, (is_tcp, id, sequence, fill))| {
        let step = (deviation(), peculiarity(), payload_len(size));
        proptest::collection::vec(step, 1..80).prop_map(move |steps| {
            let first = if is_tcp { tcp(sequence, &[]) } else { udp(&[]) };
            follow(Spec { id, flags: fill & DF, ..first }, fill, steps)
        })
    })
}

type Step = (Option<fn(&mut Spec)>, (Sum, u8, usize, Option<u16>), usize);

fn follow(mut flow: Spec, fill: u8, steps: Vec<Step>) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (n, (change, (sum, tcp_flags, padding, gso_size), len)) in steps.into_iter().enumerate() {
        let payload: Vec<u8> = data(n + len)[n..].iter().map(|byte| byte ^ fill).collect();
        let mut spec = Spec { payload, sum, tcp_flags, padding, ..flow.clone() };
        if let Some(change) = change {
            change(&mut spec);
            flow = Spec { payload: vec![], ..spec.clone() };
        }
        make_acceptable(&mut spec, gso_size);
        if spec.flags & MORE != 0 {
            flow.flags &= !MORE;
        }
        flow.id = flow.id.wrapping_add(1);
        flow.sequence = spec.sequence.wrapping_add(u32::try_from(spec.payload.len()).unwrap());
        specs.push(spec);
    }
    specs
}

/// What `Received::read` refuses is not the merge's concern.
fn make_acceptable(spec: &mut Spec, gso_size: Option<u16>) {
    if spec.flags & MORE != 0 {
        spec.sum = Sum::Complete;
        spec.payload.truncate(spec.payload.len() / 8 * 8);
    } else if let Some(size) = gso_size {
        spec.gso_size = size.max(u16::try_from(spec.payload.len().div_ceil(100)).unwrap());
        (spec.sum, spec.padding) = (Sum::Partial, 0);
    }
}

proptest! {
    #[test]
    fn merged_bursts_split_into_what_they_were(specs in burst()) {
        let counts = merged(&specs);
        prop_assert!(counts.iter().all(|count| (1..=128).contains(count)));
    }
}
