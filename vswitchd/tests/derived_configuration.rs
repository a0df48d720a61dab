//! Whatever people write into objects, the datapath takes what is derived of it: a configuration with one thing in it that it refuses
//! is refused as a whole, and then nothing works any more.
//!
//! Services, slices, pods and nodes come, change and go at random, with addresses and ports that are likely to be somebody else's;
//! what is left out is the store's business, that the rest is accepted is this test's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use datapath::{Instant, Limits, Switch, SwitchOptions};
use proptest::prelude::*;
use protocol::link::{DeviceKind, Filtering, PeerConfig, Scheduler, Transport, TunnelConfig, UplinkConfig};
use protocol::object::{ObjectMeta, PodSpec, Resources, RestartPolicy, Serving, Timestamp};
use protocol::{Mac, Offloads, PeerId, PortId};
use serde_json::{Value, json};
use store::desired::{
    Configuration, EgressSelector, GatewayDevice, NodeFacts, TunnelFacts, UplinkFacts, desired, diff,
};
use store::record::{PodRecord, Provisioning};
use store::services::{HostPort, ObjectRef, Place, PodFacts, Settings, SliceSpec, Spec, Table};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// Addresses that services and endpoints are given: some good, the rest of every sort that somebody has or nobody can have.
const ADDRESSES: [&str; 22] = [
    "192.0.2.200",
    "192.0.2.201",
    "203.0.113.1",
    "203.0.113.2",
    "198.51.100.9",
    "192.0.2.7",
    "192.0.2.1",
    "192.0.2.8",
    "192.0.2.70",
    "192.0.2.71",
    "172.16.0.7",
    "10.244.0.1",
    "10.244.0.2",
    "10.244.1.3",
    "10.244.255.255",
    "10.96.0.10",
    "10.96.1.1",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
];

#[derive(Debug, Clone)]
enum Op {
    Service(Value),
    NoService(u8),
    Slice(Value),
    NoSlice(u8),
    Pod(u8, u8, bool, bool),
    NoPod(u8),
    /// Whether there is an uplink, with which egress addresses, and which peers.
    Node {
        uplink: bool,
        gateway: bool,
        egress: BTreeSet<u8>,
        peers: BTreeSet<u8>,
        more: bool,
    },
    /// The datapath is another one, or an earlier control process's.
    Fresh,
    Settle,
}

fn address() -> impl Strategy<Value = &'static str> {
    // Mostly good ones, so that services have something in common.
    prop_oneof![3 => prop::sample::select(ADDRESSES[..5].to_vec()), 2 => prop::sample::select(ADDRESSES.to_vec())]
}

fn service() -> impl Strategy<Value = Op> {
    let kind = prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer"]);
    let cluster_ip = prop::sample::select(vec![
        "10.96.1.1",
        "10.96.1.2",
        "10.96.1.3",
        "10.96.0.10",
        "None",
        "10.96.0.0",
        "10.97.0.1",
        "192.0.2.7",
    ]);
    let port = (
        prop::sample::select(vec![0, 53, 80, 443, 65535]),
        prop::sample::select(vec!["TCP", "UDP", "SCTP"]),
        prop::option::of(prop::sample::select(vec![30000, 30001, 32767, 80])),
        prop::sample::select(vec![json!(8080), json!("web"), json!(65535)]),
    );
    let policy = || prop::sample::select(vec!["Cluster", "Local"]);
    let ports = prop::collection::vec(port, 1..4);
    let affinity = prop::option::of(prop::sample::select(vec![1, 10_800, 86_400]));
    let addresses = || prop::collection::btree_set(address(), 0..4);
    let ranges =
        prop::collection::vec(prop::sample::select(vec!["0.0.0.0/0", "198.51.100.0/24", "10.0.0.0/8"]), 0..3);
    let selected = prop::option::of(prop::sample::select(vec!["web", "db"]));
    let scheduler = prop::option::of(prop::sample::select(vec!["rr", "wrr", "mh", "lc", "nq"]));
    let lists = (ports, addresses(), addresses(), ranges);
    let words = (kind, cluster_ip, policy(), policy(), affinity, selected, scheduler);
    (0u8..8, lists, words).prop_map(
        |(number, (ports, external, ingress, ranges), (kind, ip, inner, outer, affinity, selected, scheduler))| {
            let port = |(at, (number, protocol, node_port, target)): (usize, (i32, &str, Option<i32>, Value))| {
                let mut port = json!({ "name": format!("p{at}"), "port": number, "protocol": protocol, "targetPort": target });
                if let (Some(node_port), true) = (node_port, kind != "ClusterIP") {
                    port["nodePort"] = node_port.into();
                }
                port
            };
            let mut spec = json!({
                "type": kind, "clusterIP": ip, "externalIPs": external, "internalTrafficPolicy": inner,
                "ports": ports.into_iter().enumerate().map(port).collect::<Vec<_>>(),
                "loadBalancerSourceRanges": ranges,
            });
            if kind != "ClusterIP" {
                spec["externalTrafficPolicy"] = outer.into();
            }
            if let Some(label) = selected {
                spec["selector"] = json!({ "app": label });
            }
            if let Some(seconds) = affinity {
                spec["sessionAffinity"] = "ClientIP".into();
                spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
            }
            let ingress: Vec<Value> = ingress.into_iter().map(|ip| json!({ "ip": ip })).collect();
            let mut metadata = json!({ "name": format!("s{number}"), "namespace": "default" });
            if let Some(word) = scheduler {
                metadata["annotations"] = json!({ store::services::SCHEDULER_ANNOTATION: word });
            }
            let status = json!({ "loadBalancer": { "ingress": ingress } });
            Op::Service(json!({ "metadata": metadata, "spec": spec, "status": status }))
        },
    )
}

