//! RFC 5382, requirement by requirement.

use std::net::Ipv4Addr;

use protocol::PortId;
use protocol::link::Filtering;

use crate::common::*;
use crate::nat_bed::*;
use crate::services::{ACK, SYN, SYN_ACK, at, ends, only, segment};

const CLOSED: Filtering = Filtering::AddressAndPortDependent;
const OPEN: Filtering = Filtering::EndpointIndependent;
const WEB: ([u8; 4], u16) = (SERVER, 80);

fn out(from: [u8; 4], port: u16, to: ([u8; 4], u16), flags: &str) -> Vec<u8> {
    segment(routed(from, to.0), (port, to.1), flags, b"")
}

fn back(from: ([u8; 4], u16), to: End, flags: &str) -> Vec<u8> {
    segment(outside(from.0, to.0.octets()), (from.1, to.1), flags, b"")
}

/// A pod's segment leaves; as what.
#[track_caller]
fn sends(h: &mut Harness, pod: PortId, frame: &[u8]) -> End {
    ends(&leaves(h, pod, frame)).0
}

/// Through the handshake.
#[track_caller]
fn establish(h: &mut Harness, port: u16) -> End {
    let mapped = sends(h, A, &out(A_IP, port, WEB, SYN));
    reaches(h, &back(WEB, mapped, SYN_ACK), A);
    assert_eq!(sends(h, A, &out(A_IP, port, WEB, ACK)), mapped);
    mapped
}

#[test]
fn rfc5382_req1_mapping_is_endpoint_independent() {
    let mut h = harness_nat(CLOSED);
    let mapped = establish(&mut h, 4000);
    assert_eq!(mapped.0, Ipv4Addr::from(NODE_IP));
    for to in [(SERVER, 443), (OTHER, 80)] {
        assert_eq!(sends(&mut h, A, &out(A_IP, 4000, to, SYN)), mapped);
        assert_eq!(reaches(&mut h, &back(to, mapped, SYN_ACK), A), (at(to.0, to.1), at(A_IP, 4000)));
    }
    let udp = asks(&mut h, (A, A_IP), 4000, (SERVER, 80));
    assert_eq!(udp.0, mapped.0, "RFC 6888 REQ-2: one address for all protocols");
}

#[test]
fn rfc5382_req2_all_valid_sequences_pass() {
    let mut h = harness_nat(CLOSED);
    let mapped = establish(&mut h, 4000);
    for (flags_out, flags_back) in [(ACK, ACK), ("FA", ACK), (ACK, "FA"), (ACK, ACK)] {
        assert_eq!(sends(&mut h, A, &out(A_IP, 4000, WEB, flags_out)), mapped);
        reaches(&mut h, &back(WEB, mapped, flags_back), A);
    }
    // The same ends again, while the first is in TIME-WAIT.
    let again = establish(&mut h, 4000);
    assert_eq!(again, mapped);
    // Simultaneous open.
    let mapped = sends(&mut h, A, &out(A_IP, 4002, WEB, SYN));
    reaches(&mut h, &back(WEB, mapped, SYN), A);
    assert_eq!(sends(&mut h, A, &out(A_IP, 4002, WEB, SYN_ACK)), mapped);
    reaches(&mut h, &back(WEB, mapped, SYN_ACK), A);
    assert_eq!(sends(&mut h, A, &out(A_IP, 4002, WEB, ACK)), mapped);
}

#[test]
fn rfc5382_req3_filtering_is_as_for_udp() {
    let mut h = harness_nat(CLOSED);
    let mapped = establish(&mut h, 4000);
    for stranger in [(SERVER, 81), (OTHER, 80)] {
        for flags in [SYN, SYN_ACK, ACK, "R"] {
            refused(&mut h, UPLINK, &back(stranger, mapped, flags), "filtered_by_mapping");
        }
    }
    let mut h = harness_nat(OPEN);
    let mapped = establish(&mut h, 4000);
    let peer = (OTHER, 5000);
    assert_eq!(reaches(&mut h, &back(peer, mapped, SYN), A), (at(OTHER, 5000), at(A_IP, 4000)));
    assert_eq!(sends(&mut h, A, &out(A_IP, 4000, peer, SYN_ACK)), mapped);
    reaches(&mut h, &back(peer, mapped, ACK), A);
    // What begins nothing belongs to nothing.
    refused(&mut h, UPLINK, &back((OTHER, 5001), mapped, ACK), "no_connection");
}

#[test]
fn rfc5382_req4_unsolicited_syn_is_dropped_in_silence_and_one_from_inside_goes_on() {
    let mut h = harness_nat(CLOSED);
    let mapped = establish(&mut h, 4000);
    let peer = (OTHER, 5000);
    refused(&mut h, UPLINK, &back(peer, mapped, SYN), "filtered_by_mapping");
    refused(&mut h, UPLINK, &back(peer, (mapped.0, mapped.1 ^ 2), SYN), "no_mapping");
    h.wait(std::time::Duration::from_secs(5));
    assert_eq!(sends(&mut h, A, &out(A_IP, 4000, peer, SYN)), mapped);
    h.wait(std::time::Duration::from_secs(2));
    // Not before six seconds, nor at all (REQ-4 a).
    assert!(h.run_timers().iter().all(|frame| frame[12..14] == [8, 6]), "nothing but ARP");
    reaches(&mut h, &back(peer, mapped, SYN), A);
}

