use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use netdev::netlink::NetlinkError;
use netdev::sysctl::SysctlError;
use parking_lot::Mutex;
use protocol::link::{
    EgressRule, Filtering, Frontend, FrontendKind, NodeConfig, PeerConfig, Scheduler, ServiceConfig,
    TrafficPolicy, Transport, UplinkConfig,
};
use protocol::{Mac, PeerId, ServiceId};
use store::desired::Configuration;
use store::services::{ServiceState, Services};

use super::super::hidden::Interface;
use super::super::kernel::Kernel;
use super::super::nft::NftError;
use super::Edge;

/// What was asked of a kernel, which can be told to refuse.
#[derive(Default)]
struct Fake {
    scripts: Vec<String>,
    routes: Vec<(String, Ipv4Addr, BTreeSet<Ipv4Addr>)>,
    loopback: Vec<String>,
    /// A script that contains this is refused.
    refuses: Option<&'static str>,
    generation: u32,
    is_flushed: bool,
    asked_for_table: usize,
}

struct Shared(Arc<Mutex<Fake>>);

impl Kernel for Shared {
    fn load(&self, script: &str) -> Result<(), NftError> {
        let fake = &mut *self.0.lock();
        if fake.refuses.is_some_and(|words| script.contains(words)) {
            return Err(NftError::Refused("Operation not supported".to_owned()));
        }
        if fake.is_flushed && !script.contains("table netdev vpod {") {
            return Err(NftError::Refused("No such file or directory".to_owned()));
        }
        fake.is_flushed = false;
        fake.generation += 1;
        fake.scripts.push(script.to_owned());
        Ok(())
    }

    fn has_table(&self) -> Result<bool, NftError> {
        let fake = &mut *self.0.lock();
        fake.asked_for_table += 1;
        Ok(!fake.is_flushed)
    }

    fn generation(&self) -> Result<u32, NetlinkError> {
        Ok(self.0.lock().generation)
    }

    fn route(
        &self,
        gateway: &Interface,
        source: Ipv4Addr,
        addresses: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), NetlinkError> {
        self.0.lock().routes.push((gateway.name.clone(), source, addresses.clone()));
        Ok(())
    }

    fn accept_loopback(&self, gateway: &Interface) -> Result<(), SysctlError> {
        self.0.lock().loopback.push(gateway.name.clone());
        Ok(())
    }
}

struct Bed {
    kernel: Arc<Mutex<Fake>>,
    edge: Edge,
    /// As the switch keeps what it serves: services are told apart by where they are.
    served: Mutex<Vec<Arc<Services>>>,
}

const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const BALANCER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

fn interface(name: &str, index: u32) -> Interface {
    Interface { name: name.to_owned(), index }
}

impl Bed {
    fn new() -> Self {
        let kernel = Arc::default();
        let edge = Edge::with(Box::new(Shared(Arc::clone(&kernel))));
        edge.set_device(Some(interface("nic0", 2)));
        edge.set_gateway(interface("vpod0", 5));
        Self { kernel, edge, served: Mutex::default() }
    }

    /// The datapath gets this, from the first to the last step.
    fn serve(&self, wanted: &Configuration, services: &Arc<Services>) -> bool {
        self.served.lock().push(Arc::clone(services));
        let may = self.edge.prepare(wanted, Some(services), None);
        self.edge.finish(wanted, Some(services), None);
        may
    }

    /// The scripts since this was last asked.
    fn scripts(&self) -> Vec<String> {
        std::mem::take(&mut self.kernel.lock().scripts)
    }

    fn routed(&self) -> Vec<(String, Ipv4Addr, BTreeSet<Ipv4Addr>)> {
        std::mem::take(&mut self.kernel.lock().routes)
    }
}

fn uplink() -> UplinkConfig {
    UplinkConfig {
        address: NODE,
        subnet: "192.0.2.0/24".parse().unwrap(),
        gateway: Some([192, 0, 2, 1].into()),
        source_ports: 61_000..=65_535,
        node_ports: 30_000..=32_767,
        filtering: Filtering::default(),
        not_translated: Vec::new(),
        egress: Vec::new(),
        announced: Vec::new(),
        announced_by_lease: false,
    }
}

fn configuration(uplink: Option<UplinkConfig>) -> Configuration {
    let gateway_ip = [10, 244, 0, 1].into();
    let node = NodeConfig {
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        gateway_ip,
        router_mac: Mac::for_router(gateway_ip),
        node_addresses: vec![NODE.into()],
        fdb_ageing_seconds: 300,
        tunnel: None,
        uplink,
        policies: true,
    };
    Configuration { node: Some(node), ..Configuration::default() }
}

