//! One fixed message of every variant.

use std::collections::BTreeMap;

use protocol::attachment::{
    AddressRange, Attach, Attached, AttachmentKey, AttachmentRequest, AttachmentRole, ContainerId,
    InterfaceName, NetnsPath, NetworkName, Readiness, Resolver,
};
use protocol::feed::{
    BackendPort, Changes, Feed, FeedChange, FeedPosition, FollowRequest, NameChange, NameTarget,
    NamedEndpoint, NamedPort, NamedService, RouteChange, ServiceBackends,
};
use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, ConnectionEvents, DeviceKind, EgressRule,
    Envelope, FailOvers, Filtering, FlowEvictions, FromDatapath, Frontend, FrontendKind, NodeConfig,
    PeerConfig, PortConfig, Scheduler, ServiceConfig, ServiceRow, Summary, ToDatapath, TracePacket,
    TraceProtocol, TrafficPolicy, Transport, TunnelConfig, UplinkConfig,
};
use protocol::message::{
    AdminRequest, ApiError, Applied, ClusterStatus, CreatePod, DatapathStatus, ErrorCode, Items, Kind,
    Outcome, PodEntry, PodRef, ReadRequest, Response, Status, TraceDestination, TraceRequest, TunnelStatus,
};
use protocol::object::{
    Backend, Bandwidth, Check, ConnTuple, Connection, Container, ContainerPort, ContainerState,
    ContainerStatus, Document, DropCount, DropEntry, Exit, FdbEntry, Flow, NeighborEntry, Node,
    NodeProgramming, ObjectMeta, Peer, PeerHealth, PeerOrigin, Pod, PodPhase, PodSpec, PodStatus, Port,
    PortCounters, PortKind, PortState, Probe, Programming, Resources, RestartPolicy, Route, RouteVia,
    ServiceCounters, Serving, Timestamp, Trace, TraceStep, Traffic,
};
use protocol::{Mac, Offloads, PeerId, PortId, ServiceId};

use crate::{link_policies, policies};

const MAC: Mac = Mac([0x0a, 0x58, 10, 244, 0, 2]);

fn pod_ref() -> PodRef {
    PodRef { namespace: "prod".parse().unwrap(), name: "web-1".parse().unwrap() }
}

pub(crate) fn create_pod() -> CreatePod {
    CreatePod {
        pod: pod_ref(),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ip: Some("10.244.0.2".parse().unwrap()),
        mac: Some(MAC),
        port_security: true,
        resources: Resources { cpu_millicores: Some(500), memory_bytes: Some(64 << 20) },
        restart_policy: RestartPolicy::OnFailure,
        command: vec!["sleep".to_owned(), "infinity".to_owned()],
        serving: serving(),
        dns: pod_dns(),
        hostname: Some("web-0".to_owned()),
        subdomain: Some("db".to_owned()),
        bandwidth: bandwidth(),
    }
}

fn bandwidth() -> Bandwidth {
    Bandwidth {
        ingress_rate: Some(10_000_000),
        ingress_burst: Some(524_288),
        egress_rate: Some(1_000_000_000),
        egress_burst: None,
    }
}

fn position() -> FeedPosition {
    FeedPosition { instance: 7, sequence: 300 }
}

fn follow(feed: Feed, after: Option<FeedPosition>) -> FollowRequest {
    FollowRequest { feed, after, patience_ms: 10_000 }
}

fn name_changes() -> Vec<FeedChange> {
    let (namespace, name) = (pod_ref().namespace, pod_ref().name);
    let address = [10, 96, 0, 10].into();
    let ports = vec![NamedPort { name: Some("dns".to_owned()), transport: Transport::Udp, number: 53 }];
    let endpoint = NamedEndpoint {
        address,
        hostname: Some("web-0".to_owned()),
        pod: Some(pod_ref()),
        ports: ports.clone(),
    };
    let service = |target| {
        NameChange::Service(NamedService { namespace: namespace.clone(), name: name.clone(), target })
    };
    let changes = [
        NameChange::Namespace(namespace.clone()),
        NameChange::NamespaceGone(namespace.clone()),
        service(NameTarget::Cluster { addresses: vec![address], ports }),
        service(NameTarget::Headless { endpoints: vec![endpoint] }),
        service(NameTarget::External { name: "db.example.com".to_owned() }),
        NameChange::ServiceGone { namespace: namespace.clone(), name: name.clone() },
        NameChange::Pod { pod: pod_ref(), address },
        NameChange::PodGone(pod_ref()),
    ];
    changes.into_iter().map(FeedChange::Name).chain([FeedChange::Heard(7)]).collect()
}