#[test]
fn rfc5382_req5_established_two_hours_and_four_minutes_others_four_minutes() {
    let state = |h: &Harness| {
        let rows = h.switch.connections_page(0, 9, h.now).0;
        rows.iter().map(|row| row.state.clone()).find(|state| state != "MAPPING")
    };
    let goes_after = |h: &mut Harness, seconds: u64| {
        let before = state(h);
        later(h, seconds - 1);
        assert_eq!(state(h), before);
        later(h, 1);
        assert_eq!(state(h), None);
        later(h, 1);
        assert_eq!(table(h), (0, 0), "REQ-8 A of RFC 6888: the port is free at once");
    };
    let mut h = harness_nat(CLOSED);
    sends(&mut h, A, &out(A_IP, 4000, WEB, SYN));
    goes_after(&mut h, 240);
    establish(&mut h, 4000);
    goes_after(&mut h, 7440);
    let mapped = establish(&mut h, 4000);
    sends(&mut h, A, &out(A_IP, 4000, WEB, "FA"));
    reaches(&mut h, &back(WEB, mapped, "FA"), A);
    sends(&mut h, A, &out(A_IP, 4000, WEB, ACK));
    assert_eq!(state(&h).unwrap(), "TIME_WAIT");
    goes_after(&mut h, 240);
    // RFC 7857 §2.2: what a forged reset ended goes on if it goes on.
    let mapped = establish(&mut h, 4000);
    reaches(&mut h, &back(WEB, mapped, "R"), A);
    later(&mut h, 239);
    assert_eq!(sends(&mut h, A, &out(A_IP, 4000, WEB, ACK)), mapped);
    goes_after(&mut h, 240);
}

#[test]
fn rfc5382_req7_no_port_is_two_pods() {
    let mut h = harness_nat(CLOSED);
    let mut seen = std::collections::BTreeSet::new();
    for port in 4000..4200 {
        assert!(seen.insert(sends(&mut h, A, &out(A_IP, port, WEB, SYN))));
        assert!(seen.insert(sends(&mut h, VM, &out(VM_IP, port, WEB, SYN))));
    }
}

#[test]
fn rfc5382_req8_pods_meet_by_their_external_endpoints() {
    for filtering in [OPEN, CLOSED] {
        let mut h = harness_nat(filtering);
        let a = establish(&mut h, 4000);
        let b = sends(&mut h, B, &out(B_IP, 5000, WEB, SYN));
        let send = |h: &mut Harness, pod: PortId, frame: &[u8]| {
            let (port, sent) = only(h.send(pod, frame));
            (port, ends(ethernet(&sent)))
        };
        let (b_end, a_end) = ((b.0.octets(), b.1), (a.0.octets(), a.1));
        let syn = out(A_IP, 4000, b_end, SYN);
        if filtering == OPEN {
            assert_eq!(send(&mut h, A, &syn), (B, (a, at(B_IP, 5000))));
            assert_eq!(send(&mut h, B, &out(B_IP, 5000, a_end, SYN_ACK)), (A, (b, at(A_IP, 4000))));
        } else {
            refused(&mut h, A, &syn, "filtered_by_mapping");
            assert_eq!(send(&mut h, B, &out(B_IP, 5000, a_end, SYN)), (A, (b, at(A_IP, 4000))));
            assert_eq!(send(&mut h, A, &out(A_IP, 4000, b_end, SYN_ACK)), (B, (a, at(B_IP, 5000))));
            assert_eq!(send(&mut h, B, &out(B_IP, 5000, a_end, SYN_ACK)), (A, (b, at(A_IP, 4000))));
        }
        assert_eq!(send(&mut h, A, &out(A_IP, 4000, b_end, ACK)), (B, (a, at(B_IP, 5000))));
    }
}

#[test]
fn middle_of_a_connection_that_nobody_knows_is_reset_inside() {
    let mut h = harness_nat(CLOSED);
    let (port, sent) = only(h.send(A, &out(A_IP, 4000, WEB, ACK)));
    assert_eq!((port, ends(ethernet(&sent))), (A, (at(SERVER, 80), at(A_IP, 4000))));
    h.assert_deltas([(A, Delta::refused_with_error("no_connection"))]);
    assert_eq!(table(&h), (0, 0));
}

#[test]
fn superframe_leaves_whole() {
    let mut h = harness_nat(CLOSED);
    let mapped = establish(&mut h, 4000);
    let mut frame = segment(routed(A_IP, SERVER), (4000, 80), ACK, &[7; 20_000]);
    make_partial(&mut frame, 16);
    let vnet = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    let (port, sent) = only(h.send_with(A, vnet, &frame));
    let path = Path { from_mac: NIC, to_mac: ROUTER, from: NODE_IP, to: SERVER, ttl: 63 };
    let mut wanted = segment(path, (mapped.1, 80), ACK, &[7; 20_000]);
    make_partial(&mut wanted, 16);
    assert_eq!((port, Vnet::of(&sent)), (UPLINK, vnet));
    assert_eq!(ethernet(&sent), wanted);
}