fn services(frontends: &[(FrontendKind, Ipv4Addr, u16)]) -> Arc<Services> {
    let frontends =
        frontends.iter().map(|&(kind, address, port)| Frontend { kind, address: address.into(), port });
    let config = ServiceConfig {
        id: ServiceId(0),
        name: "default/web:80".to_owned(),
        transport: Transport::Tcp,
        frontends: frontends.collect(),
        scheduler: Scheduler::Random,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    };
    let state = ServiceState { config, backends: Default::default() };
    Arc::new(std::iter::once((ServiceId(0), Arc::new(state))).collect())
}

fn node_port(port: u16) -> Arc<Services> {
    services(&[(FrontendKind::NodePort, Ipv4Addr::UNSPECIFIED, port)])
}

#[test]
fn what_is_new_is_hidden_before_and_what_is_old_shown_after() {
    let bed = Bed::new();
    let wanted = configuration(Some(uplink()));
    assert!(bed.serve(&wanted, &node_port(30_080)));
    let scripts = bed.scripts();
    assert!(scripts.len() == 1 && scripts[0].contains("elements = { tcp . 30080 }"), "{scripts:?}");
    let next = node_port(30_081);
    assert!(bed.edge.prepare(&wanted, Some(&next), None));
    assert_eq!(bed.scripts(), ["add element netdev vpod node_ports { tcp . 30081 }\n"]);
    bed.edge.finish(&wanted, Some(&next), None);
    assert_eq!(bed.scripts(), ["delete element netdev vpod node_ports { tcp . 30080 }\n"]);
    assert!(bed.serve(&wanted, &next));
    assert!(bed.scripts().is_empty(), "a change elsewhere costs nothing");
}

#[test]
fn without_an_uplink_there_is_no_table() {
    let bed = Bed::new();
    let none = Arc::default();
    bed.serve(&configuration(None), &none);
    // Whatever an earlier run left.
    assert_eq!(bed.scripts(), ["add table netdev vpod\ndelete table netdev vpod\n"]);
    bed.serve(&configuration(Some(uplink())), &none);
    assert_eq!(bed.scripts().len(), 1);
    bed.serve(&configuration(None), &none);
    assert_eq!(bed.scripts(), ["add table netdev vpod\ndelete table netdev vpod\n"]);
    bed.serve(&configuration(None), &Arc::default());
    assert!(bed.scripts().is_empty());
}

#[test]
fn what_cannot_be_hidden_is_not_served() {
    let bed = Bed::new();
    bed.kernel.lock().refuses = Some("table");
    let wanted = configuration(Some(uplink()));
    assert!(!bed.edge.prepare(&wanted, Some(&node_port(30_080)), None));
    assert!(bed.edge.is_closed());
    let problem = bed.edge.problem().unwrap();
    assert!(problem.starts_with("no uplink: nft refused the rules of table netdev vpod: "), "{problem}");
    bed.kernel.lock().refuses = None;
    assert!(bed.serve(&wanted, &node_port(30_080)));
    assert!(!bed.edge.is_closed() && bed.edge.problem().is_none());
}

/// As kernels before 5.16 do.
#[test]
fn kernel_without_the_hook_for_the_nodes_own_packets_does_the_rest() {
    let bed = Bed::new();
    bed.kernel.lock().refuses = Some("hook egress");
    let wanted = configuration(Some(uplink()));
    assert!(bed.serve(&wanted, &node_port(30_080)));
    assert!(bed.edge.problem().is_none());
    assert!(bed.edge.shortcomings()[0].starts_with("the node does not reach its own NodePorts: nft refused"));
    let scripts = bed.scripts();
    assert!(
        scripts.len() == 1 && scripts[0].contains("30080") && !scripts[0].contains("egress"),
        "{scripts:?}"
    );
    assert!(bed.serve(&wanted, &node_port(30_081)));
    assert_eq!(bed.scripts().len(), 2, "elements only: it is not tried again");
}