fn route_changes() -> Vec<FeedChange> {
    let (namespace, name) = (pod_ref().namespace, pod_ref().name);
    let port = BackendPort {
        name: "http".to_owned(),
        number: 80,
        app_protocol: Some("kubernetes.io/h2c".to_owned()),
        endpoints: vec![([10, 244, 0, 7].into(), 8080)],
    };
    let changes = [
        RouteChange::Object { kind: Kind::Ingresses, document: document() },
        RouteChange::ObjectGone { kind: Kind::IngressClasses, namespace: None, name: name.clone() },
        RouteChange::Backends(ServiceBackends {
            namespace: namespace.clone(),
            name: name.clone(),
            ports: vec![port],
        }),
        RouteChange::BackendsGone { namespace, name },
    ];
    changes.into_iter().map(FeedChange::Route).collect()
}

fn pod_dns() -> protocol::object::PodDns {
    use protocol::object::{DnsOption, DnsPolicy, PodDns};
    PodDns {
        policy: DnsPolicy::None,
        nameservers: vec![[192, 0, 2, 53].into()],
        searches: vec!["corp.example".to_owned()],
        options: vec![DnsOption { name: "ndots".to_owned(), value: Some("2".to_owned()) }],
    }
}

fn serving() -> Serving {
    let port = ContainerPort {
        name: "web".to_owned(),
        number: 8080,
        transport: Transport::Tcp,
        host_port: Some(80),
        host_ip: None,
    };
    Serving {
        ports: vec![port],
        readiness: Some(Probe::new(Check::Http { port: 8080, path: "/healthz".to_owned() })),
        weight: Some(3),
    }
}

fn document() -> Document {
    Document {
        namespace: Some("prod".parse().unwrap()),
        name: "web".parse().unwrap(),
        created: Timestamp(1_700_000_000),
        json: "{}".to_owned(),
        ready: 1,
        endpoints: 2,
    }
}

pub(crate) fn pod() -> Pod {
    let exit = Exit { code: 137, signal: Some(9), at: Timestamp(1_700_000_100) };
    let status = |name: &str, state| ContainerStatus {
        name: name.parse().unwrap(),
        state,
        restart_count: 3,
        last_exit: Some(exit),
    };
    Pod {
        metadata: ObjectMeta {
            name: "web-1".parse().unwrap(),
            namespace: "prod".parse().unwrap(),
            uid: "0000-1".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            creation_timestamp: Timestamp(1_700_000_000),
            resource_version: 300,
        },
        spec: PodSpec {
            node_name: "node-1".to_owned(),
            pod_ips: vec!["10.244.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            mac: MAC,
            port_security: true,
            resources: Resources { cpu_millicores: None, memory_bytes: Some(1) },
            restart_policy: RestartPolicy::Always,
            containers: vec![Container { name: "a".parse().unwrap(), command: vec!["sh".to_owned()] }],
            serving: serving(),
            dns: pod_dns(),
            hostname: Some("web-0".to_owned()),
            subdomain: Some("db".to_owned()),
            bandwidth: bandwidth(),
        },
        status: PodStatus {
            phase: PodPhase::Running,
            message: Some("m".to_owned()),
            netns: "/run/netns/prod.web-1".to_owned(),
            port: Some(PortId(4)),
            container_statuses: vec![
                status("a", ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned() }),
                status("b", ContainerState::Running { pid: 4711, since: Timestamp(1_700_000_001) }),
                status("c", ContainerState::Terminated { exit }),
            ],
            ready: true,
        },
    }
}

fn node() -> Node {
    Node {
        name: "node-1".to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        gateway: "10.244.0.1".parse().unwrap(),
        pod_mtu: Some(1450),
        pods: Some(2),
        ready: Some(true),
        version: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
    }
}

