//! Connections that are there because of policies: their share, their successors in another process, and backends that refuse.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datapath::{Limits, Shared, Switch, SwitchOptions};
use protocol::link::{ConfigDelta, NodeConfig};
use serde_json::Value;

use super::bed::*;
use crate::common::*;
use crate::services::{ACK, SYN, SYN_ACK, VIP, WEB, at, backend, ends, only, put, segment, with_services};

const HIGH: u16 = 40_000;
/// Of the SYNs of `segment`.
const SEQUENCE: u32 = 1_000;

#[track_caller]
fn establishes(h: &mut Harness, port: u16) {
    passes(h, A, &segment(direct(A_IP, B_IP), (port, 80), SYN, b""), B);
    passes(h, B, &segment(direct(B_IP, A_IP), (80, port), SYN_ACK, b""), A);
    passes(h, A, &segment(direct(A_IP, B_IP), (port, 80), ACK, b""), B);
}

#[test]
fn a_pod_has_its_share_of_connections_and_others_theirs() {
    let limits =
        Limits { connections: 64, connections_per_port: 4, connection_reserve: 0, ..Limits::default() };
    let mut h = Harness::with(standard_ports(), limits);
    let mut world = World::new();
    world.isolate("b", &peers(&["a", "vm"]));
    world.tell_all(&mut h, node());
    h.deltas();
    (HIGH..HIGH + 4).for_each(|port| establishes(&mut h, port));
    let more = segment(direct(A_IP, B_IP), (HIGH + 9, 80), SYN, b"");
    h.assert_dropped(A, &more, "connection_share_used");
    // What it has goes on, and what nobody restricts needs no share.
    passes(&mut h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), ACK, b"x"), B);
    passes(&mut h, A, &segment(direct(A_IP, VM_IP), (HIGH + 9, 80), SYN, b""), VM);
    let vm = Path { from_mac: pod_mac(VM_IP), ..direct(VM_IP, B_IP) };
    passes(&mut h, VM, &segment(vm, (HIGH, 80), SYN, b""), B);
}

/// A process that finds `words` as its predecessor left them.
fn process(words: &'static [AtomicU64], limits: Limits) -> Harness {
    let mut h = Harness::bare(limits);
    let options = SwitchOptions { seed: 1, limits, has_peers: false, worker: 0 };
    h.switch = Switch::sharing(options, Arc::new(Shared::new(words, 1, &limits)));
    let node = Some(NodeConfig { policies: true, ..node() });
    h.apply(ConfigDelta { node, attach: standard_ports(), ..ConfigDelta::default() });
    h
}

#[test]
fn a_successor_goes_on_with_what_may_still_be_and_cuts_the_rest() {
    let limits = Limits { connections: 1 << 10, connection_reserve: 0, ..Limits::default() };
    let words: Vec<_> =
        std::iter::repeat_with(|| AtomicU64::new(0)).take(Shared::connection_words(&limits)).collect();
    let words: &'static [AtomicU64] = Box::leak(words.into_boxed_slice());
    let mut world = World::new();
    world.isolate("b", &peers(&["a"]));
    world.confine("b", &Value::Null);
    let mut h = process(words, limits);
    world.tell_all(&mut h, node());
    h.deltas();
    establishes(&mut h, HIGH);
    passes(&mut h, A, &udp(direct(A_IP, B_IP), 1000, 53, b""), B);
    drop(h);

    let mut h = process(words, limits);
    h.deltas();
    assert_eq!(h.switch.summary().connections, 2);
    // Until it is told it lets nothing pass, and forgets nothing.
    let answers =
        [segment(direct(B_IP, A_IP), (80, HIGH), ACK, b"y"), udp(direct(B_IP, A_IP), 53, 1000, b"")];
    answers.iter().for_each(|answer| h.assert_dropped(B, answer, "policy_not_ready"));
    assert_eq!(h.switch.summary().connections, 2);
    world.tell_all(&mut h, node());
    h.deltas();
    answers.iter().for_each(|answer| passes(&mut h, B, answer, A));
    h.assert_dropped(B, &udp(direct(B_IP, A_IP), 53, 1001, b""), "policy_denied_egress");
    drop(h);

    world.isolate("b", &peers(&["vm"]));
    let mut h = process(words, limits);
    world.tell_all(&mut h, node());
    h.deltas();
    answers.iter().for_each(|answer| h.assert_dropped(B, answer, "policy_denied_ingress"));
    assert_eq!(h.switch.summary().connections, 0);
}

#[test]
fn a_syn_that_is_offered_again_is_asked_for_again() {
    for is_allowed in [false, true] {
        let mut h = with_services(Harness::with(standard_ports(), Limits::default()), &[B_IP]);
        let mut world = World::new();
        world.isolate("b", &peers(&["a"]));
        world.isolate("vm", &if is_allowed { peers(&["a"]) } else { Value::Null });
        let service_cidr = Some("10.96.0.0/16".parse().unwrap());
        world.tell_all(&mut h, NodeConfig { service_cidr, ..node() });
        h.deltas();
        passes(&mut h, A, &segment(routed(A_IP, VIP), (HIGH, 80), SYN, b""), B);
        let backends = vec![put(WEB, &[backend(B_IP, 8080), backend(VM_IP, 8080)])];
        h.apply(ConfigDelta { backends, ..ConfigDelta::default() });
        h.deltas();
        let sent = h.send(B, &refusal());
        if is_allowed {
            let (to, sent) = only(sent);
            assert_eq!((to, ends(ethernet(&sent))), (VM, (at(A_IP, HIGH), at(VM_IP, 8080))));
        } else {
            assert_eq!(sent, []);
            assert_eq!(h.switch.denials(0, 9).0.len(), 1);
            assert_eq!(h.switch.summary().connections, 0);
        }
    }
}

/// B refuses the SYN of A.
fn refusal() -> Vec<u8> {
    let path = direct(B_IP, A_IP);
    let builder = etherparse::PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .tcp(8080, HIGH, 0, 0)
        .rst()
        .ack(SEQUENCE + 1);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

#[test]
fn what_allows_a_connection_is_counted_once() {
    let mut world = World::new();
    world.isolate("b", &peers(&["a"]));
    let mut h = asking(&mut world);
    establishes(&mut h, HIGH);
    passes(&mut h, A, &udp(direct(A_IP, B_IP), 1000, 53, b""), B);
    let allowed = |h: &Harness| h.switch.policies_page(0, 9).0[0].allowed;
    assert_eq!(allowed(&h), 2);
    h.wait(std::time::Duration::from_millis(10));
    // Another configuration: asked about again, but no other connection.
    world.confine("vm", &Value::Null);
    world.tell(&mut h);
    passes(&mut h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), ACK, b""), B);
    passes(&mut h, B, &udp(direct(B_IP, A_IP), 53, 1000, b""), A);
    assert_eq!(allowed(&h), 2);
    establishes(&mut h, HIGH + 1);
    assert_eq!(allowed(&h), 3);
}
