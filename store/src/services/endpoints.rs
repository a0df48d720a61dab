//! Endpoints of one service, and what of them a node may choose among. Pure.
//!
//! Conditions are those of Kubernetes' EndpointSlice controller, choices those of kube-proxy
//! (`pkg/proxy/topology.go`): of the ready endpoints a node prefers those that name it, or its zone, in their hints,
//! if every ready one has such a hint and at least one names this node or zone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocol::link::{BackendConfig, BackendState};

use super::names::ObjectRef;
use super::pods::PodFacts;
use super::slice::{SliceEndpoint, SliceSpec};
use super::spec::{Distribution, PortSpec, Spec, Target};
use super::words::special;

/// Backends of one port of a service, by address and port.
pub type Backends = BTreeMap<(IpAddr, u16), BackendConfig>;

/// Where choices are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Name of the node.
    pub node: String,
    /// Its zone.
    pub zone: Option<String>,
}

/// An endpoint, wherever it is known from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// The pod behind it.
    pub pod: Option<ObjectRef>,
    /// Where it is.
    pub node: Option<String>,
    /// It may be chosen.
    pub ready: bool,
    /// It answers.
    pub serving: bool,
    /// It is going.
    pub terminating: bool,
    /// Nodes that should prefer it.
    pub for_nodes: BTreeSet<String>,
    /// Zones that should prefer it.
    pub for_zones: BTreeSet<String>,
    /// For weighted schedulers.
    pub weight: u16,
    /// Its port for each of the service's; `None` where it has none.
    pub ports: Vec<Option<u16>>,
    /// Its name within the service, where it was given one.
    pub hostname: Option<String>,
}

/// The endpoint that a selected pod is; none if it has no address, or has ended.
#[must_use]
pub fn of_pod(spec: &Spec, pod: &PodFacts) -> Option<Endpoint> {
    if pod.ended {
        return None;
    }
    let address = pod.address().filter(|ip| special(*ip).is_none())?;
    let near = spec.distribution.filter(|_| spec.reach.is_virtual());
    let same_node = near == Some(Distribution::SameNode);
    Some(Endpoint {
        address,
        pod: Some(pod.object.clone()),
        node: Some(pod.node.clone()),
        ready: spec.publish_not_ready || (pod.ready && !pod.terminating),
        serving: pod.ready,
        terminating: pod.terminating,
        for_nodes: same_node.then(|| pod.node.clone()).into_iter().collect(),
        for_zones: near.and_then(|_| pod.zone.clone()).into_iter().collect(),
        weight: pod.weight,
        ports: spec.ports.iter().map(|port| target(port, pod)).collect(),
        hostname: pod.hostname_in(&spec.object),
    })
}

fn target(port: &PortSpec, pod: &PodFacts) -> Option<u16> {
    match &port.target {
        Target::Number(number) => Some(*number),
        Target::Name(name) => pod.port(name, port.transport).filter(|number| *number != 0),
    }
}

/// An endpoint of a slice given by hand; `node` is where it is, as far as that is known.
#[must_use]
pub fn of_slice(spec: &Spec, slice: &SliceSpec, given: &SliceEndpoint, node: Option<String>) -> Endpoint {
    let at = |port: &PortSpec| {
        let its = slice.ports.iter().find(|its| its.name == port.name && its.transport == port.transport);
        its.map(|its| its.number)
    };
    Endpoint {
        address: given.address,
        pod: None,
        node,
        ready: given.ready,
        serving: given.serving,
        terminating: given.terminating,
        for_nodes: given.for_nodes.clone(),
        for_zones: given.for_zones.clone(),
        weight: slice.weight,
        ports: spec.ports.iter().map(at).collect(),
        hostname: given.hostname.clone(),
    }
}

/// What a node may choose among for port `index` of a service.
#[must_use]
pub fn backends(endpoints: &[Endpoint], index: usize, place: &Place) -> Backends {
    let here: Vec<(&Endpoint, u16)> = endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint, endpoint.ports.get(index).copied().flatten()?)))
        .collect();
    let nearness = Nearness::of(here.iter().map(|(endpoint, _)| *endpoint), place);
    let mut backends = Backends::new();
    for (endpoint, port) in here {
        let Some(state) = state(endpoint) else { continue };
        let backend = BackendConfig {
            address: endpoint.address,
            port,
            weight: endpoint.weight,
            state,
            is_local: endpoint.node.as_ref() == Some(&place.node),
            is_preferred: nearness.prefers(endpoint, place),
        };
        let known = backends.entry((endpoint.address, port)).or_insert(backend);
        // Named twice, by a selector and by hand: it is as good as the better of both.
        if known.state == BackendState::Draining && state == BackendState::Ready {
            *known = backend;
        }
    }
    prefer_all_if_none(&mut backends);
    backends
}

/// Of endpoints that are named twice, the one that was preferred may not be the one that is kept.
fn prefer_all_if_none(backends: &mut Backends) {
    if !backends.values().any(|backend| backend.is_preferred) {
        backends.values_mut().for_each(|backend| backend.is_preferred = true);
    }
}

const fn state(endpoint: &Endpoint) -> Option<BackendState> {
    if endpoint.ready {
        Some(BackendState::Ready)
    } else if endpoint.serving && endpoint.terminating {
        Some(BackendState::Draining)
    } else {
        None
    }
}

/// Which hints count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nearness {
    Node,
    Zone,
    None,
}

impl Nearness {
    fn of<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, place: &Place) -> Self {
        let (mut any, mut nodes, mut zones) = (false, true, true);
        let (mut this_node, mut this_zone) = (false, false);
        for endpoint in endpoints.filter(|endpoint| endpoint.ready) {
            any = true;
            nodes &= !endpoint.for_nodes.is_empty();
            zones &= !endpoint.for_zones.is_empty();
            this_node |= endpoint.for_nodes.contains(&place.node);
            this_zone |= place.zone.as_ref().is_some_and(|zone| endpoint.for_zones.contains(zone));
        }
        match (any && nodes && this_node, any && zones && this_zone) {
            (true, _) => Self::Node,
            (false, true) => Self::Zone,
            (false, false) => Self::None,
        }
    }

    fn prefers(self, endpoint: &Endpoint, place: &Place) -> bool {
        match self {
            Self::Node => endpoint.for_nodes.contains(&place.node),
            Self::Zone => place.zone.as_ref().is_some_and(|zone| endpoint.for_zones.contains(zone)),
            Self::None => true,
        }
    }
}