fn counters() -> PortCounters {
    PortCounters {
        rx_frames: 251,
        rx_bytes: 70_000,
        forwarded: 250,
        drops: vec![DropCount { reason: "spoofed_source".to_owned(), frames: 1 }],
        tx_frames: 5_000_000_000,
        tx_bytes: u64::MAX,
        tx_refused: 0,
        originated: 1,
        delayed_frames: 300,
        delayed_bytes: 70_001,
        limited_frames: 2,
        limited_bytes: 3_000,
        pauses: 9,
    }
}

fn fdb() -> FdbEntry {
    FdbEntry { mac: MAC, port: PortId(4), port_name: "prod/web-1".to_owned(), is_static: true, age_ms: 0 }
}

fn neighbor() -> NeighborEntry {
    NeighborEntry {
        ip: "10.244.0.2".parse().unwrap(),
        mac: MAC,
        port: PortId(4),
        port_name: "prod/web-1".to_owned(),
        is_static: false,
        age_ms: 1500,
    }
}

fn flow() -> Flow {
    Flow {
        ingress: PortId(4),
        ingress_name: "prod/web-1".to_owned(),
        egress: PortId(0),
        egress_name: "gateway".to_owned(),
        protocol: 6,
        source: "10.244.0.2".parse().unwrap(),
        source_port: 40_000,
        destination: "10.244.0.1".parse().unwrap(),
        destination_port: 80,
        frames: 12,
        bytes: 3456,
        idle_ms: 78,
        becomes: Some(connection().reply),
    }
}

fn drop_entry() -> DropEntry {
    DropEntry {
        port: PortId(4),
        port_name: "prod/web-1".to_owned(),
        reason: "spoofed_source".to_owned(),
        description: "d".to_owned(),
        frames: 1,
    }
}

fn health() -> PeerHealth {
    PeerHealth {
        reachable: Some(true),
        last_seen_ms: Some(12),
        rtt_us: Some(251),
        loss_percent: Some(1),
        path_mtu: Some(1500),
        tx_packets: 1,
        tx_bytes: 2,
        rx_packets: 3,
        rx_bytes: u64::MAX,
    }
}

fn peer() -> Peer {
    Peer {
        name: "node-2".to_owned(),
        address: "192.0.2.2".parse().unwrap(),
        udp_port: 4789,
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
        origin: PeerOrigin::Cluster,
        pod_mtu: 1450,
        health: health(),
    }
}

fn routes() -> Vec<Route> {
    let route = |destination: &str, via| Route { destination: destination.parse().unwrap(), via, mtu: 1450 };
    let via_peer = RouteVia::Peer { name: "node-2".to_owned(), address: "192.0.2.2".parse().unwrap() };
    vec![
        route("10.244.0.0/24", RouteVia::Local),
        route("10.244.1.0/24", via_peer),
        route("10.244.0.0/16", RouteVia::Unreachable),
        route("0.0.0.0/0", RouteVia::Gateway),
    ]
}

fn port() -> Port {
    Port {
        id: PortId(4),
        name: "prod/web-1".to_owned(),
        kind: PortKind::Pod,
        state: PortState::Active,
        mac: MAC,
        addresses: vec!["10.244.0.2".parse().unwrap()],
        ip_mtu: 1450,
        offloads: Offloads::CSUM.union(Offloads::TSO4),
        port_security: true,
        counters: counters(),
    }
}

fn port_config() -> PortConfig {
    PortConfig {
        id: PortId(4),
        name: "prod/web-1".to_owned(),
        kind: PortKind::Gateway,
        device: DeviceKind::VnetTap,
        offloads: Offloads(0x67),
        mac: MAC,
        addresses: vec!["10.244.0.2".parse().unwrap()],
        ip_mtu: 1450,
        port_security: false,
        state: PortState::Closed,
        bandwidth: bandwidth(),
    }
}