fn slice() -> impl Strategy<Value = Op> {
    let port =
        (0u8..3, prop::sample::select(vec![0, 1, 8080, 65535]), prop::sample::select(vec!["TCP", "UDP"]));
    let end = (address(), any::<[bool; 3]>());
    let ports = prop::collection::vec(port, 1..3);
    (0u8..4, 0u8..8, ports, prop::collection::vec(end, 0..5)).prop_map(|(number, service, ports, ends)| {
        let port = |(name, number, protocol): (u8, i32, &str)| {
            json!({ "name": format!("p{name}"), "port": number, "protocol": protocol })
        };
        let end = |(address, [ready, serving, terminating]): (&str, [bool; 3])| {
            let conditions = json!({ "ready": ready, "serving": serving, "terminating": terminating });
            json!({ "addresses": [address], "conditions": conditions })
        };
        let labels = json!({ "kubernetes.io/service-name": format!("s{service}") });
        let object = json!({
            "metadata": { "name": format!("l{number}"), "namespace": "default", "labels": labels },
            "addressType": "IPv4",
            "ports": ports.into_iter().map(port).collect::<Vec<_>>(),
            "endpoints": ends.into_iter().map(end).collect::<Vec<_>>(),
        });
        Op::Slice(object)
    })
}

fn op() -> impl Strategy<Value = Op> {
    let set = || prop::collection::btree_set(0u8..3, 0..3);
    let node = (any::<bool>(), any::<bool>(), set(), set(), any::<bool>());
    prop_oneof![
        5 => service(),
        1 => (0u8..8).prop_map(Op::NoService),
        3 => slice(),
        1 => (0u8..4).prop_map(Op::NoSlice),
        4 => (0u8..6, 0u8..6, any::<bool>(), any::<bool>()).prop_map(|(n, at, here, ready)| Op::Pod(n, at, here, ready)),
        1 => (0u8..6).prop_map(Op::NoPod),
        2 => node.prop_map(|(uplink, gateway, egress, peers, more)| Op::Node { uplink, gateway, egress, peers, more }),
        1 => Just(Op::Fresh),
        4 => Just(Op::Settle),
    ]
}

fn facts() -> NodeFacts {
    NodeFacts {
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        gateway_ip: "10.244.0.1".parse().unwrap(),
        node_addresses: vec![NODE.into()],
        fdb_ageing_seconds: 300,
        gateway: GatewayDevice { device: DeviceKind::VnetTap, offloads: Offloads::CSUM, ip_mtu: 1450 },
        tunnel: Some(TunnelFacts {
            config: TunnelConfig {
                vni: 1,
                address: NODE,
                udp_port: 4789,
                underlay_mtu: 1500,
                clamp_mss: false,
            },
            workers: 1,
            offloads: Offloads::CSUM,
        }),
        uplink: None,
        announced: Vec::new(),
        announced_by_lease: true,
        peers: BTreeMap::new(),
        services: Some(Arc::default()),
    }
}

