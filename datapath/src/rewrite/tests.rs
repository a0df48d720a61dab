//! Against summing again: a rewritten frame carries the checksums its sender would have given it.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::offload::checksum;
use crate::wire::{Body, Packet};

const MACS: (Mac, Mac) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));

fn tuple() -> impl Strategy<Value = Tuple> {
    // All ones and all zeroes are where one's complement is tricky.
    let address = prop_oneof![4 => any::<u32>(), 1 => Just(0), 1 => Just(u32::MAX)];
    let port = prop_oneof![4 => any::<u16>(), 1 => Just(0), 1 => Just(u16::MAX)];
    (address.clone(), address, port.clone(), port).prop_map(
        |(source, destination, source_port, destination_port)| Tuple {
            source: Ipv4Addr::from_bits(source),
            destination: Ipv4Addr::from_bits(destination),
            source_port,
            destination_port,
        },
    )
}

fn frame(from: &Tuple, ttl: u8, udp: bool, payload: &[u8]) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2([9; 6], [9; 6]).ipv4(from.source.octets(), from.destination.octets(), ttl);
    let mut frame = Vec::new();
    if udp {
        builder.udp(from.source_port, from.destination_port).write(&mut frame, payload).unwrap();
    } else {
        builder.tcp(from.source_port, from.destination_port, 1, 2).write(&mut frame, payload).unwrap();
    }
    frame
}

fn ipv4(frame: &[u8]) -> Ipv4 {
    match Packet::parse(frame).unwrap().body {
        Body::Ipv4(ip) => ip,
        Body::Arp(_) => panic!(),
    }
}

/// A rewrite with its translation.
struct Rewriting {
    rewrite: Rewrite,
    translation: Translation,
}

impl Rewriting {
    fn apply(&self, frame: &mut [u8], ip: &mut Ipv4, checksum: Checksum) {
        self.rewrite.apply(frame, ip, checksum, Some(&self.translation));
    }
}

fn rewrite(from: &Tuple, to: Tuple) -> Rewriting {
    let rewrite = Rewrite { destination: MACS.0, source: MACS.1, peer: None, counts_hop: true };
    Rewriting { rewrite, translation: Translation::new(from, to) }
}

/// The transport checksum's place.
fn field(ip: &Ipv4) -> std::ops::Range<usize> {
    let at = ip.l4_offset() + ip.l4.checksum_offset().unwrap();
    at..at + 2
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn complete_checksum_is_as_if_summed_again(
        from in tuple(),
        to in tuple(),
        ttl in 1..=255u8,
        udp in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = frame(&from, ttl, udp, &payload);
        let mut ip = ipv4(&bytes);
        rewrite(&from, to).apply(&mut bytes, &mut ip, Checksum::Complete);
        let mut wanted = frame(&to, ttl - 1, udp, &payload);
        wanted[..6].copy_from_slice(&MACS.0.0);
        wanted[6..12].copy_from_slice(&MACS.1.0);
        prop_assert_eq!(&bytes, &wanted);
        // What is known about the frame changed with it.
        prop_assert_eq!((ip.source, ip.destination, ip.l4), (to.source, to.destination, ipv4(&bytes).l4));
    }

    #[test]
    fn partial_checksum_is_completed_to_the_same(
        from in tuple(),
        to in tuple(),
        udp in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = frame(&from, 64, udp, &payload);
        let mut ip = ipv4(&bytes);
        checksum::store_pseudo_header(&mut bytes, &ip);
        rewrite(&from, to).apply(&mut bytes, &mut ip, Checksum::Partial);
        // The kernel completes what stands in the field, without knowing where it came from.
        let sum = Sum::new().bytes(&bytes[ip.l4_offset()..ip.end()]).checksum();
        let mut again = bytes.clone();
        checksum::store_pseudo_header(&mut again, &ip);
        let fields = |bytes: &[u8]| u16::from_be_bytes(bytes[field(&ip)].try_into().unwrap());
        prop_assert_eq!(fields(&bytes) % 0xffff, fields(&again) % 0xffff);
        let wanted = frame(&to, 63, udp, &payload);
        prop_assert_eq!(sum % 0xffff, fields(&wanted) % 0xffff);
    }

    #[test]
    fn udp_without_checksum_stays_without(from in tuple(), to in tuple()) {
        let mut bytes = frame(&from, 64, true, b"x");
        let mut ip = ipv4(&bytes);
        bytes[field(&ip)].fill(0);
        rewrite(&from, to).apply(&mut bytes, &mut ip, Checksum::Complete);
        prop_assert_eq!(&bytes[field(&ip)], &[0, 0]);
        prop_assert_eq!(ipv4(&bytes).l4, ip.l4, "the IPv4 header is right");
    }
}

