//! Deltas about services: all or nothing, refused by name.

use std::net::{IpAddr, Ipv4Addr};

use protocol::ServiceId;
use protocol::link::{
    BackendChanges, BackendConfig, ConfigDelta, FrontendKind, NodeConfig, PeerConfig, ServiceConfig,
    Transport,
};

use super::bed::*;
use crate::ConfigError;

fn bed() -> Bed {
    Bed::with(web(), vec![backend(1), backend(2)])
}

/// Another service than `web`.
fn other() -> ServiceConfig {
    ServiceConfig {
        id: ServiceId(8),
        name: "default/api:443".to_owned(),
        frontends: vec![frontend(FrontendKind::ClusterIp, [10, 96, 0, 8], 443)],
        ..web()
    }
}

/// The delta is refused so, and nothing changes.
#[track_caller]
fn assert_refused(bed: &mut Bed, delta: ConfigDelta, text: &str) {
    let epoch = bed.switch.epoch();
    let state = format!("{:?}", bed.services().frontend(TCP, VIP, 80, false));
    let slots = [bed.slot(1), bed.slot(2)];
    assert_eq!(bed.try_apply(delta).unwrap_err().to_string(), text);
    assert_eq!(bed.switch.epoch(), epoch);
    assert_eq!(format!("{:?}", bed.services().frontend(TCP, VIP, 80, false)), state);
    assert_eq!([bed.slot(1), bed.slot(2)], slots);
    assert!(bed.choose().is_ok());
}

#[test]
fn wrong_frontends_are_refused_by_name() {
    use FrontendKind::{ClusterIp, ExternalIp, LoadBalancer, NodePort};
    const NO_STATION: &str =
        "loopback, this-network, link-local, multicast and reserved addresses are no station's";
    let v6: IpAddr = "fd00::1".parse().unwrap();
    let mut bed = bed();
    let mut refused = |kind, address: IpAddr, port, problem: &str| {
        let service = ServiceConfig { frontends: vec![frontend(kind, address, port)], ..other() };
        let text = format!("service 8 (default/api:443): {problem}");
        assert_refused(&mut bed, services(vec![service]), &text);
    };
    refused(ClusterIp, ip([10, 96, 0, 8]), 0, "frontend 10.96.0.8:0: port 0 is none");
    refused(NodePort, ip([0; 4]), 0, "frontend 0.0.0.0:0: port 0 is none");
    refused(ClusterIp, v6, 1, "frontend fd00::1:1: not IPv4, which is all this version forwards");
    refused(
        NodePort,
        ip(NODE_IP),
        30_000,
        "frontend 192.0.2.2:30000: a node port is at every address of the node, written 0.0.0.0",
    );
    for kind in [ClusterIp, LoadBalancer, ExternalIp] {
        for address in [[0; 4], [127, 0, 0, 1], [169, 254, 1, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
            let address = ip(address);
            refused(kind, address, 1, &format!("frontend {address}:1: {NO_STATION}"));
        }
        refused(kind, VIP.into(), 80, "frontend 10.96.0.10:80 already belongs to default/web:80");
        refused(kind, ip(NODE_IP), 80, "frontend address 192.0.2.2 belongs to the node");
        refused(kind, ip(GATEWAY_IP), 80, "frontend address 10.244.0.1 belongs to the gateway");
        refused(kind, ip(POD_IP), 80, "frontend address 10.244.0.2 belongs to default/pod1");
        refused(kind, ip([10, 244, 3, 9]), 80, "frontend address 10.244.3.9 belongs to the range of pods");
    }
}

#[test]
fn wrong_services_are_refused_by_name() {
    let mut bed = bed();
    let mut refused = |service, text: &str| assert_refused(&mut bed, services(vec![service]), text);
    refused(
        ServiceConfig { id: ServiceId(65_536), ..other() },
        "service 65536 (default/api:443): its number is beyond the last, 65535",
    );
    for seconds in [0, 86_401] {
        refused(
            ServiceConfig { affinity_seconds: Some(seconds), ..other() },
            &format!("service 8 (default/api:443): an affinity of {seconds} s is not between 1 and 86400"),
        );
    }
    let twice = other().frontends[0];
    refused(
        ServiceConfig { frontends: vec![twice, twice], ..other() },
        "service 8 (default/api:443): frontend 10.96.0.8:443 is there twice",
    );
    let many = (1..=257).map(|port| frontend(FrontendKind::ClusterIp, [10, 96, 0, 8], port)).collect();
    refused(
        ServiceConfig { frontends: many, ..other() },
        "service 8 (default/api:443): more than 256 frontends",
    );
    refused(
        ServiceConfig { source_ranges: vec!["10.0.0.0/8".parse().unwrap(); 257], ..other() },
        "service 8 (default/api:443): more than 256 source ranges",
    );
    let same = ServiceConfig { id: ServiceId(9), name: "default/copy:443".to_owned(), ..other() };
    assert_refused(
        &mut bed,
        services(vec![other(), same]),
        "service 9 (default/copy:443): frontend 10.96.0.8:443 already belongs to default/api:443",
    );
}

#[test]
fn wrong_backends_are_refused_by_name() {
    let mut bed = bed();
    let mut refused = |backend: BackendConfig, problem: &str| {
        assert_refused(
            &mut bed,
            put(WEB, vec![backend]),
            &format!("service 3 (default/web:80): backend {problem}"),
        );
    };
    refused(BackendConfig { port: 0, ..backend(1) }, "10.244.1.1:0: port 0 is none");
    let v6 = BackendConfig { address: "fd00::1".parse().unwrap(), ..backend(1) };
    refused(v6, "fd00::1:8080: not IPv4, which is all this version forwards");
    for address in [[0; 4], [127, 0, 0, 1], [169, 254, 1, 1], [224, 0, 0, 1], [255; 4]] {
        refused(
            BackendConfig { address: ip(address), ..backend(1) },
            &format!(
                "{}:8080: loopback, this-network, link-local, multicast and reserved addresses are no station's",
                Ipv4Addr::from(address)
            ),
        );
    }
    assert_refused(
        &mut bed,
        put(WEB, vec![backend(7), backend(7)]),
        "service 3 (default/web:80): backend 10.244.1.7:8080 is there twice",
    );
    assert_refused(
        &mut bed,
        remove(WEB, &[7]),
        "service 3 (default/web:80): 10.244.1.7:8080 is no backend of it",
    );
    let numbered = |from: u32, n: u32| -> Vec<_> {
        let address = |n| IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + from + n));
        (0..n).map(|n| BackendConfig { address: address(n), ..backend(1) }).collect()
    };
    assert_refused(
        &mut bed,
        put(WEB, numbered(0, 16_383)),
        "service 3 (default/web:80): more than 16384 backends",
    );
}

