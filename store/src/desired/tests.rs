use std::net::Ipv4Addr;

use protocol::codec;
use protocol::link::{Envelope, MAX_MESSAGE_BYTES, ToDatapath};
use protocol::object::{ObjectMeta, PodSpec, Resources, RestartPolicy, Timestamp};

use super::*;

pub(super) fn facts() -> NodeFacts {
    NodeFacts {
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        gateway_ip: "10.244.0.1".parse().unwrap(),
        node_addresses: vec!["192.0.2.7".parse().unwrap()],
        fdb_ageing_seconds: 300,
        gateway: GatewayDevice { device: DeviceKind::VnetTap, offloads: Offloads::CSUM, ip_mtu: 1450 },
        tunnel: None,
        uplink: None,
        announced: Vec::new(),
        announced_by_lease: false,
        peers: BTreeMap::new(),
        services: Some(Arc::default()),
    }
}

fn tunnel(workers: u8) -> TunnelFacts {
    let config = TunnelConfig {
        vni: 1,
        address: Ipv4Addr::new(192, 0, 2, 7),
        udp_port: 4789,
        underlay_mtu: 1500,
        clamp_mss: false,
    };
    TunnelFacts { config, workers, offloads: Offloads::CSUM }
}

fn peer(id: u32, name: &str) -> PeerConfig {
    PeerConfig {
        id: PeerId(id),
        name: name.to_owned(),
        address: Ipv4Addr::from_bits(0xc633_0000 + id),
        udp_port: 4789,
        pod_cidrs: vec![IpNet::new(Ipv4Addr::from_bits(0x0a00_0000 + (id << 8)).into(), 24).unwrap()],
        node_addresses: vec![Ipv4Addr::from_bits(0xc633_0000 + id).into()],
        router_mac: Mac::for_router(Ipv4Addr::from_bits(0x0a00_0001 + (id << 8)).into()),
        keep_alive: true,
        has_pods: true,
        shares_policies: false,
    }
}

fn with_peers(peers: impl IntoIterator<Item = PeerConfig>) -> Configuration {
    let facts = NodeFacts {
        tunnel: Some(tunnel(1)),
        peers: peers.into_iter().map(|peer| (peer.id, peer)).collect(),
        ..facts()
    };
    desired(&facts, &[pod(1)], &BTreeSet::new())
}

pub(super) fn pod(port: u32) -> PodRecord {
    let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0af4_0000 + port));
    PodRecord {
        metadata: ObjectMeta {
            name: format!("p{port}").parse().unwrap(),
            namespace: "default".parse().unwrap(),
            uid: "u".to_owned(),
            labels: BTreeMap::new(),
            creation_timestamp: Timestamp(0),
            resource_version: 0,
        },
        spec: PodSpec {
            node_name: "n".to_owned(),
            pod_ips: vec![ip],
            mac: Mac::for_pod(ip),
            port_security: true,
            resources: Resources::default(),
            restart_policy: RestartPolicy::Always,
            containers: Vec::new(),
            serving: protocol::object::Serving::default(),
            dns: protocol::object::PodDns::default(),
            hostname: None,
            subdomain: None,
            bandwidth: Bandwidth::default(),
        },
        provisioning: Provisioning::Ready,
        netns: format!("default.p{port}"),
        port: PortId(port),
        ip_mtu: 1450,
        device: DeviceKind::VnetTap,
        offloads: Offloads::CSUM,
        attachment: None,
    }
}

fn configuration(pods: &[PodRecord]) -> Configuration {
    desired(&facts(), pods, &BTreeSet::new())
}

/// What the datapath does with deltas, as the protocol describes it.
fn applied(active: &Configuration, deltas: &[ConfigDelta]) -> Configuration {
    let mut result = active.clone();
    for (index, delta) in deltas.iter().enumerate() {
        assert_eq!(delta.commit, index + 1 == deltas.len());
        for id in &delta.detach {
            assert!(result.ports.remove(id).is_some(), "detached a port that is not there");
        }
        result.node = delta.node.clone().or(result.node);
        for port in &delta.attach {
            assert!(result.ports.insert(port.id, port.clone()).is_none(), "attached twice");
        }
        for port in &delta.update {
            assert!(result.ports.insert(port.id, port.clone()).is_some(), "updated what is not there");
        }
        for id in &delta.forget_peers {
            assert!(result.peers.remove(id).is_some(), "forgot a peer that is not there");
        }
        for peer in &delta.peers {
            let old = result.peers.insert(peer.id, Some(peer.clone())).flatten();
            assert!(old.is_none_or(|old| old.name == peer.name), "one peer became another");
        }
    }
    result
}

