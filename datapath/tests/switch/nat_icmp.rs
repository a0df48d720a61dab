//! RFC 5508: queries. Errors about translated packets are elsewhere.

use protocol::PortId;
use protocol::link::Filtering;

use crate::common::*;
use crate::nat_bed::*;
use crate::services::only;

/// An echo request leaves; with which source and identifier.
#[track_caller]
fn pings(h: &mut Harness, (pod, from): (PortId, [u8; 4]), identifier: u16, to: [u8; 4]) -> ([u8; 4], u16) {
    let sent = leaves(h, pod, &echo_request(routed(from, to), identifier, b"ping"));
    let packet = decode(&sent);
    assert_eq!(packet.payload.slice(), b"ping");
    (ipv4_of(&packet).source, u16::from_be_bytes([sent[38], sent[39]]))
}

#[test]
fn rfc5508_req1_identifier_is_mapped_whoever_is_asked() {
    let mut h = harness_nat(Filtering::default());
    let (address, mapped) = pings(&mut h, (A, A_IP), 7, SERVER);
    assert!(address == NODE_IP && RANGE.contains(&mapped));
    assert_eq!(pings(&mut h, (A, A_IP), 7, OTHER), (address, mapped));
    let other = pings(&mut h, (VM, VM_IP), 7, SERVER);
    assert_ne!(other, (address, mapped), "one identifier in two pods");
    for (pod, to, identifier, server) in
        [(A, A_IP, mapped, SERVER), (A, A_IP, mapped, OTHER), (VM, VM_IP, other.1, SERVER)]
    {
        for _ in 0..2 {
            let (port, sent) =
                only(h.send(UPLINK, &echo_reply(outside(server, NODE_IP), identifier, b"pong")));
            let sent = ethernet(&sent);
            let packet = decode(sent);
            assert_eq!((port, ipv4_of(&packet).destination, ipv4_of(&packet).source), (pod, to, server));
            assert_eq!((&sent[38..40], packet.payload.slice()), (&[0, 7][..], &b"pong"[..]));
        }
    }
}

#[test]
fn rfc5508_req2_query_lasts_a_minute() {
    let mut h = harness_nat(Filtering::default());
    let (_, mapped) = pings(&mut h, (A, A_IP), 7, SERVER);
    later(&mut h, 59);
    let reply = echo_reply(outside(SERVER, NODE_IP), mapped, b"pong");
    assert_eq!(only(h.send(UPLINK, &reply)).0, A);
    later(&mut h, 1);
    refused(&mut h, UPLINK, &reply, "no_mapping");
}

#[test]
fn replies_that_nobody_asked_for_reach_nobody() {
    for filtering in [Filtering::AddressAndPortDependent, Filtering::EndpointIndependent] {
        let mut h = harness_nat(filtering);
        let (_, mapped) = pings(&mut h, (A, A_IP), 7, SERVER);
        let unasked = if filtering == Filtering::default() { "filtered_by_mapping" } else { "no_connection" };
        refused(&mut h, UPLINK, &echo_reply(outside(OTHER, NODE_IP), mapped, b"pong"), unasked);
        refused(&mut h, UPLINK, &echo_reply(outside(SERVER, NODE_IP), mapped ^ 2, b"pong"), "no_mapping");
        // A pod's answer to a question that it was not asked.
        refused(&mut h, A, &echo_reply(routed(A_IP, SERVER), 7, b"pong"), "no_connection");
        // Questions to the node are its own to answer.
        refused(&mut h, UPLINK, &echo_request(outside(SERVER, NODE_IP), mapped, b"ping"), "not_for_switch");
    }
}