#[test]
fn there_are_at_most_262144_backends() {
    let mut bed = bed();
    let service = |n: u8| ServiceConfig {
        id: ServiceId(100 + u32::from(n)),
        name: format!("default/big{n}:80"),
        frontends: vec![frontend(FrontendKind::ClusterIp, [10, 96, 1, n], 443)],
        ..web()
    };
    let backends = |n| -> Vec<_> {
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n));
        (0..n).map(|n| BackendConfig { address: address(n), ..backend(1) }).collect()
    };
    for n in 0..15 {
        let id = service(n).id;
        bed.apply(ConfigDelta { services: vec![service(n)], ..put(id, backends(16_384)) });
    }
    bed.apply(services(vec![service(15)]));
    let last = service(15).id;
    assert_refused(
        &mut bed,
        put(last, backends(16_383)),
        "service 115 (default/big15:80): more than 262144 backends in all",
    );
    bed.apply(put(last, backends(16_382)));
    assert_eq!(bed.services().backends.len(), 262_144);
    bed.apply(remove(WEB, &[1]));
    bed.apply(put(last, backends(16_383)));
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let mut bed = bed();
    let gone = ConfigDelta { forget_services: vec![ServiceId(8)], ..ConfigDelta::default() };
    assert_refused(&mut bed, gone, "there is no service 8");
    assert_refused(&mut bed, put(ServiceId(8), vec![backend(1)]), "there is no service 8");
    let twice = ConfigDelta { forget_services: vec![WEB, WEB], ..ConfigDelta::default() };
    assert_refused(&mut bed, twice, "there is no service 3");
    let after = ConfigDelta { forget_services: vec![WEB], ..put(WEB, vec![backend(1)]) };
    assert_refused(&mut bed, after, "there is no service 3");
}

#[test]
fn others_cannot_take_a_services_address() {
    let mut bed = bed();
    let text =
        |owner: &str| format!("service 3 (default/web:80): frontend address 10.96.0.10 belongs to {owner}");
    let vip = VIP.octets();
    let attach = ConfigDelta { attach: vec![pod(9, vip)], ..ConfigDelta::default() };
    assert_refused(&mut bed, attach.clone(), &text("default/pod9"));
    let update = ConfigDelta { update: vec![pod(1, vip)], ..ConfigDelta::default() };
    assert_refused(&mut bed, update, &text("default/pod1"));
    let with_node = |node| ConfigDelta { node: Some(node), ..ConfigDelta::default() };
    let node_at = NodeConfig { node_addresses: vec![VIP.into()], ..node() };
    assert_refused(&mut bed, with_node(node_at), &text("the node"));
    let wide = NodeConfig { cluster_cidr: "10.0.0.0/8".parse().unwrap(), service_cidr: None, ..node() };
    assert_refused(&mut bed, with_node(wide), &text("the range of pods"));
    let over = NodeConfig { service_cidr: Some("10.244.128.0/20".parse().unwrap()), ..node() };
    assert_refused(&mut bed, with_node(over), "node: 10.244.128.0/20 overlaps 10.244.0.0/16");
    let peer = PeerConfig {
        id: protocol::PeerId(1),
        name: "node-b".to_owned(),
        address: VIP,
        udp_port: 4789,
        pod_cidrs: Vec::new(),
        node_addresses: Vec::new(),
        router_mac: protocol::Mac([2, 0, 0, 0, 0, 9]),
        keep_alive: false,
        has_pods: false,
        shares_policies: false,
    };
    let peers = ConfigDelta { peers: vec![peer], ..ConfigDelta::default() };
    assert_refused(&mut bed, peers, &text("node-b"));
    // With the service gone in the same change, the address is free.
    bed.apply(ConfigDelta { forget_services: vec![WEB], ..attach });
}