fn status() -> Status {
    Status {
        node: node(),
        control_pid: 10,
        control_started: Timestamp(1_700_000_000),
        datapath: Some(DatapathStatus {
            pid: 11,
            started: Timestamp(1_700_000_001),
            epoch: 7,
            workers: 1,
            ports: 3,
            fdb_entries: 3,
            flows: 2,
            rx_frames: 10,
            forwarded: 9,
            dropped: 1,
        }),
        datapath_restarts: 1,
        tunnel: Some(TunnelStatus {
            address: "192.0.2.1".parse().unwrap(),
            udp_port: 4789,
            vni: 1,
            underlay_mtu: 1500,
            peers: 5,
            peers_up: 3,
            peers_unknown: 1,
        }),
        cluster: Some(ClusterStatus {
            endpoints: vec!["http://192.0.2.9:2379".to_owned()],
            connected: false,
            since: Timestamp(1_700_000_002),
            message: Some("m".to_owned()),
        }),
        state_dir: "/var/lib/vswitchd".to_owned(),
        log_filter: "info".to_owned(),
        problems: vec!["p".to_owned()],
    }
}

fn read_requests() -> Vec<(&'static str, ReadRequest)> {
    let list = |kind| ReadRequest::List { kind, namespace: None };
    vec![
        (
            "read list pods of a namespace",
            ReadRequest::List { kind: Kind::Pods, namespace: Some("prod".parse().unwrap()) },
        ),
        ("read list nodes", list(Kind::Nodes)),
        ("read list fdb", list(Kind::Fdb)),
        ("read list neighbors", list(Kind::Neighbors)),
        ("read list flows", list(Kind::Flows)),
        ("read list ports", list(Kind::Ports)),
        ("read list drops", list(Kind::Drops)),
        ("read list peers", list(Kind::Peers)),
        ("read list routes", list(Kind::Routes)),
        ("read get pod", ReadRequest::GetPod(pod_ref())),
        (
            "read get object",
            ReadRequest::GetObject {
                kind: Kind::Services,
                namespace: "prod".parse().unwrap(),
                name: "web".parse().unwrap(),
            },
        ),
        ("read list services", list(Kind::Services)),
        ("read list endpoints", list(Kind::Endpoints)),
        ("read list endpoint slices", list(Kind::EndpointSlices)),
        ("read list namespaces", list(Kind::Namespaces)),
        ("read status", ReadRequest::Status),
        ("read metrics", ReadRequest::Metrics),
        ("read list traffic", list(Kind::Traffic)),
        ("read programming", ReadRequest::Programming { revision: Some(7), patience_ms: 500 }),
        ("read follow names", ReadRequest::Follow(follow(Feed::Names, None))),
        ("read follow routes", ReadRequest::Follow(follow(Feed::Routes, Some(position())))),
        (
            "read trace",
            ReadRequest::Trace(TraceRequest {
                pod: pod_ref(),
                protocol: TraceProtocol::Udp,
                source_port: 40_000,
                destination: TraceDestination::Service {
                    namespace: "prod".parse().unwrap(),
                    name: "web".parse().unwrap(),
                    port: Some("dns".to_owned()),
                },
                size: 60,
            }),
        ),
    ]
}

fn admin_requests() -> Vec<(&'static str, AdminRequest)> {
    vec![
        ("admin read", AdminRequest::Read(ReadRequest::Status)),
        ("admin create pod", AdminRequest::CreatePod(Box::new(create_pod()))),
        ("admin delete pod", AdminRequest::DeletePod(pod_ref())),
        (
            "admin run container",
            AdminRequest::RunContainer {
                pod: pod_ref(),
                name: "side".parse().unwrap(),
                command: vec!["true".to_owned()],
            },
        ),
        ("admin enter pod", AdminRequest::EnterPod(pod_ref())),
        (
            "admin logs",
            AdminRequest::Logs {
                pod: pod_ref(),
                container: Some("side".parse().unwrap()),
                follow: true,
                tail: Some(10),
                previous: false,
            },
        ),
        ("admin capture", AdminRequest::Capture { pod: pod_ref(), snaplen: 262_144 }),
        ("admin set log filter", AdminRequest::SetLogFilter("debug".to_owned())),
        ("admin delete node", AdminRequest::DeleteNode("node-2".parse().unwrap())),
        ("admin apply", AdminRequest::Apply { manifests: vec!["{}".to_owned()], dry_run: true }),
        (
            "admin delete object",
            AdminRequest::DeleteObject {
                kind: Kind::Services,
                namespace: "prod".parse().unwrap(),
                name: "web".parse().unwrap(),
                dry_run: false,
            },
        ),
        ("admin attach", attachment_request(AttachmentRequest::Attach(Box::new(attach())))),
        ("admin detach", attachment_request(AttachmentRequest::Detach(attachment_key()))),
        ("admin show attachment", attachment_request(AttachmentRequest::Show(attachment_key()))),
        ("admin list attachments", attachment_request(AttachmentRequest::List(attachment_key().network))),
        ("admin attachment readiness", attachment_request(AttachmentRequest::Readiness)),
    ]
}

