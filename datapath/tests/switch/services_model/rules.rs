//! Services by Kubernetes' rules, in lists that are searched from one end to the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use protocol::ServiceId;
use protocol::link::{
    BackendConfig, BackendState, FrontendKind, Scheduler, ServiceConfig, TrafficPolicy, Transport,
};

use super::bed::{EXTERNAL_IP, is_nodes};
use crate::common::LB_IP;
use crate::nat_bed::End;

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) config: ServiceConfig,
    pub(super) backends: Vec<BackendConfig>,
}

/// Who asks for a service, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) transport: Transport,
    pub(super) from: End,
    pub(super) to: End,
    pub(super) is_outside: bool,
}

/// The backends that may be the answer; or why there is none.
pub(super) type Choice = Result<Vec<End>, NoBackend>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoBackend {
    None,
    NoLocal,
    SourceRefused,
}

#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) services: Vec<Service>,
    /// When a client last got a backend.
    affinity: BTreeMap<(ServiceId, Ipv4Addr), (End, u64)>,
    /// What schedulers that hash have said of a client since the service last changed.
    hashed: BTreeMap<(ServiceId, bool, End), End>,
}

impl Rules {
    pub(super) fn put(&mut self, config: &ServiceConfig) {
        self.hashed.retain(|(id, _, _), _| *id != config.id);
        match self.services.iter_mut().find(|service| service.config.id == config.id) {
            Some(service) => service.config = config.clone(),
            None => self.services.push(Service { config: config.clone(), backends: Vec::new() }),
        }
    }

    pub(super) fn forget(&mut self, id: ServiceId) {
        self.services.retain(|service| service.config.id != id);
        self.hashed.retain(|(other, _, _), _| *other != id);
        // Another one by this number may go on where it was; it need not.
        self.affinity.retain(|(other, _), _| *other != id);
    }

    pub(super) fn put_backend(&mut self, id: ServiceId, end: End, backend: Option<BackendConfig>) {
        self.hashed.retain(|(other, _, _), _| *other != id);
        let service = self.services.iter_mut().find(|service| service.config.id == id).unwrap();
        service.backends.retain(|backend| end_of(backend) != end);
        service.backends.extend(backend);
    }

    pub(super) fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.iter().find(|service| service.config.id == id)
    }

    /// The service that is at this address and port, and what sort of address that is.
    pub(super) fn find(
        &self,
        transport: Transport,
        (address, port): End,
    ) -> Option<(ServiceId, FrontendKind)> {
        let mut all = self.services.iter().flat_map(|service| {
            service.config.frontends.iter().map(move |frontend| (&service.config, frontend))
        });
        let (config, frontend) = all.find(|(config, frontend)| {
            let is_there = match frontend.kind {
                FrontendKind::NodePort => is_nodes(address),
                _ => frontend.address == IpAddr::V4(address),
            };
            is_there && config.transport == transport && frontend.port == port
        })?;
        Some((config.id, frontend.kind))
    }

    /// Somebody's cluster address, load balancer or external address; or one that may become a cluster address.
    pub(super) fn is_of_services(&self, address: Ipv4Addr) -> bool {
        let has = |service: &Service| {
            service.config.frontends.iter().any(|frontend| frontend.address == IpAddr::V4(address))
        };
        [LB_IP, EXTERNAL_IP].contains(&address.octets())
            || address.octets()[..2] == [10, 96]
            || self.services.iter().any(has)
    }

    /// Backends of the service, whatever their state.
    pub(super) fn is_backend(&self, id: ServiceId, server: End) -> bool {
        self.service(id)
            .is_some_and(|service| service.backends.iter().any(|backend| end_of(backend) == server))
    }

    /// Who may be chosen for the first packet of a connection.
    pub(super) fn choose(&self, id: ServiceId, kind: FrontendKind, question: &Question, now: u64) -> Choice {
        let service = self.service(id).unwrap();
        let config = &service.config;
        let is_admitted = config.source_ranges.is_empty()
            || config.source_ranges.iter().any(|range| range.contains(&IpAddr::V4(question.from.0)));
        if kind == FrontendKind::LoadBalancer && !is_admitted {
            return Err(NoBackend::SourceRefused);
        }
        let is_local = policy(config, kind, question.is_outside) == TrafficPolicy::Local;
        let eligible = service.eligible(is_local)?;
        let last = self.affinity.get(&(id, question.from.0));
        if let (Some((server, at)), Some(seconds)) = (last, config.affinity_seconds)
            && now - at < u64::from(seconds)
            && eligible.contains(server)
        {
            return Ok(vec![*server]);
        }
        let known =
            hash_key(config.scheduler, question).and_then(|key| self.hashed.get(&(id, is_local, key)));
        Ok(known.map_or(eligible, |server| vec![*server]))
    }

    /// This one was chosen.
    pub(super) fn chosen(
        &mut self,
        id: ServiceId,
        kind: FrontendKind,
        question: &Question,
        server: End,
        now: u64,
    ) {
        let config = &self.service(id).unwrap().config;
        let is_local = policy(config, kind, question.is_outside) == TrafficPolicy::Local;
        let has_affinity = config.affinity_seconds.is_some();
        // Whom affinity led somewhere was not hashed.
        if let Some(key) = hash_key(config.scheduler, question).filter(|_| !has_affinity) {
            self.hashed.insert((id, is_local, key), server);
        }
        if has_affinity {
            self.affinity.insert((id, question.from.0), (server, now));
        }
    }
}

