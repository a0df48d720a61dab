//! RFC 4787, requirement by requirement.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use protocol::PortId;
use protocol::link::{EgressRule, Filtering, PortConfig};

use crate::common::*;
use crate::nat_bed::*;
use crate::services::{at, ends, only};

const POD_A: (PortId, [u8; 4]) = (A, A_IP);
const POD_B: (PortId, [u8; 4]) = (B, B_IP);
const POD_VM: (PortId, [u8; 4]) = (VM, VM_IP);
const CLOSED: Filtering = Filtering::AddressAndPortDependent;
const OPEN: Filtering = Filtering::EndpointIndependent;

#[test]
fn rfc4787_req1_mapping_is_endpoint_independent() {
    let mut h = harness_nat(CLOSED);
    let mapped = asks(&mut h, POD_A, 4000, (SERVER, 53));
    assert!(mapped.0 == Ipv4Addr::from(NODE_IP) && RANGE.contains(&mapped.1));
    for to in [(SERVER, 53), (SERVER, 54), (OTHER, 53), (OTHER, 9), (ROUTER_IP, 53)] {
        assert_eq!(asks(&mut h, POD_A, 4000, to), mapped);
        assert_eq!(reaches(&mut h, &answer(to, mapped), A), (at(to.0, to.1), at(A_IP, 4000)));
    }
    assert_ne!(asks(&mut h, POD_A, 4002, (SERVER, 53)), mapped);
    assert_eq!(table(&h), (2, 6));
}

#[test]
fn rfc4787_req2_pod_has_one_external_address() {
    let mut h = harness_nat(CLOSED);
    for port in 4000..4020 {
        assert_eq!(asks(&mut h, POD_A, port, (SERVER, 53)).0, Ipv4Addr::from(NODE_IP));
        assert_eq!(asks(&mut h, POD_B, port, (SERVER, 53)), at(EGRESS_IP, port));
    }
    let ping = leaves(&mut h, B, &echo_request(routed(B_IP, SERVER), 7, b"ping"));
    assert_eq!(ping[26..30], EGRESS_IP);
    // A rule that comes later is for new mappings.
    let rule =
        EgressRule { sources: vec!["10.244.0.0/24".parse().unwrap()], address: [192, 0, 2, 71].into() };
    configure(&mut h, |uplink| uplink.egress.push(rule.clone()));
    assert_eq!(asks(&mut h, POD_A, 4000, (OTHER, 53)).0, Ipv4Addr::from(NODE_IP), "as it was");
    assert_eq!(asks(&mut h, POD_A, 5000, (OTHER, 53)).0, Ipv4Addr::new(192, 0, 2, 71));
}

#[test]
fn rfc4787_req3_no_port_is_two_pods_and_well_known_ports_stay_so() {
    let mut h = harness_nat(CLOSED);
    let mut seen = std::collections::BTreeSet::new();
    for port in 4000..4400 {
        for pod in [POD_A, POD_VM] {
            let mapped = asks(&mut h, pod, port, (SERVER, 53));
            assert!(RANGE.contains(&mapped.1) && seen.insert(mapped), "{mapped:?} is overloaded");
        }
    }
    // As far as the range allows: that of an address of the switch's own does.
    assert_eq!(asks(&mut h, POD_B, 500, (SERVER, 53)), at(EGRESS_IP, 500));
    assert_eq!(asks(&mut h, POD_B, 5000, (SERVER, 53)), at(EGRESS_IP, 5000));
    assert!(asks(&mut h, POD_A, 500, (SERVER, 53)).1 >= 61_000);
}

#[test]
fn rfc4787_req4_parity_is_kept() {
    let mut h = harness_nat(CLOSED);
    for port in 4000..4100 {
        assert_eq!(asks(&mut h, POD_A, port, (SERVER, 53)).1 % 2, port % 2);
    }
}

#[test]
fn rfc4787_req5_mapping_lasts_five_minutes_and_that_of_a_question_less() {
    let mut h = harness_nat(CLOSED);
    let server = (SERVER, 5000);
    let mapped = asks(&mut h, POD_A, 4000, server);
    later(&mut h, 299);
    assert_eq!(asks(&mut h, POD_A, 4000, (OTHER, 5000)), mapped);
    reaches(&mut h, &answer(server, mapped), A);
    later(&mut h, 1);
    refused(&mut h, UPLINK, &answer(server, mapped), "filtered_by_mapping");
    later(&mut h, 298);
    reaches(&mut h, &answer((OTHER, 5000), mapped), A);
    later(&mut h, 2);
    refused(&mut h, UPLINK, &answer((OTHER, 5000), mapped), "no_mapping");

    // REQ-5 a: a question to a well-known port, and its answer.
    let mapped = asks(&mut h, POD_A, 4002, (SERVER, 53));
    reaches(&mut h, &answer((SERVER, 53), mapped), A);
    later(&mut h, 30);
    refused(&mut h, UPLINK, &answer((SERVER, 53), mapped), "no_mapping");
}