fn attachment_request(request: AttachmentRequest) -> AdminRequest {
    AdminRequest::Attachment(request)
}

fn attachment_key() -> AttachmentKey {
    AttachmentKey {
        network: NetworkName::new("pods").unwrap(),
        container: ContainerId::new("4f6c").unwrap(),
        interface: InterfaceName::new("eth0").unwrap(),
    }
}

fn attach() -> Attach {
    let ip = |text: &str| text.parse().unwrap();
    Attach {
        key: attachment_key(),
        role: AttachmentRole::Interface,
        netns: NetnsPath::new("/run/netns/blue").unwrap(),
        netns_identity: (4, 4_026_532_000),
        netns_override: false,
        pod: pod_ref(),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        addresses: vec![ip("10.244.0.7")],
        ranges: vec![vec![AddressRange {
            subnet: "10.244.0.0/24".parse().unwrap(),
            start: ip("10.244.0.5"),
            end: ip("10.244.0.9"),
            gateway: Some(ip("10.244.0.1")),
        }]],
        mac: Some(MAC),
        ip_mtu: Some(1400),
        ports: serving().ports,
        bandwidth: Bandwidth { ingress_rate: Some(1_000_000), ..Bandwidth::default() },
        resolver: resolver(),
        aliases: vec!["front".parse().unwrap()],
    }
}

fn resolver() -> Resolver {
    Resolver {
        nameservers: vec!["192.0.2.53".parse().unwrap()],
        domain: Some("corp.example".to_owned()),
        searches: vec!["a.example".to_owned()],
        options: vec!["ndots:2".to_owned()],
    }
}

fn attached() -> Attached {
    Attached {
        mac: MAC,
        ip_mtu: 1400,
        addresses: vec![("10.244.0.7/24".parse().unwrap(), "10.244.0.1".parse().unwrap())],
        resolver: resolver(),
    }
}

fn responses() -> Vec<(&'static str, Response)> {
    let error = |code| Response::Error(ApiError::new(code, "why"));
    let entry = PodEntry {
        netns: "/run/netns/prod.web-1".to_owned(),
        hostname: "web-1".to_owned(),
        binds: vec![("/a".to_owned(), "/etc/hosts".to_owned())],
        cgroup_procs: vec!["/sys/fs/cgroup/x/cgroup.procs".to_owned()],
    };
    vec![
        ("response done", Response::Done),
        ("response error not found", error(ErrorCode::NotFound)),
        ("response error already exists", error(ErrorCode::AlreadyExists)),
        ("response error invalid", error(ErrorCode::Invalid)),
        ("response error conflict", error(ErrorCode::Conflict)),
        ("response error exhausted", error(ErrorCode::Exhausted)),
        ("response error forbidden", error(ErrorCode::Forbidden)),
        ("response error unavailable", error(ErrorCode::Unavailable)),
        ("response error internal", error(ErrorCode::Internal)),
        ("response error host port taken", error(ErrorCode::HostPortTaken)),
        ("response attached", Response::Attached(Box::new(attached()))),
        ("response attachments", Response::Attachments(vec![attachment_key()])),
        ("response ready", Response::Readiness(Readiness::Ready)),
        ("response refusing", Response::Readiness(Readiness::Refusing { why: "m".to_owned() })),
        (
            "response exhausted",
            Response::Readiness(Readiness::Exhausted { pool: "10.244.0.0/24".to_owned(), held: 253 }),
        ),
        ("response not forwarding", Response::Readiness(Readiness::NotForwarding { why: "m".to_owned() })),
        ("response items pods", Response::Items(Items::Pods(vec![pod()]))),
        ("response items nodes", Response::Items(Items::Nodes(vec![node()]))),
        ("response items fdb", Response::Items(Items::Fdb(vec![fdb()]))),
        ("response items neighbors", Response::Items(Items::Neighbors(vec![neighbor()]))),
        ("response items flows", Response::Items(Items::Flows(vec![flow()]))),
        ("response items ports", Response::Items(Items::Ports(vec![port()]))),
        ("response items drops", Response::Items(Items::Drops(vec![drop_entry()]))),
        ("response items connections", Response::Items(Items::Connections(vec![connection()]))),
        ("response items peers", Response::Items(Items::Peers(vec![peer()]))),
        ("response items routes", Response::Items(Items::Routes(routes()))),
        ("response items services", Response::Items(Items::Services(vec![document()]))),
        ("response items endpoints", Response::Items(Items::Endpoints(vec![document()]))),
        ("response items slices", Response::Items(Items::EndpointSlices(vec![document()]))),
        ("response items namespaces", Response::Items(Items::Namespaces(vec![document()]))),
        (
            "response applied",
            Response::Applied(
                [
                    Outcome::Created,
                    Outcome::Configured,
                    Outcome::Unchanged,
                    Outcome::Failed(ApiError::new(ErrorCode::Invalid, "m")),
                ]
                .map(|outcome| Applied { object: "service/web".to_owned(), outcome, revision: Some(7) })
                .into(),
            ),
        ),
        ("response items traffic", Response::Items(Items::Traffic(vec![traffic()]))),
        (
            "response programming",
            Response::Programming(Programming {
                revision: 7,
                store_revision: 9,
                nodes: vec![NodeProgramming { name: "a".to_owned(), active: Some(8) }],
            }),
        ),
        ("response trace", Response::Trace(Box::new(trace()))),
        (
            "response changes of names",
            Response::Changes(Changes { from_scratch: true, changes: name_changes() }),
        ),
        (
            "response changes of routes",
            Response::Changes(Changes { from_scratch: false, changes: route_changes() }),
        ),
        ("response followed", Response::Followed(position())),
        ("response pod", Response::Pod(Box::new(pod()))),
        ("response status", Response::Status(Box::new(status()))),
        ("response entry", Response::Entry(entry)),
        ("response bytes", Response::Bytes(vec![0, 1, 250, 251, 255])),
    ]
}