#[test]
fn one_change_may_hand_a_frontend_over() {
    let mut bed = bed();
    let taken = ServiceConfig { frontends: web().frontends, ..other() };
    bed.apply(ConfigDelta { forget_services: vec![WEB], ..services(vec![taken.clone()]) });
    let owner = |bed: &Bed, at: [u8; 4], port| {
        bed.services().frontend(TCP, at.into(), port, false).map(|hit| hit.service)
    };
    assert_eq!(owner(&bed, VIP.octets(), 80), Some(ServiceId(8)));
    assert!(!bed.services().is_backend(WEB, [10, 244, 1, 1].into(), 8080));
    // Swapped, in an order in which neither could be first.
    bed.apply(services(vec![ServiceConfig { frontends: other().frontends, ..web() }, web_as(&taken)]));
    assert_eq!(owner(&bed, VIP.octets(), 80), Some(ServiceId(8)));
    assert_eq!(owner(&bed, [10, 96, 0, 8], 443), Some(WEB));
    bed.apply(services(vec![web(), other()]));
    assert_eq!(owner(&bed, VIP.octets(), 80), Some(WEB));
    assert_eq!(owner(&bed, [10, 96, 0, 8], 443), Some(ServiceId(8)));
    // One address and port for two protocols are two frontends.
    let udp = ServiceConfig { transport: Transport::Udp, frontends: web().frontends, ..other() };
    bed.apply(services(vec![udp]));
    assert_eq!(owner(&bed, VIP.octets(), 80), Some(WEB));
}

fn web_as(service: &ServiceConfig) -> ServiceConfig {
    service.clone()
}

#[test]
fn a_refused_delta_takes_those_of_its_epoch_along() {
    let mut bed = bed();
    let active = |bed: &Bed| bed.services().shared().active.of(bed.slot(1));
    let slot = bed.slot(1);
    bed.services().shared().active.opened(slot);
    // Three that were collected: a new service, a backend more, one less.
    bed.collect(services(vec![other()])).unwrap();
    bed.collect(put(WEB, vec![backend(3)])).unwrap();
    bed.collect(remove(WEB, &[1])).unwrap();
    assert!(bed.services().is_backend(WEB, [10, 244, 1, 1].into(), 8080), "not yet");
    let error = bed.collect(put(ServiceId(77), Vec::new())).unwrap_err();
    assert_eq!(error, ConfigError::UnknownService(ServiceId(77)));
    bed.apply(ConfigDelta::default());
    assert_eq!(bed.services().backends.len(), 2);
    assert_eq!(bed.services().frontends.len(), 1);
    assert_eq!(active(&bed), 1);
    assert!(bed.services().is_backend(WEB, [10, 244, 1, 1].into(), 8080));
    assert!(!bed.services().is_service_address([10, 96, 0, 8].into()));
    // And so does another worker's refusal.
    bed.collect(remove(WEB, &[1])).unwrap();
    bed.switch.discard();
    bed.apply(put(WEB, vec![backend(3)]));
    assert_eq!(bed.services().backends.len(), 3);
}

#[test]
fn a_number_used_again_has_nothing_of_the_old_service() {
    let mut bed = bed();
    bed.apply(ConfigDelta { forget_services: vec![WEB], ..services(vec![web()]) });
    assert!(bed.choose().is_err());
    assert_eq!(bed.services().backends.len(), 0);
}

#[test]
fn a_backend_that_changes_keeps_its_slot_and_a_new_one_starts_at_zero() {
    let mut bed = bed();
    let slot = bed.slot(1);
    let count = |bed: &Bed, host| bed.services().shared().active.of(bed.slot(host));
    bed.services().shared().active.opened(slot);
    bed.apply(put(WEB, vec![BackendConfig { weight: 7, ..backend(1) }]));
    bed.apply(services(vec![ServiceConfig { affinity_seconds: Some(5), ..web() }]));
    assert_eq!((bed.slot(1), count(&bed, 1)), (slot, 1));
    let changes =
        BackendChanges { service: WEB, remove: vec![(ip([10, 244, 1, 1]), 8080)], put: vec![backend(9)] };
    bed.apply(ConfigDelta { backends: vec![changes], ..ConfigDelta::default() });
    assert_eq!((bed.slot(9), count(&bed, 9)), (slot, 0), "the slot was free");
}
