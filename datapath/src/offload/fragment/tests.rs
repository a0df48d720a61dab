use etherparse::{IpFragOffset, Ipv4Header as Written, Ipv4Options};
use proptest::prelude::*;

use super::*;
use crate::wire::{Body, Packet};

/// An Ethernet frame with a packet of this header.
fn frame_of(header: &Written, body: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header.set_payload_len(body.len()).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut frame = [&[2; 12][..], &[8, 0][..]].concat();
    header.write(&mut frame).unwrap();
    frame.extend_from_slice(body);
    frame
}

fn parsed(frame: &[u8]) -> Ipv4 {
    match Packet::parse(frame).unwrap().body {
        Body::Ipv4(ip) => ip,
        Body::Arp(_) => panic!("no ARP was made"),
    }
}

/// Headers and bodies of the fragments, which are checked as packets.
fn cut_up(frame: &[u8], mtu: usize) -> Vec<(Written, Vec<u8>)> {
    let mut scratch = vec![0xff; VNET_HDR_LEN + frame.len()];
    let mut made = Vec::new();
    cut(frame, &parsed(frame), mtu, &mut scratch, |fragment| {
        let (vnet, ethernet) = fragment.split_at(VNET_HDR_LEN);
        assert!(vnet.iter().all(|byte| *byte == 0));
        assert_eq!(ethernet[..ETHERNET_HDR_LEN], frame[..ETHERNET_HDR_LEN]);
        parsed(ethernet);
        let (header, body) = Written::from_slice(&ethernet[ETHERNET_HDR_LEN..]).unwrap();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert!(ethernet.len() - ETHERNET_HDR_LEN <= mtu, "larger than the link");
        made.push((header, body.to_vec()));
        true
    });
    made
}

prop_compose! {
    /// A whole datagram, or the middle of one, with options or without.
    fn packets()(
        body in proptest::collection::vec(any::<u8>(), 64..6000),
        units in prop_oneof![Just(0_u16), 2..5000_u16],
        more in any::<bool>(),
        // Record route, three hops, is for the first alone; a router alert goes with all.
        options in proptest::sample::select(vec![vec![], vec![7, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 148, 4, 0, 0, 0]]),
        identification in any::<u16>(),
    ) -> (Written, Vec<u8>) {
        let mut header = Written::new(0, 64, 253.into(), [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.dont_fragment = false;
        header.identification = identification;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(units).unwrap();
        header.options = Ipv4Options::try_from(&options[..]).unwrap();
        let mut body = body;
        if more {
            body.truncate(body.len() / UNIT * UNIT);
        }
        (header, body)
    }
}

proptest! {
    #[test]
    fn fragments_together_are_the_packet((header, body) in packets(), mtu in 88..1600_usize) {
        let made = cut_up(&frame_of(&header, &body), mtu);
        let mut together = Vec::new();
        for (number, (fragment, piece)) in made.iter().enumerate() {
            let is_last = number + 1 == made.len();
            let offset = usize::from(header.fragment_offset.value()) * UNIT + together.len();
            prop_assert_eq!(usize::from(fragment.fragment_offset.value()) * UNIT, offset);
            prop_assert_eq!(fragment.more_fragments, !is_last || header.more_fragments);
            prop_assert_eq!(fragment.identification, header.identification);
            prop_assert_eq!((fragment.time_to_live, fragment.protocol), (header.time_to_live, header.protocol));
            prop_assert_eq!((fragment.source, fragment.destination), (header.source, header.destination));
            prop_assert_eq!(fragment.options.len(), header.options.len());
            let options = fragment.options.as_slice();
            if number == 0 {
                prop_assert_eq!(options, header.options.as_slice());
            } else if !options.is_empty() {
                prop_assert_eq!(&options[..11], &[NO_OPERATION; 11][..]);
                prop_assert_eq!(&options[11..], &[148, 4, 0, 0, 0][..]);
            }
            together.extend_from_slice(piece);
        }
        prop_assert_eq!(together, body);
    }
}

#[test]
fn cutting_ends_when_a_fragment_is_not_taken() {
    let header = Written::new(0, 64, 253.into(), [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
    let frame = frame_of(&header, &[7; 4000]);
    let mut asked = 0;
    let mut scratch = vec![0; VNET_HDR_LEN + frame.len()];
    cut(&frame, &parsed(&frame), 1000, &mut scratch, |_| {
        asked += 1;
        asked < 2
    });
    assert_eq!(asked, 2);
}