fn service_counters() -> ServiceCounters {
    ServiceCounters {
        active: 1,
        connections: 2,
        packets_in: 3,
        bytes_in: 4,
        packets_out: 5,
        bytes_out: 6,
        refused: vec![DropCount { reason: "service_no_endpoints".to_owned(), frames: 7 }],
    }
}

fn traffic() -> Traffic {
    Traffic {
        namespace: "prod".parse().unwrap(),
        service: "web".parse().unwrap(),
        port: "http".to_owned(),
        protocol: 6,
        backend: Some(Backend {
            address: "10.244.1.9".parse().unwrap(),
            port: 8080,
            pod: "prod/web-1".to_owned(),
        }),
        counters: service_counters(),
    }
}

fn trace() -> Trace {
    Trace {
        ingress: "prod/client".to_owned(),
        protocol: 17,
        packet: connection().original,
        size: 60,
        steps: vec![TraceStep { step: "arp".to_owned(), result: "r".to_owned(), reason: "w".to_owned() }],
        egress: Some("prod/web-1".to_owned()),
        becomes: Some(connection().reply),
        drop: Some("hairpin".to_owned()),
        error: None,
    }
}

fn connection() -> Connection {
    let tuple = |source: &str, source_port, destination: &str, destination_port| ConnTuple {
        source: source.parse().unwrap(),
        source_port,
        destination: destination.parse().unwrap(),
        destination_port,
    };
    Connection {
        protocol: 6,
        original: tuple("10.244.0.5", 40_000, "10.96.0.10", 80),
        reply: tuple("10.244.1.9", 8080, "10.244.0.5", 40_000),
        state: "ESTABLISHED".to_owned(),
        age_ms: 5000,
        idle_ms: 70,
        timeout_ms: 86_400_000,
        owner: PortId(4),
        owner_name: "default/client".to_owned(),
        is_service: true,
        is_hairpin: false,
    }
}

