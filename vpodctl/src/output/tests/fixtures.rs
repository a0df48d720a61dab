//! Fixed objects that between them show every state.

use std::collections::BTreeMap;
use std::net::IpAddr;

use protocol::link::Transport;
use protocol::message::{ClusterStatus, DatapathStatus, Status, TunnelStatus};
use protocol::object::{
    Container, ContainerPort, ContainerState, ContainerStatus, DropCount, DropEntry, Exit, FdbEntry, Flow,
    NeighborEntry, Node, ObjectMeta, Peer, PeerHealth, PeerOrigin, Pod, PodPhase, PodSpec, PodStatus, Port,
    PortCounters, PortKind, PortState, Resources, RestartPolicy, Route, RouteVia, Timestamp,
};
use protocol::{Mac, Offloads, PortId};

pub(super) const NOW: Timestamp = Timestamp(1_700_010_000);

const fn ago(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 - seconds)
}

fn mac(last: u8) -> Mac {
    Mac([0x0a, 0x58, 10, 244, 0, last])
}

fn pod(name: &str, number: u8, phase: PodPhase, containers: &[(&str, u32, ContainerState)]) -> Pod {
    let exit = Exit { code: 1, signal: None, at: ago(75) };
    let status = |(name, restarts, state): &(&str, u32, ContainerState)| ContainerStatus {
        name: name.parse().unwrap(),
        state: state.clone(),
        restart_count: *restarts,
        last_exit: (*restarts > 0).then_some(exit),
    };
    let container = |(name, _, _): &(&str, u32, ContainerState)| Container {
        name: name.parse().unwrap(),
        command: vec!["sh".to_owned(), "-c".to_owned(), format!("exec {name}")],
    };
    Pod {
        metadata: ObjectMeta {
            name: name.parse().unwrap(),
            namespace: "default".parse().unwrap(),
            uid: format!("uid-{number}"),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            creation_timestamp: ago(60 * u64::from(number)),
            resource_version: 10 + u64::from(number),
        },
        spec: PodSpec {
            node_name: "node-1".to_owned(),
            pod_ips: vec![format!("10.244.0.{number}").parse().unwrap()],
            mac: mac(number),
            port_security: true,
            resources: Resources { cpu_millicores: Some(500), memory_bytes: Some(64 << 20) },
            restart_policy: RestartPolicy::Always,
            containers: containers.iter().map(container).collect(),
            serving: protocol::object::Serving::default(),
            dns: protocol::object::PodDns::default(),
            hostname: None,
            subdomain: None,
            bandwidth: protocol::object::Bandwidth::default(),
        },
        status: PodStatus {
            phase,
            message: None,
            netns: format!("/run/netns/default.{name}"),
            port: Some(PortId(u32::from(number))),
            container_statuses: containers.iter().map(status).collect(),
            ready: true,
        },
    }
}

fn port(name: &str, number: u16, transport: Transport, host: Option<(u16, Option<IpAddr>)>) -> ContainerPort {
    let (host_port, host_ip) = host.unzip();
    ContainerPort { name: name.to_owned(), number, transport, host_port, host_ip: host_ip.flatten() }
}

fn running(pid: u32) -> ContainerState {
    ContainerState::Running { pid, since: ago(100) }
}

fn ended(code: i32, signal: Option<i32>) -> ContainerState {
    ContainerState::Terminated { exit: Exit { code, signal, at: ago(30) } }
}

fn waiting(reason: &str) -> ContainerState {
    ContainerState::Waiting { reason: reason.to_owned() }
}

