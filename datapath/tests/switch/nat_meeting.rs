//! Pods that meet by what they appear as, when that changes and when time passes.

use protocol::link::Filtering;

use crate::common::*;
use crate::nat_bed::*;
use crate::services::{at, ends, only};

const OPEN: Filtering = Filtering::EndpointIndependent;
const NEW_IP: [u8; 4] = [192, 0, 2, 71];

/// A pod sends to what another appears as; gives what it appears as itself.
#[track_caller]
fn meets(h: &mut Harness, (pod, from): ([u8; 4], u16), to: End, there: ([u8; 4], u16)) -> End {
    let ports = [(A, A_IP), (B, B_IP), (VM, VM_IP)];
    let port_of = |wanted| ports.into_iter().find(|(_, address)| *address == wanted).unwrap().0;
    let (port, sent) = only(h.send(port_of(pod), &udp(routed(pod, to.0.octets()), from, to.1, b"peer")));
    let (seen, reached) = ends(ethernet(&sent));
    assert_eq!((port, reached), (port_of(there.0), at(there.0, there.1)));
    seen
}

/// What is left of a connection from before its pod appeared as something else has the very addresses that the new one needs.
#[test]
fn connection_that_lost_its_address_is_in_nobodys_way() {
    let mut h = harness_nat(OPEN);
    let a = asks(&mut h, (A, A_IP), 4000, (SERVER, 5000));
    let before = asks(&mut h, (B, B_IP), 5000, (SERVER, 5000));
    assert_eq!(meets(&mut h, (B_IP, 5000), a, (A_IP, 4000)), before);
    configure(&mut h, |uplink| {
        uplink.filtering = OPEN;
        uplink.egress[0].address = NEW_IP.into();
    });
    let now = asks(&mut h, (B, B_IP), 5000, (OTHER, 9));
    assert_eq!(now, at(NEW_IP, 5000));
    // Neither of another pod nor of a server outside: each had a connection with what the pod was.
    assert_eq!(meets(&mut h, (A_IP, 4000), now, (B_IP, 5000)), a);
    assert_eq!(reaches(&mut h, &answer((SERVER, 5000), now), B), (at(SERVER, 5000), at(B_IP, 5000)));
}

/// RFC 4787 REQ-6: whatever goes out keeps the mapping it goes out by, also if the other end was quicker to keep the connection.
#[test]
fn each_end_of_a_connection_keeps_its_own_mapping() {
    let mut h = harness_nat(OPEN);
    let a = asks(&mut h, (A, A_IP), 4000, (SERVER, 5000));
    let vm = meets(&mut h, (VM_IP, 4001), a, (A_IP, 4000));
    later(&mut h, 150);
    assert_eq!(meets(&mut h, (A_IP, 4000), vm, (VM_IP, 4001)), a);
    assert_eq!(meets(&mut h, (VM_IP, 4001), a, (A_IP, 4000)), vm);
    later(&mut h, 160);
    for (outside, pod) in [(a, A), (vm, VM)] {
        reaches(&mut h, &answer((OTHER, 5000), outside), pod);
    }
    // What comes in keeps nothing.
    later(&mut h, 140);
    for (outside, port) in [(a, 4000), (vm, 4001)] {
        refused(&mut h, UPLINK, &answer((OTHER, port), outside), "no_mapping");
    }
}