#[test]
fn only_ready_pods_have_ports_and_the_gateway_always_has() {
    let mut half_made = pod(2);
    half_made.provisioning = Provisioning::Pending;
    let configuration = configuration(&[pod(1), half_made]);
    let names: Vec<&str> = configuration.ports.values().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["gateway", "default/p1"]);
    let node = configuration.node.unwrap();
    assert_eq!(node.router_mac, Mac::for_pod(node.gateway_ip));
}

#[test]
fn limits_of_a_pod_are_its_ports_and_a_record_from_before_has_none() {
    let bandwidth = Bandwidth { egress_rate: Some(10_000_000), ..Default::default() };
    let mut limited = pod(1);
    limited.spec.bandwidth = bandwidth;
    let configuration = configuration(&[limited.clone()]);
    assert_eq!(configuration.ports[&limited.port].bandwidth, bandwidth);
    assert_eq!(configuration.ports[&GATEWAY_PORT].bandwidth, Bandwidth::default());
    let mut json = serde_json::to_value(&limited).unwrap();
    assert_eq!(json["spec"]["bandwidth"]["egressRate"], 10_000_000);
    assert_eq!(serde_json::from_value::<PodRecord>(json.clone()).unwrap(), limited);
    json["spec"].as_object_mut().unwrap().remove("bandwidth");
    assert_eq!(serde_json::from_value::<PodRecord>(json).unwrap(), pod(1));
}

#[test]
fn nothing_to_do_is_no_delta() {
    let same = configuration(&[pod(1)]);
    assert_eq!(diff(4, &same, &same, &BTreeSet::new(), Vec::new()), []);
}

#[test]
fn deltas_lead_from_any_configuration_to_any_other() {
    let mut changed = pod(3);
    changed.ip_mtu = 9000;
    let mut other_device = pod(4);
    other_device.device = DeviceKind::PlainTap;
    let states = [
        Configuration::default(),
        configuration(&[]),
        configuration(&[pod(1), pod(3), pod(4)]),
        configuration(&[pod(2), changed, other_device]),
        configuration(&(1..400).map(pod).collect::<Vec<_>>()),
        with_peers([]),
        with_peers([peer(0, "b"), peer(1, "c"), peer(2, "d")]),
        with_peers([peer(0, "b"), peer(1, "e"), PeerConfig { udp_port: 8472, ..peer(2, "d") }]),
        with_peers((0..700).map(|id| peer(id, &format!("n{id}")))),
    ];
    for from in &states {
        for to in &states {
            let deltas = diff(9, from, to, &BTreeSet::new(), Vec::new());
            assert!(deltas.iter().all(|d| d.epoch == 10));
            let mut result = applied(from, &deltas);
            result.node = to.node.clone().and(result.node);
            // Services have a test of their own, `services::tests::messages`.
            result.services.clone_from(&to.services);
            assert_eq!(result, *to);
        }
    }
}

#[test]
fn a_port_with_a_new_descriptor_is_attached_anew() {
    let same = configuration(&[pod(1), pod(2)]);
    let deltas = diff(1, &same, &same, &BTreeSet::from([PortId(2)]), Vec::new());
    assert_eq!(deltas[0].detach, [PortId(2)]);
    assert_eq!(deltas[1].attach.len(), 1);
    assert!(deltas[1].commit && !deltas[0].commit);
}

#[test]
fn quarantined_ports_stay_attached_but_closed() {
    let pods = [pod(1), pod(2)];
    let configuration = desired(&facts(), &pods, &BTreeSet::from([PortId(2)]));
    assert_eq!(configuration.ports[&PortId(2)].state, PortState::Quarantined);
    assert_eq!(configuration.ports[&PortId(1)].state, PortState::Active);
}

#[test]
fn each_worker_has_a_tunnel_port_beyond_those_of_pods() {
    let facts = NodeFacts { tunnel: Some(tunnel(MAX_WORKERS)), ..facts() };
    let configuration = desired(&facts, &[pod(1)], &BTreeSet::new());
    let tunnels: Vec<_> = configuration.ports.values().filter(|p| p.kind == PortKind::Tunnel).collect();
    assert_eq!(tunnels.len(), usize::from(MAX_WORKERS));
    assert_eq!(tunnels[0].id, FIRST_TUNNEL_PORT);
    assert_eq!(tunnels[tunnels.len() - 1].id, PortId(PortId::MAX_PORTS - 1));
    assert!(tunnels.iter().all(|port| port.ip_mtu == 1450 && port.device == DeviceKind::UdpTunnel));
    assert_eq!(configuration.node.unwrap().tunnel, Some(tunnel(1).config));
}