pub(super) fn pods() -> Vec<Pod> {
    let mut lost = pod("lost", 7, PodPhase::Failed, &[]);
    lost.status.message = Some("its namespace was deleted".to_owned());
    lost.status.port = None;
    let mut bare = pod("bare", 6, PodPhase::Running, &[]);
    bare.metadata.namespace = "prod".parse().unwrap();
    bare.metadata.labels.clear();
    bare.spec.resources = Resources::default();
    bare.spec.serving.ports = vec![port("", 53, Transport::Udp, Some((53, None)))];
    let mut web =
        pod("web", 2, PodPhase::Running, &[("web", 3, running(4711)), ("sidecar", 0, running(4712))]);
    web.spec.serving.ports = vec![
        port("http", 8080, Transport::Tcp, Some((80, Some("192.0.2.1".parse().unwrap())))),
        port("metrics", 9090, Transport::Tcp, None),
    ];
    vec![
        web,
        pod("crashing", 3, PodPhase::Running, &[("crashing", 12, waiting("CrashLoopBackOff"))]),
        pod("half", 4, PodPhase::Running, &[("half", 0, ended(0, None)), ("side", 0, running(4713))]),
        pod("job", 5, PodPhase::Succeeded, &[("job", 0, ended(0, None))]),
        bare,
        pod("killed", 200, PodPhase::Failed, &[("killed", 0, ended(137, Some(9)))]),
        pod("starting", 8, PodPhase::Pending, &[("starting", 0, waiting("ContainerCreating"))]),
        lost,
    ]
}

pub(super) fn node() -> Node {
    Node {
        name: "node-1".to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        gateway: "10.244.0.1".parse().unwrap(),
        pod_mtu: Some(1450),
        pods: Some(8),
        ready: Some(true),
        version: "0.1.0".to_owned(),
        kernel: "6.1.0-18-amd64".to_owned(),
    }
}

/// This node, one that answers, one that does not, and one that is not asked.
pub(super) fn nodes() -> Vec<Node> {
    let other = |number: u8, ready| Node {
        name: format!("node-{number}"),
        addresses: vec![format!("192.0.2.{number}").parse().unwrap()],
        pod_cidr: format!("10.244.{number}.0/24").parse().unwrap(),
        gateway: format!("10.244.{number}.1").parse().unwrap(),
        pod_mtu: None,
        pods: None,
        ready,
        version: String::new(),
        kernel: String::new(),
    };
    vec![node(), other(2, Some(true)), other(3, Some(false)), other(4, None)]
}

pub(super) fn peers() -> Vec<Peer> {
    let peer = |number: u8, origin, health| Peer {
        name: format!("node-{number}"),
        address: format!("192.0.2.{number}").parse().unwrap(),
        udp_port: 4789,
        pod_cidrs: vec![format!("10.244.{number}.0/24").parse().unwrap()],
        origin,
        pod_mtu: 1450,
        health,
    };
    let well = PeerHealth {
        reachable: Some(true),
        last_seen_ms: Some(340),
        rtt_us: Some(1042),
        loss_percent: Some(0),
        path_mtu: Some(1500),
        tx_packets: 1000,
        tx_bytes: 1_400_000,
        rx_packets: 900,
        rx_bytes: 60_000,
    };
    let away =
        PeerHealth { reachable: Some(false), last_seen_ms: Some(61_250), loss_percent: Some(100), ..well };
    let plain = PeerHealth { tx_packets: 3, tx_bytes: 294, ..PeerHealth::default() };
    let mut several = peer(4, PeerOrigin::Static, plain);
    several.pod_cidrs.push("10.244.40.0/24".parse().unwrap());
    vec![peer(2, PeerOrigin::Cluster, well), peer(3, PeerOrigin::Cluster, away), several]
}

pub(super) fn routes() -> Vec<Route> {
    let route = |destination: &str, via| Route { destination: destination.parse().unwrap(), via, mtu: 1450 };
    let peer = || RouteVia::Peer { name: "node-2".to_owned(), address: "192.0.2.2".parse().unwrap() };
    vec![
        route("10.244.0.1/32", RouteVia::Gateway),
        route("192.0.2.2/32", peer()),
        route("10.244.0.0/24", RouteVia::Local),
        route("10.244.2.0/24", peer()),
        route("10.244.0.0/16", RouteVia::Unreachable),
    ]
}