#[test]
fn rfc4787_req6_only_what_goes_out_refreshes() {
    for filtering in [CLOSED, OPEN] {
        let mut h = harness_nat(filtering);
        let server = (SERVER, 5000);
        let mapped = asks(&mut h, POD_A, 4000, server);
        for _ in 0..29 {
            later(&mut h, 10);
            reaches(&mut h, &answer(server, mapped), A);
        }
        // Nor do those who come in by the mapping.
        if filtering == OPEN {
            reaches(&mut h, &answer((OTHER, 1), mapped), A);
        }
        later(&mut h, 10);
        let stranger = answer((OTHER, 2), mapped);
        refused(&mut h, UPLINK, &stranger, "no_mapping");
        refused(&mut h, UPLINK, &answer(server, mapped), "no_mapping");

        let mapped = asks(&mut h, POD_VM, 4000, server);
        for _ in 0..60 {
            later(&mut h, 10);
            assert_eq!(asks(&mut h, POD_VM, 4000, server), mapped);
        }
        reaches(&mut h, &answer(server, mapped), VM);
    }
}

#[test]
fn rfc4787_req8_filtering_is_by_address_and_port_or_not_at_all() {
    let mut h = harness_nat(CLOSED);
    let mapped = asks(&mut h, POD_A, 4000, (SERVER, 53));
    for stranger in [(SERVER, 54), (OTHER, 53)] {
        refused(&mut h, UPLINK, &answer(stranger, mapped), "filtered_by_mapping");
    }
    for nobody in [at(NODE_IP, mapped.1 ^ 2), at(EGRESS_IP, 4000)] {
        refused(&mut h, UPLINK, &answer((SERVER, 53), nobody), "no_mapping");
    }
    reaches(&mut h, &answer((SERVER, 53), mapped), A);

    let mut h = harness_nat(OPEN);
    let mapped = asks(&mut h, POD_A, 4000, (SERVER, 53));
    for stranger in [(SERVER, 54), (OTHER, 53)] {
        let (from, to) = reaches(&mut h, &answer(stranger, mapped), A);
        assert_eq!((from, to), (at(stranger.0, stranger.1), at(A_IP, 4000)));
        assert_eq!(asks(&mut h, POD_A, 4000, stranger), mapped, "and is answered");
    }
    refused(&mut h, UPLINK, &answer((SERVER, 53), at(NODE_IP, mapped.1 ^ 2)), "no_mapping");
}

#[test]
fn rfc4787_req9_pods_meet_by_their_external_endpoints() {
    let mut h = harness_nat(OPEN);
    let a = asks(&mut h, POD_A, 4000, (SERVER, 3478));
    let b = asks(&mut h, POD_B, 5000, (SERVER, 3478));
    let send = |h: &mut Harness, (pod, from): (PortId, [u8; 4]), port, to: End| {
        let (port, sent) = only(h.send(pod, &udp(routed(from, to.0.octets()), port, to.1, b"peer")));
        (port, ends(ethernet(&sent)))
    };
    for _ in 0..2 {
        assert_eq!(send(&mut h, POD_A, 4000, b), (B, (a, at(B_IP, 5000))), "REQ-9 a: external source");
        assert_eq!(send(&mut h, POD_B, 5000, a), (A, (b, at(A_IP, 4000))));
    }
    // Somebody who was not mapped yet is by that.
    let (to, (from, _)) = send(&mut h, POD_VM, 6000, b);
    assert!(to == B && from.0 == Ipv4Addr::from(NODE_IP) && from != a);
    refused(&mut h, A, &udp(routed(A_IP, EGRESS_IP), 4000, 5001, b"nobody's"), "no_mapping");
    refused(&mut h, A, &udp(routed(A_IP, a.0.octets()), 4000, a.1, b"itself"), "hairpin");
}

#[test]
fn rfc4787_req9_pods_that_filter_meet_once_both_have_sent() {
    let mut h = harness_nat(CLOSED);
    let a = asks(&mut h, POD_A, 4000, (SERVER, 3478));
    let b = asks(&mut h, POD_B, 5000, (SERVER, 3478));
    let from_a = udp(routed(A_IP, b.0.octets()), 4000, b.1, b"peer");
    let from_b = udp(routed(B_IP, a.0.octets()), 5000, a.1, b"peer");
    refused(&mut h, A, &from_a, "filtered_by_mapping");
    refused(&mut h, A, &from_a, "filtered_by_mapping");
    for _ in 0..2 {
        let (to, sent) = only(h.send(B, &from_b));
        assert_eq!((to, ends(ethernet(&sent))), (A, (b, at(A_IP, 4000))));
        let (to, sent) = only(h.send(A, &from_a));
        assert_eq!((to, ends(ethernet(&sent))), (B, (a, at(B_IP, 5000))));
    }
}

#[test]
fn rfc4787_req10_no_payload_is_touched() {
    let mut h = harness_nat(CLOSED);
    let payload = b"PORT 10,244,0,2,15,160\r\nContact: <sip:a@10.244.0.2:4000>";
    for port in [21, 69, 1723, 5060] {
        let sent = leaves(&mut h, A, &udp(routed(A_IP, SERVER), 4000, port, payload));
        assert_eq!(decode(&sent).payload.slice(), payload);
    }
}