fn service() -> ServiceConfig {
    let frontend = |kind, address: &str, port| Frontend { kind, address: address.parse().unwrap(), port };
    ServiceConfig {
        id: ServiceId(300),
        name: "default/web:http".to_owned(),
        transport: Transport::Tcp,
        frontends: vec![
            frontend(FrontendKind::ClusterIp, "10.96.0.10", 80),
            frontend(FrontendKind::NodePort, "0.0.0.0", 30_080),
            frontend(FrontendKind::LoadBalancer, "192.0.2.80", 80),
            frontend(FrontendKind::ExternalIp, "198.51.100.7", 80),
        ],
        scheduler: Scheduler::Maglev,
        affinity_seconds: Some(10_800),
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        source_ranges: vec!["203.0.113.0/24".parse().unwrap()],
    }
}

fn backends() -> BackendChanges {
    let backend = BackendConfig {
        address: "10.244.0.5".parse().unwrap(),
        port: 8080,
        weight: 1,
        state: BackendState::Draining,
        is_local: true,
        is_preferred: true,
    };
    BackendChanges {
        service: ServiceId(300),
        remove: vec![("10.244.0.4".parse().unwrap(), 8080)],
        put: vec![backend],
    }
}

fn to_datapath() -> Vec<(&'static str, Envelope<ToDatapath>)> {
    let node = NodeConfig {
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "fd00::/48".parse().unwrap(),
        service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        gateway_ip: "10.244.0.1".parse().unwrap(),
        router_mac: Mac([0x0a, 0x58, 10, 244, 0, 1]),
        node_addresses: vec!["192.0.2.1".parse().unwrap()],
        fdb_ageing_seconds: 300,
        tunnel: Some(TunnelConfig {
            vni: 1,
            address: "192.0.2.1".parse().unwrap(),
            udp_port: 4789,
            underlay_mtu: 1500,
            clamp_mss: true,
        }),
        uplink: Some(UplinkConfig {
            address: "192.0.2.1".parse().unwrap(),
            subnet: "192.0.2.0/24".parse().unwrap(),
            gateway: Some("192.0.2.254".parse().unwrap()),
            source_ports: 61_000..=65_535,
            node_ports: 30_000..=32_767,
            filtering: Filtering::EndpointIndependent,
            not_translated: vec!["198.51.100.0/24".parse().unwrap()],
            egress: vec![EgressRule {
                sources: vec!["10.244.0.9/32".parse().unwrap()],
                address: "192.0.2.9".parse().unwrap(),
            }],
            announced: vec!["192.0.2.200".parse().unwrap()],
            announced_by_lease: true,
        }),
        policies: true,
    };
    let peer = PeerConfig {
        id: PeerId(300),
        name: "node-2".to_owned(),
        address: "192.0.2.2".parse().unwrap(),
        udp_port: 8472,
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
        node_addresses: vec!["192.0.2.2".parse().unwrap()],
        router_mac: MAC,
        keep_alive: true,
        has_pods: false,
        shares_policies: true,
    };
    let delta = ConfigDelta {
        epoch: 8,
        detach: vec![PortId(3)],
        node: Some(node),
        attach: vec![port_config()],
        update: vec![PortConfig {
            kind: PortKind::Tunnel,
            device: DeviceKind::UdpTunnel,
            state: PortState::Quarantined,
            ..port_config()
        }],
        forget_peers: vec![PeerId(2)],
        peers: vec![peer],
        reset_services: true,
        forget_services: vec![ServiceId(5)],
        services: vec![service()],
        backends: vec![backends()],
        reset_policies: true,
        policies: link_policies::change(),
        commit: true,
    };
    let bodies = [
        ("link apply", ToDatapath::Apply(delta)),
        ("link export ports", ToDatapath::ExportPorts { after: Some(PortId(4)) }),
        ("link ask counters", ToDatapath::Counters { after: None }),
        ("link ask fdb", ToDatapath::Fdb { cursor: 0 }),
        ("link ask neighbors", ToDatapath::Neighbors { cursor: 256 }),
        ("link ask flows", ToDatapath::Flows { cursor: 70_000 }),
        ("link ask connections", ToDatapath::Connections { cursor: 9 }),
        ("link ask peers", ToDatapath::Peers { after: Some(PeerId(7)) }),
        ("link ask summary", ToDatapath::Summary),
        ("link start capture", ToDatapath::StartCapture { port: PortId(4), snaplen: 96 }),
        ("link shutdown", ToDatapath::Shutdown),
        ("link set log filter", ToDatapath::SetLogFilter("debug".to_owned())),
        ("link ask services", ToDatapath::Services { cursor: 9 }),
        ("link ask policies", ToDatapath::Policies { cursor: 1024 }),
        ("link ask denials", ToDatapath::Denials { after: 77 }),
        ("link hold announced", ToDatapath::HoldAnnounced { until_nanos: 1_234_567_890_123 }),
        (
            "link ask trace",
            ToDatapath::Trace(TracePacket {
                port: PortId(4),
                protocol: TraceProtocol::Tcp,
                source: Some("10.244.0.5".parse().unwrap()),
                source_port: 40_000,
                destination: "10.96.0.10".parse().unwrap(),
                destination_port: 80,
                size: 60,
            }),
        ),
    ];
    bodies.into_iter().map(|(name, body)| (name, Envelope { id: 300, body })).collect()
}

