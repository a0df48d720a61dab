//! Whatever comes in by the uplink: what is for somebody else is neither forwarded nor answered, and nothing inside is reached but by a
//! service that is there for it.

use proptest::prelude::*;
use protocol::Mac;

use crate::common::*;
use crate::services::*;
use crate::uplink_services::with_uplink_services;

/// Addresses that mean something here, and some that do not.
fn address() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![
        4 => prop::sample::select(vec![
            NODE_IP, NODE_B_IP, LB_IP, EGRESS_IP, ROUTER_IP, HOST_IP, CLIENT_IP, KNOWN_IP, A_IP, B_IP, VM_IP, C_IP, GATEWAY_IP, VIP,
            [198, 18, 0, 8], [10, 244, 0, 255], [192, 0, 2, 255], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1], [0; 4],
        ]),
        1 => any::<[u8; 4]>(),
    ]
}

fn mac() -> impl Strategy<Value = Mac> {
    let known =
        vec![NIC, ROUTER, HOST, Mac::BROADCAST, Mac([0; 6]), router_mac(), gateway_mac(), pod_mac(A_IP)];
    prop_oneof![8 => prop::sample::select(known), 1 => any::<[u8; 6]>().prop_map(Mac)]
}

fn to_mac() -> impl Strategy<Value = Mac> {
    prop_oneof![3 => Just(NIC), 1 => mac()]
}

fn from_mac() -> impl Strategy<Value = Mac> {
    prop_oneof![3 => Just(ROUTER), 1 => mac()]
}

fn l4_port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => prop::sample::select(vec![22, 53, 80, 30_053, 30_080, 61_000, 61_500]), 1 => any::<u16>()]
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let path = (from_mac(), to_mac(), address(), address(), 0..3u8)
        .prop_map(|(from_mac, to_mac, from, to, ttl)| Path { from_mac, to_mac, from, to, ttl: ttl * 30 });
    let path = prop_oneof![
        path,
        (address(), address()).prop_map(|(from, to)| outside(from, to)),
        address().prop_map(|to| outside(CLIENT_IP, to)),
    ];
    let flags = prop::sample::select(vec![SYN, SYN_ACK, ACK, "R", "FA"]);
    prop_oneof![
        (path.clone(), l4_port(), l4_port()).prop_map(|(path, from, to)| udp(path, from, to, b"data")),
        (path.clone(), l4_port(), l4_port(), flags).prop_map(|(path, from, to, flags)| segment(
            path,
            (from, to),
            flags,
            b"data"
        )),
        (path.clone(), any::<u16>()).prop_map(|(path, id)| echo_request(path, id, b"ping")),
        (path, any::<u8>(), prop::collection::vec(any::<u8>(), 8..40))
            .prop_map(|(path, protocol, payload)| ipv4(path, protocol, &payload)),
        (from_mac(), to_mac(), mac(), 1..3u16, address(), address()).prop_map(
            |(source, destination, sender_mac, operation, sender_ip, target_ip)| {
                let sender_mac = if operation == 1 { source } else { sender_mac };
                let arp = ArpFrame {
                    source,
                    destination,
                    operation,
                    ..ArpFrame::request(sender_mac, sender_ip, target_ip)
                };
                arp.bytes()
            },
        ),
    ]
}

/// Whether a frame is for an address and port that the switch alone answers for.
fn is_for_a_service(frame: &[u8]) -> bool {
    let to = <[u8; 4]>::try_from(&frame[30..34]).unwrap();
    let port = u16::from_be_bytes([frame[36], frame[37]]);
    let is_tcp_or_udp = matches!(frame[23], 6 | 17);
    let node_port = match frame[23] {
        6 => port == 30_080,
        17 => port == 30_053,
        _ => false,
    };
    to == LB_IP || to == [198, 18, 0, 8] && is_tcp_or_udp || to == NODE_IP && node_port
}

fn is_inside(address: &[u8]) -> bool {
    matches!(address, [10, 244 | 96, ..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_for_somebody_else_is_neither_forwarded_nor_answered(
        frames in prop::collection::vec(packet(), 1..60),
        has_backends: bool,
    ) {
        let mut h = with_uplink_services(if has_backends { &[B_IP, C_IP][..] } else { &[] });
        for frame in &frames {
            h.wire.trains.clear();
            let sent = h.send(UPLINK, frame);
            let is_arp = frame[12..14] == [8, 6];
            for (port, sent) in &sent {
                let sent = ethernet(sent);
                if is_arp {
                    prop_assert_eq!(*port, UPLINK);
                    prop_assert!(frame[38..42] == LB_IP || frame[38..42] == EGRESS_IP, "an answer for another's address");
                    prop_assert_eq!(&sent[..6], &frame[6..12]);
                    continue;
                }
                prop_assert!(frame[..6] == NIC.0, "for another's MAC");
                prop_assert!(is_for_a_service(frame), "for another's address or port: {:02x?}", frame);
                prop_assert!(!is_inside(&frame[26..30]), "as from inside");
                if *port == UPLINK {
                    // A refusal, to whom the frame came from.
                    prop_assert_eq!((&sent[..6], &sent[6..12]), (&frame[6..12], &NIC.0[..]));
                    prop_assert_eq!((&sent[26..30], &sent[30..34]), (&frame[30..34], &frame[26..30]));
                } else {
                    prop_assert_eq!((*port, &sent[30..34]), (B, &B_IP[..]));
                }
            }
            for train in &h.wire.trains {
                prop_assert!(is_for_a_service(frame));
                prop_assert_eq!(&inner(&train.datagrams[0])[30..34], &C_IP[..]);
            }
            // Questions of its own are all that it may send beside that.
            for asked in h.run_timers() {
                prop_assert_eq!(&asked[12..22], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            }
        }
    }

    #[test]
    fn noise_on_the_uplink_is_survived(
        noise in prop::collection::vec(any::<u8>(), 0..120),
        ether_type in prop_oneof![Just(0x0800u16), Just(0x0806), any::<u16>()],
    ) {
        let mut h = harness_uplink();
        let frame = [ethernet_header(NIC, ROUTER, ether_type), noise].concat();
        h.send(UPLINK, &frame);
    }
}
