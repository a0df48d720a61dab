//! A switch on a node with a pod, and services to give it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, DeviceKind, Frontend, FrontendKind, NodeConfig,
    PortConfig, Scheduler, ServiceConfig, TrafficPolicy, Transport,
};
use protocol::object::{PortKind, PortState};
use protocol::{Mac, Offloads, PortId, ServiceId};

use crate::service::{Chosen, NoBackend, Origin, Rng, Services};
use crate::{ConfigError, Instant, Switch, SwitchOptions};

pub(super) const GATEWAY_IP: [u8; 4] = [10, 244, 0, 1];
pub(super) const POD_IP: [u8; 4] = [10, 244, 0, 2];
pub(super) const NODE_IP: [u8; 4] = [192, 0, 2, 2];
/// Of service `web`.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub(super) const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 0, 2), 40_000);
pub(super) const TCP: u8 = 6;
pub(super) const WEB: ServiceId = ServiceId(3);

pub(super) fn ip(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(octets.into())
}

pub(super) fn node() -> NodeConfig {
    NodeConfig {
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        gateway_ip: ip(GATEWAY_IP),
        router_mac: Mac::for_router(ip(GATEWAY_IP)),
        node_addresses: vec![ip(NODE_IP)],
        fdb_ageing_seconds: 300,
        tunnel: None,
        uplink: None,
    }
}

pub(super) fn pod(number: u32, address: [u8; 4]) -> PortConfig {
    PortConfig {
        id: PortId(number),
        name: format!("default/pod{number}"),
        kind: PortKind::Pod,
        device: DeviceKind::VnetTap,
        offloads: Offloads::NONE,
        mac: Mac::for_pod(ip(address)),
        addresses: vec![ip(address)],
        ip_mtu: 1450,
        port_security: true,
        state: PortState::Active,
        bandwidth: protocol::object::Bandwidth::default(),
    }
}

/// `default/web:80` at [`VIP`].
pub(super) fn web() -> ServiceConfig {
    ServiceConfig {
        id: WEB,
        name: "default/web:80".to_owned(),
        transport: Transport::Tcp,
        frontends: vec![frontend(FrontendKind::ClusterIp, VIP, 80)],
        scheduler: Scheduler::Random,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    }
}

pub(super) fn frontend(kind: FrontendKind, address: impl Into<IpAddr>, port: u16) -> Frontend {
    Frontend { kind, address: address.into(), port }
}

/// Ready, preferred, not local, of weight 1: 10.244.1.`host`:8080.
pub(super) fn backend(host: u8) -> BackendConfig {
    BackendConfig {
        address: ip([10, 244, 1, host]),
        port: 8080,
        weight: 1,
        state: BackendState::Ready,
        is_local: false,
        is_preferred: true,
    }
}

pub(super) fn put(service: ServiceId, put: Vec<BackendConfig>) -> ConfigDelta {
    let changes = BackendChanges { service, remove: Vec::new(), put };
    ConfigDelta { backends: vec![changes], ..ConfigDelta::default() }
}

pub(super) fn remove(service: ServiceId, hosts: &[u8]) -> ConfigDelta {
    let remove = hosts.iter().map(|host| (ip([10, 244, 1, *host]), 8080)).collect();
    let changes = BackendChanges { service, remove, put: Vec::new() };
    ConfigDelta { backends: vec![changes], ..ConfigDelta::default() }
}

pub(super) fn services(services: Vec<ServiceConfig>) -> ConfigDelta {
    ConfigDelta { services, ..ConfigDelta::default() }
}

pub(super) struct Bed {
    pub(super) switch: Switch,
    pub(super) now: Instant,
    pub(super) rng: Rng,
}

impl Bed {
    /// The node and its pod.
    pub(super) fn new() -> Self {
        let switch = Switch::new(SwitchOptions { seed: 1, ..SwitchOptions::default() });
        let mut bed = Self { switch, now: Instant::from_nanos(1_000_000_000), rng: Rng::new(1) };
        bed.apply(ConfigDelta { node: Some(node()), attach: vec![pod(1, POD_IP)], ..ConfigDelta::default() });
        bed
    }

    /// With `service` and these backends of it.
    pub(super) fn with(service: ServiceConfig, backends: Vec<BackendConfig>) -> Self {
        let mut bed = Self::new();
        bed.apply(ConfigDelta { services: vec![service.clone()], ..put(service.id, backends) });
        bed
    }

    pub(super) fn collect(&mut self, delta: ConfigDelta) -> Result<(), ConfigError> {
        let epoch = self.switch.epoch() + 1;
        self.switch.apply(&ConfigDelta { epoch, ..delta }, self.now)
    }

    pub(super) fn try_apply(&mut self, delta: ConfigDelta) -> Result<(), ConfigError> {
        self.collect(ConfigDelta { commit: true, ..delta })
    }

    #[track_caller]
    pub(super) fn apply(&mut self, delta: ConfigDelta) {
        self.try_apply(delta).unwrap();
    }

    pub(super) fn services(&self) -> &Services {
        &self.switch.slow_path.services
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// For a connection from a pod to `VIP:80`.
    pub(super) fn choose(&mut self) -> Result<Chosen, NoBackend> {
        self.choose_for(CLIENT, &[])
    }

    pub(super) fn choose_for(
        &mut self,
        client: (Ipv4Addr, u16),
        exclude: &[u32],
    ) -> Result<Chosen, NoBackend> {
        self.choose_at((VIP, 80), client, Origin::Inside, exclude)
    }

    pub(super) fn choose_at(
        &mut self,
        (address, port): (Ipv4Addr, u16),
        client: (Ipv4Addr, u16),
        origin: Origin,
        exclude: &[u32],
    ) -> Result<Chosen, NoBackend> {
        let services = &mut self.switch.slow_path.services;
        let is_node = address == Ipv4Addr::from(NODE_IP);
        let hit = services.frontend(TCP, address, port, is_node).expect("a frontend");
        services.choose(&hit, client, origin, self.now, &mut self.rng, exclude)
    }

    /// The last octets of the next `n` choices' addresses.
    pub(super) fn hosts(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.choose().unwrap().address.octets()[3]).collect()
    }

    /// As [`Self::hosts`], where each connection stays open.
    pub(super) fn hosts_opened(&mut self, n: usize) -> Vec<u8> {
        let open = |_| {
            let chosen = self.choose().unwrap();
            self.services().shared().active.opened(chosen.slot);
            chosen.address.octets()[3]
        };
        (0..n).map(open).collect()
    }

    pub(super) fn slot(&self, host: u8) -> u32 {
        self.services().slot(WEB, Ipv4Addr::new(10, 244, 1, host), 8080).expect("a backend")
    }
}
