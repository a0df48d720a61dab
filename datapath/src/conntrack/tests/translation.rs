//! There and back again: a packet translated as the original direction, answered to its sender as it was.

use etherparse::PacketBuilder;
use proptest::prelude::*;
use protocol::Mac;

use super::*;
use crate::offload::checksum;
use crate::rewrite::Rewrite;
use crate::wire::ipv4::Ipv4;
use crate::wire::vnet::Checksum;
use crate::wire::{Body, Packet};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn frame(tuple: &Tuple, is_udp: bool, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(MAC.0, MAC.0);
    let builder = builder.ipv4(tuple.source.octets(), tuple.destination.octets(), 64);
    let (source, destination) = (tuple.source_port, tuple.destination_port);
    let mut frame = Vec::new();
    if is_udp {
        builder.udp(source, destination).write(&mut frame, payload).unwrap();
    } else {
        builder.tcp(source, destination, 1, 2).write(&mut frame, payload).unwrap();
    }
    frame
}

fn ipv4(frame: &[u8]) -> Ipv4 {
    match Packet::parse(frame).unwrap().body {
        Body::Ipv4(ip) => ip,
        Body::Arp(_) => panic!(),
    }
}

/// Translates as the connection of the frame says; gives which way it went.
fn pass(table: &Connections, frame: &mut [u8], checksum: Checksum) -> Direction {
    let mut ip = ipv4(frame);
    let hit = table.lookup(&Key::of(&ip).unwrap()).unwrap();
    let translation = table.translation(hit.id, hit.direction).unwrap();
    let rewrite = Rewrite { destination: MAC, source: MAC, peer: None, counts_hop: false };
    rewrite.apply(frame, &mut ip, checksum, Some(&translation));
    hit.direction
}

fn tuple() -> impl Strategy<Value = Tuple> {
    let address = prop_oneof![4 => any::<u32>(), 1 => Just(0), 1 => Just(u32::MAX)];
    let port = prop_oneof![4 => any::<u16>(), 1 => Just(0), 1 => Just(u16::MAX)];
    (address.clone(), address, port.clone(), port).prop_map(
        |(source, destination, source_port, destination_port)| Tuple {
            source: source.into(),
            destination: destination.into(),
            source_port,
            destination_port,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_out_and_comes_back_is_what_it_was(
        original in tuple(),
        server in (any::<u32>(), any::<u16>()),
        client in proptest::option::of(any::<u32>()),
        is_udp: bool,
        is_partial: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let table = table(2);
        let protocol = if is_udp { UDP } else { TCP };
        let new = NewConnection {
            protocol,
            original,
            server: (server.0.into(), server.1),
            client: client.map_or(Client::Kept, |client| Client::Address(client.into())),
            ..connection(protocol, (5, 1), (1, 80), 9)
        };
        let id = create(&table, &new);
        let reply = table.tuple(id, Direction::Reply).unwrap();
        prop_assert_eq!((reply.source, reply.source_port), (server.0.into(), server.1));
        prop_assert_eq!(reply.destination, client.map_or(original.source, Into::into));

        let checksum_kind = if is_partial { Checksum::Partial } else { Checksum::Complete };
        let mut out = frame(&original, is_udp, &payload);
        let mut wanted = frame(&reply.reversed(), is_udp, &payload);
        if is_partial {
            let (ip, wanted_ip) = (ipv4(&out), ipv4(&wanted));
            checksum::store_pseudo_header(&mut out, &ip);
            checksum::store_pseudo_header(&mut wanted, &wanted_ip);
        }
        prop_assert_eq!(pass(&table, &mut out, checksum_kind), Direction::Original);
        assert_same(&out, &wanted);

        // The server's answer, and what the client must see of it.
        let mut back = frame(&reply, is_udp, &payload);
        let mut wanted = frame(&original.reversed(), is_udp, &payload);
        if is_partial {
            let (ip, wanted_ip) = (ipv4(&back), ipv4(&wanted));
            checksum::store_pseudo_header(&mut back, &ip);
            checksum::store_pseudo_header(&mut wanted, &wanted_ip);
        }
        prop_assert_eq!(pass(&table, &mut back, checksum_kind), Direction::Reply);
        assert_same(&back, &wanted);
    }
}

/// Equal, but for the two forms of zero in a partial checksum, which whoever completes it adds alike.
#[track_caller]
fn assert_same(frame: &[u8], wanted: &[u8]) {
    let ip = ipv4(frame);
    let field = ip.l4_offset() + ip.l4.checksum_offset().unwrap();
    let checksum = |bytes: &[u8]| u16::from_be_bytes([bytes[field], bytes[field + 1]]) % 0xffff;
    assert_eq!(checksum(frame), checksum(wanted));
    let rest = |bytes: &[u8]| [&bytes[..field], &bytes[field + 2..]].concat();
    assert_eq!(rest(frame), rest(wanted));
}
