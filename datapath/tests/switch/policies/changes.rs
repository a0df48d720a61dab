//! A policy changes while flows go on.

use serde_json::Value;

use super::bed::*;
use crate::common::*;
use crate::nat_bed::echo_reply;
use crate::services::{ACK, SYN, SYN_ACK, segment};

const HIGH: u16 = 40_000;

#[track_caller]
fn opens(h: &mut Harness) {
    passes(h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), SYN, b""), B);
    passes(h, B, &segment(direct(B_IP, A_IP), (80, HIGH), SYN_ACK, b""), A);
    passes(h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), ACK, b""), B);
    passes(h, A, &udp(direct(A_IP, B_IP), 1000, 53, b""), B);
    passes(h, B, &udp(direct(B_IP, A_IP), 53, 1000, b""), A);
}

#[track_caller]
fn is_cut(h: &mut Harness) {
    h.assert_dropped(A, &segment(direct(A_IP, B_IP), (HIGH, 80), ACK, b""), "policy_denied_ingress");
    h.assert_dropped(B, &segment(direct(B_IP, A_IP), (80, HIGH), ACK, b""), "policy_denied_ingress");
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 1000, 53, b""), "policy_denied_ingress");
}

#[test]
fn a_flow_that_nobody_tracked_is_cut_by_the_first_policy() {
    let mut world = World::new();
    let mut h = asking(&mut world);
    opens(&mut h);
    assert_eq!(h.switch.summary().connections, 0);
    world.isolate("b", &Value::Null);
    world.tell(&mut h);
    is_cut(&mut h);
}

#[test]
fn a_tracked_flow_is_cut_when_its_rule_or_its_peers_label_goes() {
    for by_label in [false, true] {
        let mut world = World::new();
        world.isolate("b", &peers(&["a"]));
        let mut h = asking(&mut world);
        opens(&mut h);
        assert_eq!(h.switch.summary().connections, 2);
        if by_label {
            world.pod("a", A_IP, "n1", &[("app", "other")]);
        } else {
            world.isolate("b", &peers(&["c"]));
        }
        world.tell(&mut h);
        is_cut(&mut h);
        assert_eq!(h.switch.summary().connections, 0);
    }
}

#[test]
fn flows_that_stay_allowed_survive_a_policy_that_comes_and_goes() {
    let mut world = World::new();
    let mut h = asking(&mut world);
    opens(&mut h);
    world.isolate("b", &peers(&["a"]));
    let confined = world.confine("b", &Value::Null);
    world.tell(&mut h);
    // The answer is first: it is picked up by the way that is allowed.
    passes(&mut h, B, &segment(direct(B_IP, A_IP), (80, HIGH), ACK, b""), A);
    passes(&mut h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), ACK, b""), B);
    // A datagram says nothing about who asked.
    h.assert_dropped(B, &udp(direct(B_IP, A_IP), 53, 1000, b""), "policy_denied_egress");
    passes(&mut h, A, &udp(direct(A_IP, B_IP), 1000, 53, b""), B);
    passes(&mut h, B, &udp(direct(B_IP, A_IP), 53, 1000, b""), A);
    assert_eq!(h.switch.summary().connections, 2);
    world.forget(&confined);
    world.tell(&mut h);
    passes(&mut h, B, &segment(direct(B_IP, A_IP), (80, HIGH), ACK, b""), A);
    let isolated = world.isolate("b", &peers(&["a"]));
    world.forget(&isolated);
    world.tell(&mut h);
    passes(&mut h, B, &segment(direct(B_IP, A_IP), (80, HIGH), ACK, b""), A);
    passes(&mut h, A, &udp(direct(A_IP, B_IP), 1000, 53, b""), B);
    assert_eq!(h.switch.summary().connections, 0, "nobody has rules any more");
}

#[test]
fn fragments_follow_the_first_one() {
    let part = |path: Path, offset: u16, more: bool, payload: &[u8]| {
        let mut header = etherparse::Ipv4Header::new(0, 64, 17.into(), path.from, path.to).unwrap();
        header.identification = 77;
        (header.dont_fragment, header.more_fragments) = (false, more);
        header.fragment_offset = (offset / 8).try_into().unwrap();
        ipv4_with(path, header, payload)
    };
    let first = |to: u16| [&5u16.to_be_bytes()[..], &to.to_be_bytes(), &[0, 40, 0, 0], &[0; 16]].concat();
    let mut world = World::new();
    world.policy(
        "dns",
        &serde_json::json!({ "podSelector": { "matchLabels": { "app": "b" } },
            "ingress": [{ "ports": [{ "protocol": "UDP", "port": 53 }] }] }),
    );
    let mut h = asking(&mut world);
    let path = direct(A_IP, B_IP);
    // One that comes before the first waits for it, also while nothing was ever connected.
    assert_eq!(h.send(A, &part(path, 24, false, &[0; 16])), []);
    assert_eq!(h.send(A, &part(path, 0, true, &first(53))).len(), 2);
    assert_eq!(h.send(A, &part(path, 24, false, &[0; 16])).len(), 1);
    h.deltas();
    h.assert_dropped(A, &part(path, 0, true, &first(54)), "policy_denied_ingress");
    h.assert_dropped(A, &part(path, 24, false, &[0; 16]), "policy_denied_ingress");
}

#[test]
fn icmp_errors_pass_that_belong_to_a_connection() {
    let mut world = World::new();
    world.isolate("a", &Value::Null);
    let mut h = asking(&mut world);
    let sent = udp(direct(A_IP, B_IP), 1000, 53, b"question");
    passes(&mut h, A, &sent, B);
    let error = |quoted: &[u8]| {
        let builder = etherparse::PacketBuilder::ethernet2(pod_mac(B_IP).0, pod_mac(A_IP).0)
            .ipv4(B_IP, A_IP, 64)
            .icmpv4_raw(3, 3, [0; 4]);
        let mut frame = Vec::new();
        builder.write(&mut frame, quoted).unwrap();
        frame
    };
    passes(&mut h, B, &error(&sent[14..]), A);
    let other = udp(direct(A_IP, B_IP), 1001, 53, b"question");
    h.assert_dropped(B, &error(&other[14..]), "policy_denied_ingress");
    h.assert_dropped(B, &echo_reply(direct(B_IP, A_IP), 3, b""), "policy_denied_ingress");
}

#[test]
fn a_trace_names_the_policy_and_changes_nothing() {
    let mut world = World::new();
    world.isolate("b", &Value::Null);
    let mut h = asking(&mut world);
    let wanted = protocol::link::TracePacket {
        port: A,
        protocol: protocol::link::TraceProtocol::Udp,
        source: None,
        source_port: 5,
        destination: B_IP.into(),
        destination_port: 53,
        size: 60,
    };
    for _ in 0..2 {
        let trace = h.switch.trace(&wanted, h.now).unwrap();
        assert_eq!(trace.drop.as_deref(), Some("policy_denied_ingress"));
        let steps: Vec<_> = trace.steps.iter().filter(|step| step.step.ends_with("policy")).collect();
        let said = steps.iter().map(|step| (step.step.as_str(), step.result.as_str())).collect::<Vec<_>>();
        assert_eq!(said, [("egress policy", "allowed"), ("ingress policy", "denied")]);
        assert!(steps[1].reason.starts_with("isolated by policy"), "{}", steps[1].reason);
    }
    assert_eq!((h.switch.denials(0, 9), h.switch.policies_page(0, 9)), ((vec![], 0), (vec![], None)));
    assert_eq!(h.deltas(), [].into());
}