#[test]
fn rfc4787_req11_conflicts_change_nothing_in_how_ports_are_mapped() {
    let mut h = harness_nat(CLOSED);
    // Both would keep the port if they could.
    let a = asks(&mut h, POD_A, 62_000, (SERVER, 53));
    let vm = asks(&mut h, POD_VM, 62_000, (SERVER, 53));
    assert_eq!(a, at(NODE_IP, 62_000));
    assert!(vm.1 != 62_000 && vm.1.is_multiple_of(2));
    for to in [(SERVER, 54), (OTHER, 53), (OTHER, 54)] {
        assert_eq!(asks(&mut h, POD_A, 62_000, to), a);
        assert_eq!(asks(&mut h, POD_VM, 62_000, to), vm);
    }
}

#[test]
fn rfc4787_req12_icmp_errors_end_no_mapping() {
    let mut h = harness_nat(CLOSED);
    let server = (SERVER, 5000);
    let mapped = asks(&mut h, POD_A, 4000, server);
    let quoted = leaves(&mut h, A, &udp(routed(A_IP, SERVER), 4000, 5000, b"?"));
    for code in [0, 1, 3, 4, 13] {
        let mut error = Vec::new();
        let path = outside(ROUTER_IP, NODE_IP);
        PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
            .ipv4(path.from, path.to, path.ttl)
            .icmpv4_raw(3, code, [0, 0, 5, 0])
            .write(&mut error, &quoted[14..])
            .unwrap();
        h.send(UPLINK, &error);
        assert_eq!(asks(&mut h, POD_A, 4000, server), mapped);
        reaches(&mut h, &answer(server, mapped), A);
    }
    later(&mut h, 299);
    reaches(&mut h, &answer(server, mapped), A);
}

#[test]
fn rfc4787_req13_what_is_too_big_for_the_link_is_told_inside_or_cut() {
    let mut h = harness_nat(CLOSED);
    h.update(PortConfig { ip_mtu: 1400, ..uplink_port() });
    introduce(&mut h, ROUTER, ROUTER_IP);
    let too_big = udp(routed(A_IP, SERVER), 4000, 5000, &[0; 1400]);
    told(&mut h, A, &too_big, "packet_too_big", [3, 4]);
    h.deltas();
    let sent = h.send(A, &may_be_cut(too_big));
    assert!(sent.len() == 2 && sent.iter().all(|(to, frame)| *to == UPLINK && frame.len() <= 12 + 14 + 1400));
    asks(&mut h, POD_A, 4000, (SERVER, 5000));
}

/// What the node is reached by changes: whoever appeared as the old address begins anew, with what it is now.
#[test]
fn mapping_to_an_address_that_is_no_more_is_given_up() {
    let mut h = harness_nat(CLOSED);
    let server = (SERVER, 5000);
    assert_eq!(asks(&mut h, POD_B, 5000, server), at(EGRESS_IP, 5000));
    configure(&mut h, |uplink| uplink.egress[0].address = [192, 0, 2, 71].into());
    assert_eq!(asks(&mut h, POD_B, 5000, server), at([192, 0, 2, 71], 5000));
    assert_eq!(asks(&mut h, POD_B, 5000, (OTHER, 9)), at([192, 0, 2, 71], 5000));
    let mapped = asks(&mut h, POD_A, 4000, server);
    configure(&mut h, |uplink| uplink.source_ports = 40_000..=40_099);
    h.deltas();
    let now = asks(&mut h, POD_A, 4000, server);
    assert!(now != mapped && (40_000..=40_099).contains(&now.1));
    reaches(&mut h, &answer(server, now), A);
}

#[test]
fn only_what_a_pod_sends_by_the_router_is_mapped() {
    let mut h = harness_nat(CLOSED);
    let exempt = leaves(&mut h, A, &udp(routed(A_IP, KNOWN_IP), 4000, 53, b"?"));
    assert_eq!(ends(&exempt).0, at(A_IP, 4000), "not translated");
    // Behind pods that are routers of their own.
    let by_vm = Path { to_mac: pod_mac(VM_IP), ..routed(A_IP, SERVER) };
    let (port, sent) = only(h.send(A, &udp(by_vm, 4000, 53, b"?")));
    assert_eq!((port, ends(ethernet(&sent)).0), (VM, at(A_IP, 4000)));
    let stranger = Path { from_mac: pod_mac(VM_IP), ..routed([8, 8, 4, 4], SERVER) };
    refused(&mut h, VM, &udp(stranger, 1, 2, b"as somebody else"), "spoofed_ip");
    // Nothing that cannot be translated leaves.
    told(&mut h, A, &ipv4(routed(A_IP, SERVER), 47, &[0; 16]), "no_route", [3, 0]);
    assert_eq!(table(&h), (0, 0));
}