pub(super) fn ports() -> Vec<Port> {
    let port = |id: u8, name: &str, kind, state| Port {
        id: PortId(u32::from(id)),
        name: name.to_owned(),
        kind,
        state,
        mac: mac(id),
        addresses: vec![format!("10.244.0.{id}").parse().unwrap()],
        ip_mtu: 1450,
        offloads: Offloads(0x67),
        port_security: kind == PortKind::Pod,
        counters: PortCounters {
            rx_frames: 1003,
            rx_bytes: 65_000_000,
            forwarded: 1000,
            drops: vec![
                DropCount { reason: "spoofed_source".to_owned(), frames: 2 },
                DropCount { reason: "ttl_expired".to_owned(), frames: 1 },
            ],
            tx_frames: 900,
            tx_bytes: 54_000,
            tx_refused: 0,
            originated: 1,
            ..PortCounters::default()
        },
    };
    let mut gateway = port(1, "gateway", PortKind::Gateway, PortState::Active);
    gateway.counters = PortCounters::default();
    gateway.offloads = Offloads::NONE;
    gateway.addresses.clear();
    vec![
        port(2, "default/web", PortKind::Pod, PortState::Active),
        gateway,
        port(9, "default/bad", PortKind::Pod, PortState::Quarantined),
    ]
}

pub(super) fn fdb() -> Vec<FdbEntry> {
    let entry = |last: u8, name: &str, is_static, age_ms| FdbEntry {
        mac: mac(last),
        port: PortId(u32::from(last)),
        port_name: name.to_owned(),
        is_static,
        age_ms,
    };
    vec![entry(2, "default/web", true, 0), entry(77, "default/vm", false, 12_345)]
}

pub(super) fn neighbors() -> Vec<NeighborEntry> {
    let entry = |last: u8, name: &str, is_static, age_ms| NeighborEntry {
        ip: format!("10.244.0.{last}").parse().unwrap(),
        mac: mac(last),
        port: PortId(u32::from(last)),
        port_name: name.to_owned(),
        is_static,
        age_ms,
    };
    vec![entry(2, "default/web", true, 0), entry(77, "default/vm", false, 305_000)]
}

pub(super) fn flows() -> Vec<Flow> {
    let flow = |protocol, source_port, destination: &str, destination_port| Flow {
        ingress: PortId(2),
        ingress_name: "default/web".to_owned(),
        egress: PortId(1),
        egress_name: "gateway".to_owned(),
        protocol,
        source: "10.244.0.2".parse().unwrap(),
        source_port,
        destination: destination.parse().unwrap(),
        destination_port,
        frames: 12,
        bytes: 345_678,
        idle_ms: 1999,
        becomes: None,
    };
    vec![
        flow(6, 40_000, "10.244.0.3", 80),
        flow(17, 53, "2001:db8::53", 53),
        flow(1, 7, "10.244.0.1", 8),
        flow(47, 0, "10.244.0.1", 0),
    ]
}

pub(super) fn drops() -> Vec<DropEntry> {
    let entry = |reason: &str, description: &str, frames| DropEntry {
        port: PortId(2),
        port_name: "default/web".to_owned(),
        reason: reason.to_owned(),
        description: description.to_owned(),
        frames,
    };
    vec![
        entry("spoofed_source", "The source is not the port's own.", 2),
        entry("ttl_expired", "The TTL ran out.", 1),
    ]
}

pub(super) fn status() -> Status {
    Status {
        node: node(),
        control_pid: 100,
        control_started: ago(3600),
        datapath: Some(DatapathStatus {
            pid: 101,
            started: ago(125),
            epoch: 7,
            workers: 1,
            ports: 3,
            fdb_entries: 3,
            flows: 2,
            rx_frames: 10,
            forwarded: 9,
            dropped: 1,
        }),
        datapath_restarts: 2,
        tunnel: Some(TunnelStatus {
            address: "192.0.2.1".parse().unwrap(),
            udp_port: 4789,
            vni: 1,
            underlay_mtu: 1500,
            peers: 4,
            peers_up: 2,
            peers_unknown: 1,
        }),
        cluster: Some(ClusterStatus {
            endpoints: vec!["https://192.0.2.9:2379".to_owned(), "https://192.0.2.10:2379".to_owned()],
            connected: false,
            since: ago(90),
            message: Some("connection refused".to_owned()),
        }),
        state_dir: "/var/lib/vswitchd".to_owned(),
        log_filter: "info".to_owned(),
        problems: Vec::new(),
    }
}
