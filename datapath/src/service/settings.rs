//! What a service is, apart from its backends: checked when it is configured, true from then on.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use protocol::ServiceId;
use protocol::link::{FrontendKind, Scheduler, ServiceConfig, TrafficPolicy};

use super::Origin;
use super::backends::{MAX_BACKENDS_OF_SERVICE, Row, Traits};
use super::frontends::{Frontend, MAX_FRONTENDS_OF_SERVICE};
use crate::admission::is_martian_source;
use crate::config::ConfigError;

/// Source ranges of one service at most; they are looked at one by one.
const MAX_SOURCE_RANGES: usize = 256;

/// A client keeps its backend for a day at most, as Kubernetes says.
const AFFINITY_SECONDS: std::ops::RangeInclusive<u32> = 1..=86_400;

/// See the module.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) name: Box<str>,
    /// In IP headers.
    pub(super) protocol: u8,
    pub(super) scheduler: Scheduler,
    internal_policy: TrafficPolicy,
    external_policy: TrafficPolicy,
    pub(super) affinity_seconds: Option<u32>,
    pub(super) frontends: Box<[Frontend]>,
    /// Who may use load-balancer addresses; `None` is everybody.
    source_ranges: Option<Box<[Ipv4Net]>>,
}

impl Settings {
    /// Checks what can be said without knowing others.
    pub(super) fn new(config: &ServiceConfig) -> Result<Self, ConfigError> {
        let bad = |problem| Err(bad_service(config.id, &config.name, problem));
        if config.id.0 >= ServiceId::MAX_SERVICES {
            return bad(format!("its number is beyond the last, {}", ServiceId::MAX_SERVICES - 1));
        }
        if config.frontends.len() > MAX_FRONTENDS_OF_SERVICE {
            return bad(format!("more than {MAX_FRONTENDS_OF_SERVICE} frontends"));
        }
        if config.source_ranges.len() > MAX_SOURCE_RANGES {
            return bad(format!("more than {MAX_SOURCE_RANGES} source ranges"));
        }
        if let Some(seconds) = config.affinity_seconds.filter(|s| !AFFINITY_SECONDS.contains(s)) {
            return bad(format!("an affinity of {seconds} s is not between 1 and 86400"));
        }
        let mut frontends: Vec<Frontend> = Vec::with_capacity(config.frontends.len());
        for wanted in &config.frontends {
            let (address, port) = (wanted.address, wanted.port);
            let frontend = match frontend(wanted) {
                Ok(frontend) => frontend,
                Err(problem) => return bad(format!("frontend {address}:{port}: {problem}")),
            };
            if frontends.iter().any(|other| (other.address, other.port) == (frontend.address, port)) {
                return bad(format!("frontend {address}:{port} is there twice"));
            }
            frontends.push(frontend);
        }
        // Ranges of the other family admit nobody here; that there were some still closes the door.
        let ranges = config.source_ranges.iter().filter_map(|net| match net {
            IpNet::V4(v4) => Some(v4.trunc()),
            IpNet::V6(_) => None,
        });
        Ok(Self {
            name: config.name.as_str().into(),
            protocol: config.transport.number(),
            scheduler: config.scheduler,
            internal_policy: config.internal_policy,
            external_policy: config.external_policy,
            affinity_seconds: config.affinity_seconds,
            frontends: frontends.into(),
            source_ranges: (!config.source_ranges.is_empty()).then(|| ranges.collect()),
        })
    }

    /// Which policy holds: the table in the module's description.
    pub(super) const fn policy(&self, kind: FrontendKind, origin: Origin) -> TrafficPolicy {
        match (kind, origin) {
            (FrontendKind::ClusterIp, Origin::Inside | Origin::Outside) => self.internal_policy,
            (
                FrontendKind::NodePort | FrontendKind::LoadBalancer | FrontendKind::ExternalIp,
                Origin::Inside,
            )
            // Its one backend is here.
            | (FrontendKind::HostPort | FrontendKind::HostLocal, _) => TrafficPolicy::Cluster,
            (
                FrontendKind::NodePort | FrontendKind::LoadBalancer | FrontendKind::ExternalIp,
                Origin::Outside,
            ) => self.external_policy,
        }
    }

    /// Some policy asks for this node's backends alone.
    pub(super) fn needs_local(&self) -> bool {
        [self.internal_policy, self.external_policy].contains(&TrafficPolicy::Local)
    }

    /// Whether source ranges let this client use a frontend of this kind.
    pub(super) fn admits(&self, kind: FrontendKind, client: Ipv4Addr) -> bool {
        match (kind, &self.source_ranges) {
            (FrontendKind::LoadBalancer, Some(ranges)) => ranges.iter().any(|range| range.contains(&client)),
            (FrontendKind::LoadBalancer, None)
            | (
                FrontendKind::ClusterIp
                | FrontendKind::NodePort
                | FrontendKind::ExternalIp
                | FrontendKind::HostPort
                | FrontendKind::HostLocal,
                _,
            ) => true,
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_size(&self) -> usize {
        self.name.len() + size_of_val(&*self.frontends) + self.source_ranges.as_deref().map_or(0, size_of_val)
    }
}

/// A frontend, or what is wrong with it.
fn frontend(config: &protocol::link::Frontend) -> Result<Frontend, &'static str> {
    let IpAddr::V4(address) = config.address else { return Err(NOT_IPV4) };
    if config.port == 0 {
        return Err("port 0 is none");
    }
    let is_everywhere = address.is_unspecified();
    match config.kind {
        FrontendKind::NodePort if !is_everywhere => {
            return Err("a node port is at every address of the node, written 0.0.0.0");
        }
        FrontendKind::ClusterIp
        | FrontendKind::LoadBalancer
        | FrontendKind::ExternalIp
        | FrontendKind::HostPort
        | FrontendKind::HostLocal
            if is_martian_source(address) =>
        {
            return Err(NOT_A_STATION);
        }
        FrontendKind::NodePort
        | FrontendKind::ClusterIp
        | FrontendKind::LoadBalancer
        | FrontendKind::ExternalIp
        | FrontendKind::HostPort
        | FrontendKind::HostLocal => {}
    }
    Ok(Frontend { address, port: config.port, kind: config.kind })
}

/// A service's backend, checked.
pub(super) fn backend(config: &protocol::link::BackendConfig) -> Result<Row, &'static str> {
    let IpAddr::V4(address) = config.address else { return Err(NOT_IPV4) };
    if config.port == 0 {
        return Err("port 0 is none");
    }
    if is_martian_source(address) {
        return Err(NOT_A_STATION);
    }
    let is_ready = match config.state {
        protocol::link::BackendState::Ready => true,
        protocol::link::BackendState::Draining => false,
    };
    let traits = Traits::default()
        .with(Traits::READY, is_ready)
        .with(Traits::LOCAL, config.is_local)
        .with(Traits::PREFERRED, config.is_preferred);
    Ok(Row { address, port: config.port, weight: config.weight, traits })
}

/// Too many for one service.
pub(super) fn too_many_backends() -> String {
    format!("more than {MAX_BACKENDS_OF_SERVICE} backends")
}

pub(super) fn bad_service(service: ServiceId, name: &str, problem: String) -> ConfigError {
    ConfigError::BadService { service, name: name.to_owned(), problem }
}

const NOT_IPV4: &str = "not IPv4, which is all this version forwards";
const NOT_A_STATION: &str =
    "loopback, this-network, link-local, multicast and reserved addresses are no station's";