#[test]
fn flushed_table_is_made_anew_and_nobody_asks_while_no_rules_change() {
    let bed = Bed::new();
    let (wanted, services) = (configuration(Some(uplink())), node_port(30_080));
    assert!(!bed.edge.has_lost_its_table(), "there is none");
    bed.serve(&wanted, &services);
    for _ in 0..3 {
        assert!(!bed.edge.has_lost_its_table());
    }
    assert_eq!(bed.kernel.lock().asked_for_table, 1);
    // Rules of somebody else's.
    bed.kernel.lock().generation += 1;
    assert!(!bed.edge.has_lost_its_table());
    bed.scripts();
    {
        let mut kernel = bed.kernel.lock();
        (kernel.is_flushed, kernel.generation) = (true, kernel.generation + 1);
    }
    assert!(bed.edge.has_lost_its_table());
    bed.serve(&wanted, &services);
    let scripts = bed.scripts();
    assert!(scripts.len() == 1 && scripts[0].contains("table netdev vpod {"), "{scripts:?}");
    assert!(!bed.edge.has_lost_its_table());
    // A change may come before it is noticed.
    bed.kernel.lock().is_flushed = true;
    bed.serve(&wanted, &node_port(30_081));
    assert!(bed.scripts()[0].contains("table netdev vpod {"));
}

#[test]
fn another_gateway_device_of_the_same_name_is_another_device() {
    let bed = Bed::new();
    let (wanted, services) = (configuration(Some(uplink())), node_port(30_080));
    bed.serve(&wanted, &services);
    bed.scripts();
    bed.edge.set_gateway(interface("vpod0", 6));
    bed.serve(&wanted, &services);
    let scripts = bed.scripts();
    assert!(scripts.len() == 1 && scripts[0].contains("table netdev vpod {"), "rules name devices by number");
}

#[test]
fn node_reaches_addresses_of_services_by_the_gateway_but_neither_nodes_nor_routers() {
    let bed = Bed::new();
    let peer = Ipv4Addr::new(192, 0, 2, 8);
    let router = uplink().gateway.unwrap();
    let claimed = [BALANCER, peer, router, NODE].map(|address| (FrontendKind::ExternalIp, address, 80));
    let mut wanted = configuration(Some(uplink()));
    let config = PeerConfig {
        id: PeerId(1),
        name: "other".to_owned(),
        address: peer,
        udp_port: 4789,
        pod_cidrs: Vec::new(),
        node_addresses: vec![peer.into()],
        router_mac: Mac::for_router([10, 244, 1, 1].into()),
        keep_alive: true,
        has_pods: false,
        shares_policies: false,
    };
    wanted.peers.insert(config.id, Some(config));
    bed.serve(&wanted, &services(&claimed));
    assert_eq!(bed.routed(), [("vpod0".to_owned(), NODE, [BALANCER].into())]);
    bed.serve(&wanted, &Arc::default());
    assert_eq!(bed.routed(), [("vpod0".to_owned(), NODE, BTreeSet::new())]);
    // What pods appear as outside is no address that anybody asks.
    let rule = EgressRule { sources: Vec::new(), address: [192, 0, 2, 99].into() };
    bed.serve(&configuration(Some(UplinkConfig { egress: vec![rule], ..uplink() })), &Arc::default());
    assert!(bed.routed().iter().all(|(_, _, addresses)| addresses.is_empty()));
}

#[test]
fn ports_of_pods_are_hidden_at_their_address_only() {
    let bed = Bed::new();
    let stand_in = Ipv4Addr::new(10, 96, 0, 0);
    let ports = services(&[(FrontendKind::HostPort, NODE, 8080), (FrontendKind::HostLocal, stand_in, 8080)]);
    bed.serve(&configuration(Some(uplink())), &ports);
    let script = bed.scripts().remove(0);
    for words in [
        "set host_ports { type ipv4_addr . inet_proto . inet_service; elements = { 192.0.2.7 . tcp . 8080 }; }",
        "set local_ports { type inet_proto . inet_service; elements = { tcp . 8080 }; }",
    ] {
        assert!(script.contains(words), "{words}\n{script}");
    }
    assert_eq!(bed.kernel.lock().loopback, ["vpod0"]);
    assert!(bed.routed().iter().all(|(_, _, addresses)| addresses.is_empty()));
}

#[test]
fn end_without_pods_takes_everything_away() {
    let bed = Bed::new();
    bed.serve(&configuration(Some(uplink())), &services(&[(FrontendKind::LoadBalancer, BALANCER, 80)]));
    bed.scripts();
    bed.routed();
    bed.edge.clear();
    assert_eq!(bed.scripts(), ["add table netdev vpod\ndelete table netdev vpod\n"]);
    assert!(bed.routed()[0].2.is_empty());
}
