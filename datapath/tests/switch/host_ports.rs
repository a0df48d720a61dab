//! Ports of the node that lead to a pod: at one of its addresses, and at what stands for its 127.0.0.1.

use protocol::ServiceId;
use protocol::link::{ConfigDelta, FrontendKind, ServiceConfig, Transport};

use crate::common::*;
use crate::services::*;

const HOST: ServiceId = ServiceId(9);
/// The first address of the service range, which no service has.
const STAND_IN: [u8; 4] = [10, 96, 0, 0];

/// Port 8080 of the node leads to port 80 of B.
fn with_host_port(mut h: Harness) -> Harness {
    let frontends = vec![
        frontend(FrontendKind::HostLocal, STAND_IN, 8080),
        frontend(FrontendKind::HostPort, NODE_IP, 8080),
    ];
    h.apply(ConfigDelta {
        services: vec![ServiceConfig { frontends, ..service(HOST, Transport::Udp, 8080) }],
        backends: vec![put(HOST, &[backend(B_IP, 80)])],
        ..ConfigDelta::default()
    });
    h
}

fn bed() -> Harness {
    with_host_port(harness_uplink())
}

#[test]
fn host_port_leads_to_its_pod_from_pods_the_node_and_outside() {
    let mut h = bed();
    let (to, sent) = only(h.send(A, &udp(routed(A_IP, NODE_IP), 4000, 8080, b"?")));
    assert_eq!((to, ends(ethernet(&sent))), (B, (at(A_IP, 4000), at(B_IP, 80))));
    let (to, sent) = only(h.send(B, &udp(direct(B_IP, A_IP), 80, 4000, b"!")));
    assert_eq!((to, ends(ethernet(&sent))), (A, (at(NODE_IP, 8080), at(A_IP, 4000))));

    let from_node = Path { from: NODE_IP, ..from_node(NODE_IP) };
    let from_node = Path { to_mac: router_mac(), ..from_node };
    let (to, sent) = only(h.send(GATEWAY, &udp(from_node, 4000, 8080, b"?")));
    assert_eq!((to, ends(ethernet(&sent))), (B, (at(NODE_IP, 4000), at(B_IP, 80))));
    let (to, sent) = only(h.send(B, &udp(routed(B_IP, NODE_IP), 80, 4000, b"!")));
    assert_eq!((to, ends(ethernet(&sent))), (GATEWAY, (at(NODE_IP, 8080), at(NODE_IP, 4000))));

    let (to, sent) = only(h.send(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), 4000, 8080, b"?")));
    assert_eq!((to, ends(ethernet(&sent))), (B, (at(CLIENT_IP, 4000), at(B_IP, 80))));
    let (to, sent) = only(h.send(B, &udp(routed(B_IP, CLIENT_IP), 80, 4000, b"!")));
    assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(NODE_IP, 8080), at(CLIENT_IP, 4000))));
}

/// Else a service's address would be made of the node's.
#[test]
fn nodes_address_stays_the_nodes_but_for_that_port() {
    let mut h = bed();
    let (to, _) = only(h.send(A, &udp(routed(A_IP, NODE_IP), 4000, 8081, b"?")));
    assert_eq!(to, GATEWAY);
    let path = Path { from: NODE_IP, ..from_node(A_IP) };
    let (to, _) = only(h.send(GATEWAY, &udp(path, 5000, 6000, b"the node's own")));
    assert_eq!(to, A);
    // And another protocol's is another port.
    let (to, _) = only(h.send(A, &segment(routed(A_IP, NODE_IP), (4000, 8080), SYN, b"")));
    assert_eq!(to, GATEWAY);
}

#[test]
fn port_at_127_0_0_1_is_for_the_node_alone() {
    let mut h = bed();
    let (to, sent) = only(h.send(GATEWAY, &udp(from_node(STAND_IN), 4000, 8080, b"?")));
    assert_eq!((to, ends(ethernet(&sent)).1), (B, at(B_IP, 80)));
    h.quiet();
    let (to, sent) = only(h.send(A, &udp(routed(A_IP, STAND_IN), 4000, 8080, b"?")));
    assert_eq!((to, &ethernet(&sent)[34..36]), (A, &[3, 3][..]), "refused");
    h.assert_deltas([(A, Delta::refused_with_error("service_port_unknown"))]);
    assert!(h.send(UPLINK, &udp(outside(CLIENT_IP, STAND_IN), 4000, 8080, b"?")).is_empty());
}

/// The pod behind it asks for itself by the node's address.
#[test]
fn pod_reaches_itself_by_its_host_port() {
    let mut h = bed();
    let (to, sent) = only(h.send(B, &udp(routed(B_IP, NODE_IP), 4000, 8080, b"?")));
    assert_eq!(
        (to, ends(ethernet(&sent)).0.0, ends(ethernet(&sent)).1),
        (B, GATEWAY_IP.into(), at(B_IP, 80))
    );
}