#[test]
fn without_a_tunnel_there_are_no_peers() {
    let facts = NodeFacts { peers: BTreeMap::from([(PeerId(0), peer(0, "b"))]), ..facts() };
    assert_eq!(desired(&facts, &[], &BTreeSet::new()).peers, BTreeMap::new());
}

#[test]
fn peers_that_nobody_knows_any_more_are_told_again_or_forgotten() {
    let wanted = with_peers([peer(0, "b"), peer(3, "c")]);
    let mut active = wanted.clone();
    active.peers = BTreeMap::from([(PeerId(0), None), (PeerId(1), None)]);
    let deltas = diff(4, &active, &wanted, &BTreeSet::new(), Vec::new());
    assert_eq!(deltas.len(), 2);
    assert_eq!(deltas[0].forget_peers, [PeerId(1)]);
    assert_eq!(deltas[1].peers, [peer(0, "b"), peer(3, "c")]);
    assert_eq!(applied(&active, &deltas), wanted);
}

/// Peers as large as they may be, as many as there may be.
#[test]
fn every_delta_of_peers_fits_one_message() {
    let full = with_peers((0..PeerId::MAX_PEERS).map(|id| PeerConfig {
        name: format!("{}{id}", "n".repeat(249)),
        pod_cidrs: vec!["fd00::/64".parse().unwrap(); crate::peers::MAX_POD_CIDRS],
        node_addresses: vec!["fd00::1".parse().unwrap(); crate::peers::MAX_NODE_ADDRESSES],
        ..peer(id, "")
    }));
    let none = with_peers([]);
    for (from, to) in [(&none, &full), (&full, &none)] {
        for delta in diff(u64::MAX - 1, from, to, &BTreeSet::new(), Vec::new()) {
            codec::encode(&Envelope { id: u64::MAX, body: ToDatapath::Apply(delta) }, MAX_MESSAGE_BYTES)
                .unwrap();
        }
    }
}

#[test]
fn every_delta_fits_one_message_with_its_descriptors() {
    let mut longest: Vec<PodRecord> = (1..UPLINK_PORT.0).map(pod).collect();
    for pod in &mut longest {
        pod.metadata.namespace = "n".repeat(63).parse().unwrap();
        pod.metadata.name = format!("{0}.{0}.{0}{1}", "p".repeat(55), pod.port).parse().unwrap();
    }
    let empty = Configuration::default();
    let facts = NodeFacts { tunnel: Some(tunnel(MAX_WORKERS)), ..facts() };
    let full = desired(&facts, &longest, &BTreeSet::new());
    for pod in &mut longest {
        pod.ip_mtu = 9000;
    }
    let changed = configuration(&longest);
    for (from, to) in [(&empty, &full), (&full, &changed), (&full, &configuration(&[]))] {
        for delta in diff(u64::MAX - 1, from, to, &BTreeSet::new(), Vec::new()) {
            assert!(delta.attach.iter().map(|port| port.device.descriptors()).sum::<usize>() <= MAX_FDS);
            codec::encode(&Envelope { id: u64::MAX, body: ToDatapath::Apply(delta) }, MAX_MESSAGE_BYTES)
                .unwrap();
        }
    }
}

#[test]
fn services_nobody_knows_stay_until_somebody_does_and_then_all_go() {
    let wanted = configuration(&[]);
    let unknown = Configuration { services: None, ..wanted.clone() };
    assert_eq!(diff(4, &wanted, &unknown, &BTreeSet::new(), Vec::new()), []);
    let deltas = diff(4, &unknown, &wanted, &BTreeSet::new(), Vec::new());
    assert_eq!(deltas.iter().filter(|delta| delta.reset_services).count(), 1);
    let (last, before) = deltas.split_last().unwrap();
    assert!(last.commit && before.iter().all(|delta| !delta.commit));
    assert!(deltas.iter().all(|delta| delta.epoch == 5));
    for delta in deltas {
        let envelope = Envelope { id: u64::MAX, body: ToDatapath::Apply(delta) };
        assert!(codec::encode(&envelope, MAX_MESSAGE_BYTES).is_ok());
    }
}