fn uplink(has_gateway: bool, egress: &BTreeSet<u8>) -> UplinkFacts {
    let selector = |number: &u8| EgressSelector {
        namespaces: Vec::new(),
        labels: if *number == 0 { BTreeMap::new() } else { labels(*number) },
        address: Ipv4Addr::new(192, 0, 2, 70 + number),
    };
    UplinkFacts {
        config: UplinkConfig {
            address: NODE,
            subnet: "192.0.2.0/24".parse().unwrap(),
            gateway: has_gateway.then(|| Ipv4Addr::new(192, 0, 2, 1)),
            source_ports: 61_000..=65_535,
            node_ports: 30_000..=32_767,
            filtering: Filtering::default(),
            not_translated: Vec::new(),
            egress: Vec::new(),
            announced: Vec::new(),
            announced_by_lease: false,
        },
        egress: egress.iter().map(selector).collect(),
        mac: Mac([0x52, 0x54, 0, 0, 0, 2]),
        ip_mtu: 1500,
        offloads: Offloads::CSUM,
    }
}

fn peer(number: u8) -> PeerConfig {
    let address = Ipv4Addr::new(192, 0, 2, 8 + number);
    let router = IpAddr::from([10, 244, 1 + number, 1]);
    PeerConfig {
        id: PeerId(number.into()),
        name: format!("peer{number}"),
        address,
        udp_port: 4789,
        pod_cidrs: vec![format!("10.244.{}.0/24", 1 + number).parse().unwrap()],
        node_addresses: vec![address.into()],
        router_mac: Mac::for_router(router),
        keep_alive: true,
        has_pods: true,
        shares_policies: false,
    }
}

fn labels(number: u8) -> BTreeMap<String, String> {
    let app = if number.is_multiple_of(2) { "web" } else { "db" };
    BTreeMap::from([("app".to_owned(), app.to_owned())])
}

fn object(text: &str) -> ObjectRef {
    ObjectRef::parse(&format!("default/{text}")).unwrap()
}

fn record(number: u8, ip: IpAddr) -> PodRecord {
    PodRecord {
        metadata: ObjectMeta {
            name: format!("p{number}").parse().unwrap(),
            namespace: "default".parse().unwrap(),
            uid: "u".to_owned(),
            labels: labels(number),
            creation_timestamp: Timestamp(0),
            resource_version: 0,
        },
        spec: PodSpec {
            node_name: "a".to_owned(),
            pod_ips: vec![ip],
            mac: Mac::for_pod(ip),
            port_security: true,
            resources: Resources::default(),
            restart_policy: RestartPolicy::Always,
            containers: Vec::new(),
            serving: Serving::default(),
            dns: protocol::object::PodDns::default(),
            hostname: None,
            subdomain: None,
            bandwidth: protocol::object::Bandwidth::default(),
        },
        provisioning: Provisioning::Ready,
        netns: format!("default.p{number}"),
        port: PortId(100 + u32::from(number)),
        ip_mtu: 1450,
        device: DeviceKind::VnetTap,
        offloads: Offloads::CSUM,
        attachment: None,
    }
}

/// Small tables for packets, which there are none of, and those for configuration as they are.
fn switch() -> Switch {
    let limits = Limits {
        flows: 64,
        flows_per_port: 16,
        connections: 64,
        connections_per_port: 16,
        connection_reserve: 8,
        fdb_entries: 64,
        neighbors: 64,
        ..Limits::default()
    };
    Switch::new(SwitchOptions { limits, ..SwitchOptions::default() })
}

/// Control and datapath, without the kernel between them.
struct Node {
    table: Table,
    facts: NodeFacts,
    pods: BTreeMap<u8, PodRecord>,
    switch: Switch,
    active: Configuration,
    epoch: u64,
}