#[test]
fn udp_checksum_that_becomes_zero_is_written_as_ones() {
    let from = Tuple {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
        source_port: 1,
        destination_port: 0,
    };
    let bytes = frame(&from, 64, true, b"xy");
    let ip = ipv4(&bytes);
    let checksum = u16::from_be_bytes(bytes[field(&ip)].try_into().unwrap());
    // A port larger by what is missing makes the sum all ones.
    let to = Tuple { destination_port: checksum, ..from };
    let (mut bytes, mut known) = (bytes, ip);
    rewrite(&from, to).apply(&mut bytes, &mut known, Checksum::Complete);
    assert_eq!(bytes[field(&ip)], [0xff, 0xff]);
}

#[test]
fn other_protocols_and_messages_get_new_addresses_only() {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([9; 6], [9; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .icmpv4_raw(13, 0, [0, 7, 0, 1])
        .write(&mut bytes, b"ping")
        .unwrap();
    let (mut ip, icmp) = (ipv4(&bytes), bytes[34..].to_vec());
    let from = Tuple { source: ip.source, destination: ip.destination, source_port: 7, destination_port: 8 };
    let to = Tuple { source: Ipv4Addr::new(192, 0, 2, 1), source_port: 9, ..from };
    rewrite(&from, to).apply(&mut bytes, &mut ip, Checksum::Complete);
    assert_eq!((ipv4(&bytes).source, &bytes[34..]), (to.source, &icmp[..]));
}

/// RFC 5508 REQ-1 to 3: the identifier is the port of who asks, and damage is not hidden.
fn echo(addresses: &Tuple, ttl: u8, is_request: bool, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([9; 6], [9; 6]).ipv4(
        addresses.source.octets(),
        addresses.destination.octets(),
        ttl,
    );
    let builder = if is_request {
        builder.icmpv4_echo_request(addresses.source_port, 7)
    } else {
        builder.icmpv4_echo_reply(addresses.destination_port, 7)
    };
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

proptest! {
    #[test]
    fn echo_gets_the_identifier_and_the_checksum_it_would_have_had(
        from in tuple(), to in tuple(), is_request: bool, payload in proptest::collection::vec(any::<u8>(), 0..40),
        damage: u16,
    ) {
        let query = |tuple: Tuple| if is_request {
            Tuple { destination_port: 0, ..tuple }
        } else {
            Tuple { source_port: 0, ..tuple }
        };
        let (from, to) = (query(from), query(to));
        let mut frame = echo(&from, 64, is_request, &payload);
        let mut wanted = echo(&to, 63, is_request, &payload);
        (wanted[..6]).copy_from_slice(&MACS.0.0);
        (wanted[6..12]).copy_from_slice(&MACS.1.0);
        let mut ip = ipv4(&frame);
        rewrite(&from, to).apply(&mut frame, &mut ip, Checksum::Complete);
        let L4::Icmp { identifier, .. } = ip.l4 else { panic!() };
        prop_assert_eq!(identifier, if is_request { to.source_port } else { to.destination_port });
        prop_assert!(crate::wire::checksum::is_valid(&frame[34..]));
        // Zero has two forms in one's complement; both say the same.
        frame[36..38].fill(0);
        wanted[36..38].fill(0);
        prop_assert_eq!(&frame, &wanted);

        // What came damaged leaves as damaged as it came.
        let mut damaged = echo(&from, 64, is_request, &payload);
        let field = u16::from_be_bytes([damaged[36], damaged[37]]) ^ damage;
        damaged[36..38].copy_from_slice(&field.to_be_bytes());
        let was_valid = crate::wire::checksum::is_valid(&damaged[34..]);
        let mut ip = ipv4(&damaged);
        rewrite(&from, to).apply(&mut damaged, &mut ip, Checksum::Complete);
        prop_assert_eq!(crate::wire::checksum::is_valid(&damaged[34..]), was_valid);
    }
}