impl Service {
    /// Ready ones before those that drain; policy `Cluster`: preferred ones before others.
    fn eligible(&self, is_local: bool) -> Choice {
        let all: Vec<&BackendConfig> = self
            .backends
            .iter()
            .filter(|backend| !is_weighted(self.config.scheduler) || backend.weight > 0)
            .collect();
        let is_ready = |backend: &BackendConfig| backend.state == BackendState::Ready;
        let ends = |of: &dyn Fn(&BackendConfig) -> bool| -> Vec<End> {
            all.iter().filter(|backend| of(backend)).map(|backend| end_of(backend)).collect()
        };
        let by_preference = if is_local {
            vec![ends(&|b| is_ready(b) && b.is_local), ends(&|b| b.is_local)]
        } else {
            vec![ends(&|b| is_ready(b) && b.is_preferred), ends(&is_ready), ends(&|_| true)]
        };
        let first = by_preference.into_iter().find(|ends| !ends.is_empty());
        first.ok_or(if all.is_empty() { NoBackend::None } else { NoBackend::NoLocal })
    }
}

pub(super) fn end_of(backend: &BackendConfig) -> End {
    let IpAddr::V4(address) = backend.address else { panic!("{}", backend.address) };
    (address, backend.port)
}

fn policy(config: &ServiceConfig, kind: FrontendKind, is_outside: bool) -> TrafficPolicy {
    match kind {
        FrontendKind::ClusterIp => config.internal_policy,
        _ if is_outside => config.external_policy,
        // As if it had gone out and come back in by any node.
        _ => TrafficPolicy::Cluster,
    }
}

fn is_weighted(scheduler: Scheduler) -> bool {
    use Scheduler::{
        Maglev, NeverQueue, ShortestExpectedDelay, WeightedLeastConnections, WeightedRoundRobin,
    };
    matches!(
        scheduler,
        WeightedRoundRobin | WeightedLeastConnections | ShortestExpectedDelay | NeverQueue | Maglev
    )
}

/// What decides alone, where anything does.
fn hash_key(scheduler: Scheduler, question: &Question) -> Option<End> {
    match scheduler {
        Scheduler::SourceHash => Some((question.from.0, 0)),
        Scheduler::DestinationHash => Some((question.to.0, 0)),
        Scheduler::Maglev => Some(question.from),
        _ => None,
    }
}
