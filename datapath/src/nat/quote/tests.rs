//! Against building it again: an error with a rewritten quote is the error about the packet that was to be quoted.

use std::net::Ipv4Addr;

use etherparse::{IpHeaders, Ipv4Header as Built, Ipv4Options, PacketBuilder};
use proptest::prelude::*;
use protocol::Mac;

use super::*;
use crate::wire::{Body, Packet, icmp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    UdpWithoutChecksum,
    Request,
    Reply,
}

const KINDS: [Kind; 5] = [Kind::Tcp, Kind::Udp, Kind::UdpWithoutChecksum, Kind::Request, Kind::Reply];

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

impl Kind {
    /// A query has its identifier at one side.
    fn ports(self, tuple: Tuple) -> Tuple {
        match self {
            Self::Tcp | Self::Udp | Self::UdpWithoutChecksum => tuple,
            Self::Request => Tuple { destination_port: 0, ..tuple },
            Self::Reply => Tuple { source_port: 0, ..tuple },
        }
    }

    /// The IP packet.
    fn packet(self, tuple: &Tuple, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut header =
            Built::new(0, 9, 0.into(), tuple.source.octets(), tuple.destination.octets()).unwrap();
        header.options = Ipv4Options::try_from(options).unwrap();
        let builder = PacketBuilder::ip(IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()));
        let mut packet = Vec::new();
        match self {
            Self::Tcp => builder
                .tcp(tuple.source_port, tuple.destination_port, 1, 2)
                .write(&mut packet, payload)
                .unwrap(),
            Self::Udp | Self::UdpWithoutChecksum => {
                builder.udp(tuple.source_port, tuple.destination_port).write(&mut packet, payload).unwrap();
            }
            Self::Request => {
                builder.icmpv4_echo_request(tuple.source_port, 1).write(&mut packet, payload).unwrap();
            }
            Self::Reply => {
                builder.icmpv4_echo_reply(tuple.destination_port, 1).write(&mut packet, payload).unwrap();
            }
        }
        if self == Self::UdpWithoutChecksum {
            let field = 20 + options.len() + UDP_CHECKSUM;
            packet[field..field + 2].fill(0);
        }
        packet
    }

    fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => TCP_CHECKSUM,
            Self::Udp | Self::UdpWithoutChecksum => UDP_CHECKSUM,
            Self::Request | Self::Reply => ICMP_CHECKSUM,
        }
    }
}

/// An error about a packet, quoted so far.
fn error(packet: &[u8], quoted: usize) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0x78];
    message.extend_from_slice(&packet[..quoted.min(packet.len())]);
    icmp::store_checksum(&mut message);
    let length = u16::try_from(message.len()).unwrap();
    let header = Built::new(length, 64, ip_number::ICMP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
    let mut frame = [&Mac([2; 6]).0[..], &[4; 6], &[8, 0]].concat();
    header.write(&mut frame).unwrap();
    [frame, message].concat()
}

fn ipv4(frame: &[u8]) -> Ipv4 {
    match Packet::parse(frame).unwrap().body {
        Body::Ipv4(ip) => ip,
        Body::Arp(_) => panic!(),
    }
}

proptest! {
    #[test]
    fn rewritten_quote_is_that_of_the_packet_that_was_sent(
        kind in proptest::sample::select(&KINDS[..]),
        from in tuple(),
        to in tuple(),
        options in (0..=10usize).prop_map(|words| vec![1; words * 4]),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        // Half a checksum means nothing, and stays.
        quoted in (4..100usize).prop_map(|words| words * 2),
    ) {
        let (from, to) = (kind.ports(from), kind.ports(to));
        let quoted = 20 + options.len() + quoted;
        let mut frame = error(&kind.packet(&from, &options, &payload), quoted);
        let mut wanted = error(&kind.packet(&to, &options, &payload), quoted);

        let ip = ipv4(&frame);
        let quote = Quote::read(&frame, &ip).unwrap();
        prop_assert!(quote.is_intact);
        prop_assert_eq!(quote.key().tuple(), from);
        quote.rewrite(&mut frame, to);
        icmp::store_checksum(&mut frame[ip.l4_offset()..]);
        prop_assert!(checksum::is_valid(&frame[ip.l4_offset()..]));
        prop_assert_eq!(Quote::read(&frame, &ip).unwrap().key().tuple(), to);

        // Both forms of zero are one checksum, also of what sums over it.
        let field = ip.payload_offset() + 20 + options.len() + kind.checksum_offset();
        let error_field = ip.l4_offset() + ICMP_CHECKSUM;
        for field in [field, error_field] {
            if field + 2 <= frame.len() {
                let of = |bytes: &[u8]| u16::from_be_bytes([bytes[field], bytes[field + 1]]) % 0xffff;
                prop_assert_eq!(of(&frame), of(&wanted));
                wanted[field..field + 2].copy_from_slice(&frame.clone()[field..field + 2]);
            }
        }
        prop_assert_eq!(frame, wanted);
    }

    #[test]
    fn any_quote_is_read_and_rewritten_without_harm(
        message in proptest::collection::vec(any::<u8>(), 8..80),
        to in tuple(),
        is_ipv4: bool,
    ) {
        let mut frame = error(&message, message.len());
        if is_ipv4 {
            frame[42] = 0x45;
        }
        let ip = ipv4(&frame);
        let before = frame.clone();
        if let Some(quote) = Quote::read(&frame, &ip) {
            quote.rewrite(&mut frame, to);
        }
        prop_assert_eq!(&frame[..42], &before[..42], "only the quote");
        prop_assert_eq!(frame.len(), before.len());
    }
}

#[test]
fn only_what_tells_its_connection_is_a_quote() {
    let tuple = Tuple {
        source: [10, 0, 0, 2].into(),
        destination: [10, 0, 0, 3].into(),
        source_port: 4000,
        destination_port: 53,
    };
    let packet = Kind::Udp.packet(&tuple, &[], &[0; 20]);
    let read = |packet: &[u8], quoted| {
        let frame = error(packet, quoted);
        Quote::read(&frame, &ipv4(&frame)).map(|quote| quote.key().tuple())
    };
    assert_eq!(read(&packet, 28), Some(tuple));
    for quoted in [0, 1, 19, 20, 27] {
        assert_eq!(read(&packet, quoted), None, "{quoted} bytes");
    }
    let with = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        read(&packet, 28)
    };
    assert_eq!(with(0, 0x65), None, "not IPv4");
    assert_eq!(with(7, 1), None, "a later fragment");
    assert_eq!(with(9, 47), None, "a protocol without ports");
    assert_eq!(with(9, 1), None, "an ICMP message that is no query");
}