impl Node {
    fn new() -> Self {
        let settings = Settings {
            place: Place { node: "a".to_owned(), zone: None },
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            external_ips: vec!["0.0.0.0/0".parse().unwrap()],
            scheduler: Scheduler::Random,
        };
        Self {
            table: Table::new(settings),
            facts: facts(),
            pods: BTreeMap::new(),
            switch: switch(),
            active: Configuration::default(),
            epoch: 0,
        }
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Service(value) => {
                let service = serde_json::from_value(value).expect("it is a Service");
                // What people are told is wrong does not get so far.
                if let Ok(spec) = Spec::check(&service) {
                    self.table.put_service(spec);
                }
            }
            Op::NoService(number) => self.table.remove_service(&object(&format!("s{number}"))),
            Op::Slice(value) => {
                let slice = serde_json::from_value(value).expect("it is an EndpointSlice");
                if let Ok(slice) = SliceSpec::check(&slice) {
                    self.table.put_slice(slice);
                }
            }
            Op::NoSlice(number) => self.table.remove_slice(&object(&format!("l{number}"))),
            Op::Pod(number, at, is_here, ready) => self.put_pod(number, at, is_here, ready),
            Op::NoPod(number) => {
                self.table.remove_pod(&object(&format!("p{number}")));
                self.pods.remove(&number);
            }
            Op::Node { uplink: has_uplink, gateway, egress, peers, more } => {
                self.facts.uplink = has_uplink.then(|| uplink(gateway, &egress));
                self.facts.peers = peers.iter().map(|n| (PeerId((*n).into()), peer(*n))).collect();
                self.facts.node_addresses = vec![NODE.into()];
                self.facts.node_addresses.extend(more.then(|| IpAddr::from([172, 16, 0, 7])));
            }
            Op::Fresh => {
                self.switch = switch();
                self.active = Configuration::default();
                self.epoch = 0;
            }
            Op::Settle => return self.settle(),
        }
        Ok(())
    }

    /// The address is the pod's alone, as those are that the daemon gives out.
    fn put_pod(&mut self, number: u8, at: u8, is_here: bool, ready: bool) {
        let net = if is_here { 0 } else { 1 };
        let ip = IpAddr::from([10, 244, net, 2 + at * 8 + number]);
        self.pods.remove(&number);
        if is_here {
            self.pods.insert(number, record(number, ip));
        }
        self.table.put_pod(PodFacts {
            object: object(&format!("p{number}")),
            labels: labels(number),
            addresses: vec![ip],
            node: if is_here { "a" } else { "b" }.to_owned(),
            zone: None,
            ready,
            terminating: at == 3,
            ended: false,
            ports: Vec::new(),
            weight: u16::from(at),
            host_ports: vec![host_port(number, at)],
            hostname: None,
            subdomain: None,
        });
    }

    /// As control does it.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let facts = &mut self.facts;
        let mut nodes: BTreeSet<IpAddr> = facts.node_addresses.iter().copied().collect();
        nodes.insert(facts.gateway_ip);
        nodes.extend(facts.peers.values().flat_map(|peer| peer.node_addresses.iter().copied()));
        let egress = facts.uplink.iter().flat_map(|uplink| &uplink.egress);
        nodes.extend(egress.map(|rule| IpAddr::V4(rule.address)));
        self.table.set_node_addresses(nodes);
        self.table.settle();
        facts.services = Some(Arc::clone(self.table.states()));
        let live = BTreeSet::from(["a".to_owned()]);
        facts.announced = self.table.announceable(&live).into_keys().collect();
        let pods: Vec<PodRecord> = self.pods.values().cloned().collect();
        let wanted = desired(facts, &pods, &BTreeSet::new());
        for delta in diff(self.epoch, &self.active, &wanted, &BTreeSet::new(), Vec::new()) {
            let result = self.switch.prepare(&delta);
            prop_assert!(result.is_ok(), "refused: {}\n{delta:#?}", result.unwrap_err());
            if delta.commit {
                self.switch.commit(Instant::from_nanos(self.epoch + 1));
                self.epoch += 1;
            }
        }
        self.active = wanted;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_datapath_accepts_whatever_is_derived(ops in prop::collection::vec(op(), 1..40)) {
        let mut node = Node::new();
        for op in ops {
            node.run(op)?;
        }
        node.settle()?;
    }
}

/// Of few numbers, so that pods want the same; addresses are the node's, its loopback's, and nobody's.
fn host_port(number: u8, at: u8) -> HostPort {
    let addresses = [None, Some([127, 0, 0, 1]), Some([192, 0, 2, 1]), Some([198, 51, 100, 9])];
    HostPort {
        transport: if number.is_multiple_of(3) { Transport::Udp } else { Transport::Tcp },
        address: addresses.get(usize::from(at) % addresses.len()).copied().flatten().map(Into::into),
        number: 8000 + u16::from(number % 2),
        target: 80,
    }
}