fn from_datapath() -> Vec<(&'static str, Envelope<FromDatapath>)> {
    let summary = Summary {
        epoch: 8,
        workers: 1,
        ports: 3,
        fdb_entries: 4,
        neighbors: 5,
        flows: 6,
        rx_frames: 7,
        forwarded: 8,
        dropped: 9,
        merged: 10,
        flow_evictions: FlowEvictions { stale: 11, idle: 12, share: 13, full: 14, collision: 15 },
        connections: 16,
        connection_events: ConnectionEvents { created: 17, refused_ports: 18, ..ConnectionEvents::default() },
        affinity_evictions: 19,
        fail_overs: FailOvers { refused: 20, unreachable: 21, unanswered: 22 },
    };
    let bodies = [
        ("link hello", FromDatapath::Hello { version: 2, build: "0.1.0".to_owned(), pid: 11, epoch: 8 }),
        ("link applied", FromDatapath::Applied { epoch: 8 }),
        ("link refused", FromDatapath::Refused { message: "why".to_owned() }),
        ("link ports", FromDatapath::Ports(vec![port_config()])),
        ("link counters", FromDatapath::Counters(vec![(PortId(4), counters())])),
        ("link fdb", FromDatapath::Fdb { rows: vec![fdb()], next: Some(256) }),
        ("link neighbors", FromDatapath::Neighbors { rows: vec![neighbor()], next: None }),
        ("link connections", FromDatapath::Connections { rows: vec![connection()], next: None }),
        ("link flows", FromDatapath::Flows { rows: vec![flow()], next: None }),
        ("link peers", FromDatapath::Peers(vec![(PeerId(7), health())])),
        ("link summary", FromDatapath::Summary(summary)),
        ("link done", FromDatapath::Done),
        (
            "link services",
            FromDatapath::Services {
                rows: vec![ServiceRow {
                    service: ServiceId(5),
                    backend: Some(("10.244.1.9".parse().unwrap(), 8080)),
                    counters: service_counters(),
                }],
                next: Some(7),
            },
        ),
        ("link trace", FromDatapath::Trace(Box::new(trace()))),
        ("link policies", FromDatapath::Policies { rows: vec![link_policies::counts()], next: Some(1024) }),
        ("link denials", FromDatapath::Denials { rows: vec![link_policies::denial()], unnoted: 5 }),
        ("link port detached", FromDatapath::PortDetached { port: PortId(4), cause: "EBADFD".to_owned() }),
    ];
    bodies.into_iter().map(|(name, body)| (name, Envelope { id: 0, body })).collect()
}

/// Something to do with each message, whatever its type.
pub(crate) trait Visit {
    fn visit<T>(&mut self, name: &'static str, message: &T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug;
}

/// Shows every message to `visitor`.
pub(crate) fn each(visitor: &mut impl Visit) {
    read_requests().iter().for_each(|(name, message)| visitor.visit(name, message));
    admin_requests().iter().for_each(|(name, message)| visitor.visit(name, message));
    responses().iter().for_each(|(name, message)| visitor.visit(name, message));
    policies::read_requests().iter().for_each(|(name, message)| visitor.visit(name, message));
    policies::admin_requests().iter().for_each(|(name, message)| visitor.visit(name, message));
    policies::responses(document()).iter().for_each(|(name, message)| visitor.visit(name, message));
    to_datapath().iter().for_each(|(name, message)| visitor.visit(name, message));
    from_datapath().iter().for_each(|(name, message)| visitor.visit(name, message));
}
