//! Random changes and choices against a reference that searches lists.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use protocol::ServiceId;
use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, Frontend, FrontendKind, Scheduler,
    ServiceConfig, TrafficPolicy, Transport,
};

use super::bed::*;
use crate::service::{NoBackend, Origin};

const KINDS: [FrontendKind; 4] =
    [FrontendKind::ClusterIp, FrontendKind::NodePort, FrontendKind::LoadBalancer, FrontendKind::ExternalIp];
const POLICIES: [TrafficPolicy; 2] = [TrafficPolicy::Cluster, TrafficPolicy::Local];
const ORIGINS: [Origin; 2] = [Origin::Inside, Origin::Outside];
/// The last two may not be a frontend's: a pod's, and loopback.
const ADDRESSES: [[u8; 4]; 5] = [[10, 96, 0, 1], [10, 96, 0, 2], [203, 0, 113, 1], POD_IP, [127, 0, 0, 1]];
const CLIENTS: [[u8; 4]; 3] = [[10, 1, 0, 1], [10, 1, 0, 2], [198, 51, 100, 1]];

/// Services by the rules, in lists.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reference(BTreeMap<ServiceId, (ServiceConfig, Vec<BackendConfig>)>);

impl Reference {
    fn apply(&mut self, delta: &ConfigDelta) -> Result<(), ()> {
        if delta.reset_services {
            self.0.clear();
        }
        for id in &delta.forget_services {
            self.0.remove(id).ok_or(())?;
        }
        for config in &delta.services {
            let mut seen = Vec::new();
            for f in &config.frontends {
                let is_station = f.kind == FrontendKind::NodePort || !f.address.is_loopback();
                if !is_station || f.port == 0 || seen.contains(&(f.address, f.port)) {
                    return Err(());
                }
                seen.push((f.address, f.port));
            }
            self.0.entry(config.id).or_insert_with(|| (config.clone(), Vec::new())).0 = config.clone();
        }
        for change in &delta.backends {
            let (_, backends) = self.0.get_mut(&change.service).ok_or(())?;
            let before = backends.clone();
            for key in &change.remove {
                before.iter().find(|b| (b.address, b.port) == *key).ok_or(())?;
                backends.retain(|b| (b.address, b.port) != *key);
            }
            for (at, new) in change.put.iter().enumerate() {
                let same = |b: &BackendConfig| (b.address, b.port) == (new.address, new.port);
                if new.port == 0 || change.put[..at].iter().any(same) {
                    return Err(());
                }
                backends.retain(|b| !same(b));
                backends.push(*new);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ()> {
        let mut seen = Vec::new();
        for (config, _) in self.0.values() {
            for f in &config.frontends {
                let key = (config.transport, f.address, f.port);
                if seen.contains(&key) || f.address == ip(POD_IP) {
                    return Err(());
                }
                seen.push(key);
            }
        }
        Ok(())
    }

    fn find(
        &self,
        protocol: u8,
        address: Ipv4Addr,
        port: u16,
        is_node: bool,
    ) -> Option<(ServiceId, FrontendKind)> {
        let at = |wanted: Ipv4Addr| {
            self.0.iter().find_map(|(id, (config, _))| {
                let same = |f: &&Frontend| (f.address, f.port) == (IpAddr::V4(wanted), port);
                let frontend = config.frontends.iter().find(same)?;
                (config.transport.number() == protocol).then_some((*id, frontend.kind))
            })
        };
        at(address).or_else(|| is_node.then(|| at(Ipv4Addr::UNSPECIFIED)).flatten())
    }

    /// Who may be chosen, or why nobody.
    fn eligible(
        &self,
        id: ServiceId,
        kind: FrontendKind,
        origin: Origin,
        client: IpAddr,
        exclude: &[(IpAddr, u16)],
    ) -> Result<Vec<(IpAddr, u16)>, NoBackend> {
        let (config, all) = &self.0[&id];
        let ranges = &config.source_ranges;
        if kind == FrontendKind::LoadBalancer
            && !ranges.is_empty()
            && !ranges.iter().any(|range| range.contains(&client))
        {
            return Err(NoBackend::SourceNotAllowed);
        }
        use Scheduler as S;
        let is_weighted = matches!(
            config.scheduler,
            S::WeightedRoundRobin
                | S::WeightedLeastConnections
                | S::ShortestExpectedDelay
                | S::NeverQueue
                | S::Maglev
        );
        let all: Vec<_> = all.iter().filter(|b| !is_weighted || b.weight > 0).collect();
        let which = |of: &dyn Fn(&BackendConfig) -> bool| -> Vec<(IpAddr, u16)> {
            all.iter().filter(|b| of(b)).map(|b| (b.address, b.port)).collect()
        };
        let ready = |b: &BackendConfig| b.state == BackendState::Ready;
        let policy = match kind {
            FrontendKind::ClusterIp => config.internal_policy,
            _ if origin == Origin::Outside => config.external_policy,
            _ => TrafficPolicy::Cluster,
        };
        let mut found = match policy {
            TrafficPolicy::Cluster => {
                let mut found = which(&|b| ready(b) && b.is_preferred);
                if found.is_empty() {
                    found = which(&ready);
                }
                if found.is_empty() { which(&|_| true) } else { found }
            }
            TrafficPolicy::Local => {
                let found = which(&|b| ready(b) && b.is_local);
                if found.is_empty() { which(&|b| b.is_local) } else { found }
            }
        };
        if found.is_empty() {
            return Err(if all.is_empty() { NoBackend::None } else { NoBackend::NoLocal });
        }
        found.retain(|key| !exclude.contains(key));
        if found.is_empty() { Err(NoBackend::None) } else { Ok(found) }
    }
}

fn service() -> impl Strategy<Value = ServiceConfig> {
    let frontend = (0..KINDS.len(), 0..ADDRESSES.len() * 4, 0..60u16).prop_map(|(kind, address, port)| {
        let kind = KINDS[kind];
        // The forbidden ones seldom, and so port 0.
        let address = match kind {
            FrontendKind::NodePort => [0; 4],
            _ => ADDRESSES[if address < ADDRESSES.len() { address } else { address % 3 }],
        };
        Frontend { kind, address: ip(address), port: if port == 0 { 0 } else { 1 + port % 4 } }
    });
    (
        (0..4u32, 0..2usize, proptest::collection::vec(frontend, 0..4)),
        (0..Scheduler::ALL.len(), proptest::option::of(1..100u32)),
        (0..2usize, 0..2usize, 0..3usize),
    )
        .prop_map(|((id, transport, frontends), (scheduler, affinity), (internal, external, ranges))| {
            ServiceConfig {
                id: ServiceId(id),
                name: format!("default/s{id}:1"),
                transport: [Transport::Tcp, Transport::Udp][transport],
                frontends,
                scheduler: Scheduler::ALL[scheduler],
                affinity_seconds: affinity,
                internal_policy: POLICIES[internal],
                external_policy: POLICIES[external],
                source_ranges: [
                    vec![],
                    vec!["10.1.0.0/24".parse().unwrap()],
                    vec!["fd00::/8".parse().unwrap()],
                ][ranges]
                    .clone(),
            }
        })
}

fn backend_key() -> impl Strategy<Value = (IpAddr, u16)> {
    (0..4u8, 1..3u16).prop_map(|(host, port)| (ip([10, 244, 1, host]), port))
}

fn backend_config() -> impl Strategy<Value = BackendConfig> {
    (backend_key(), 0..4u16, any::<(bool, bool, bool)>()).prop_map(
        |((address, port), weight, (is_ready, is_local, is_preferred))| BackendConfig {
            address,
            port,
            weight,
            state: if is_ready { BackendState::Ready } else { BackendState::Draining },
            is_local,
            is_preferred,
        },
    )
}

fn changes() -> impl Strategy<Value = BackendChanges> {
    let remove = proptest::collection::vec(backend_key(), 0..2);
    let put = proptest::collection::vec(backend_config(), 0..4);
    (0..4u32, remove, put).prop_map(|(id, remove, put)| BackendChanges {
        service: ServiceId(id),
        remove,
        put,
    })
}

fn delta() -> impl Strategy<Value = ConfigDelta> {
    let forget = proptest::collection::vec((0..4u32).prop_map(ServiceId), 0..2);
    let some = |n| proptest::collection::vec(service(), 0..n);
    let reset = proptest::bool::weighted(0.1);
    (reset, forget, some(3), proptest::collection::vec(changes(), 0..3), any::<bool>()).prop_map(
        |(reset_services, forget_services, services, backends, commit)| ConfigDelta {
            reset_services,
            forget_services,
            services,
            backends,
            commit,
            ..ConfigDelta::default()
        },
    )
}

/// Makes most of a delta possible: what is not there is not named.
fn sober(mut delta: ConfigDelta, next: &Reference, keep: bool) -> ConfigDelta {
    if keep {
        return delta;
    }
    let mut after = if delta.reset_services { Reference::default() } else { next.clone() };
    delta.forget_services.retain(|id| after.0.remove(id).is_some());
    for config in &delta.services {
        after.0.entry(config.id).or_insert_with(|| (config.clone(), Vec::new()));
    }
    delta.backends.retain_mut(|change| {
        let Some((_, backends)) = after.0.get(&change.service) else { return false };
        change.remove.retain(|key| backends.iter().any(|b| (b.address, b.port) == *key));
        true
    });
    delta
}

#[track_caller]
fn compare(bed: &mut Bed, reference: &Reference) {
    let total: usize = reference.0.values().map(|(_, backends)| backends.len()).sum();
    assert_eq!(bed.services().backends.len(), total);
    let frontends: usize = reference.0.values().map(|(config, _)| config.frontends.len()).sum();
    assert_eq!(bed.services().frontends.len(), frontends);
    for octets in [ADDRESSES[0], ADDRESSES[1], ADDRESSES[2], NODE_IP] {
        let address = Ipv4Addr::from(octets);
        let has = |f: &Frontend| f.address == IpAddr::V4(address);
        let is_any = reference.0.values().any(|(config, _)| config.frontends.iter().any(has));
        assert_eq!(bed.services().is_service_address(address), is_any);
        for (protocol, port) in [6u8, 17].into_iter().flat_map(|p| (1..5).map(move |port| (p, port))) {
            let is_node = octets == NODE_IP;
            let hit = bed.services().frontend(protocol, address, port, is_node);
            let wanted = reference.find(protocol, address, port, is_node);
            assert_eq!(hit.map(|hit| (hit.service, hit.kind)), wanted);
            let (Some(hit), Some((id, kind))) = (hit, wanted) else { continue };
            for (origin, client) in ORIGINS.into_iter().flat_map(|o| CLIENTS.map(|client| (o, client))) {
                let mut exclude: Vec<(IpAddr, u16)> = Vec::new();
                // Until all that may be were chosen.
                loop {
                    let slot = |(ip, port): &(IpAddr, u16)| match ip {
                        IpAddr::V4(v4) => bed.services().slot(id, *v4, *port).unwrap(),
                        IpAddr::V6(_) => unreachable!(),
                    };
                    let slots: Vec<_> = exclude.iter().map(slot).collect();
                    let services = &mut bed.switch.slow_path.services;
                    let client_end = (Ipv4Addr::from(client), 1000);
                    let chosen = services.choose(&hit, client_end, origin, bed.now, &mut bed.rng, &slots);
                    match (chosen, reference.eligible(id, kind, origin, ip(client), &exclude)) {
                        (Ok(chosen), Ok(eligible)) => {
                            let key = (IpAddr::V4(chosen.address), chosen.port);
                            assert!(eligible.contains(&key), "{key:?} is not of {eligible:?}");
                            assert_eq!(services.slot(id, chosen.address, chosen.port), Some(chosen.slot));
                            exclude.push(key);
                        }
                        (Err(no), Err(wanted)) => {
                            assert_eq!(no, wanted);
                            break;
                        }
                        (chosen, wanted) => panic!("{chosen:?} instead of {wanted:?}"),
                    }
                }
            }
        }
    }
    for id in (0..4).map(ServiceId) {
        for (host, port) in (0..4u8).flat_map(|host| [(host, 1), (host, 2)]) {
            let key = (ip([10, 244, 1, host]), port);
            let is_there = reference
                .0
                .get(&id)
                .is_some_and(|(_, backends)| backends.iter().any(|b| (b.address, b.port) == key));
            assert_eq!(bed.services().is_backend(id, [10, 244, 1, host].into(), port), is_there);
        }
    }
}

proptest! {
    #[test]
    fn any_changes_end_as_the_rules_say(
        steps in proptest::collection::vec((delta(), any::<u8>()), 1..12),
    ) {
        let mut bed = Bed::new();
        // A second worker: the same slots, whatever is done.
        let mut other = Bed::new();
        let mut active = Reference::default();
        let mut staged: Option<Reference> = None;
        for (delta, dice) in steps {
            let mut next = staged.take().unwrap_or_else(|| active.clone());
            let delta = sober(delta, &next, dice % 8 == 0);
            let commit = delta.commit;
            let wanted = next.apply(&delta).and_then(|()| if commit { next.check() } else { Ok(()) });
            let got = bed.collect(delta.clone());
            prop_assert_eq!(&other.collect(delta), &got);
            prop_assert_eq!(got.is_ok(), wanted.is_ok(), "{:?}", got);
            match (wanted, commit) {
                (Ok(()), true) => active = next,
                (Ok(()), false) => staged = Some(next),
                (Err(()), _) => {}
            }
            compare(&mut bed, &active);
            for id in (0..4).map(ServiceId) {
                for host in 0..4u8 {
                    let slot = |bed: &Bed| bed.services().slot(id, [10, 244, 1, host].into(), 1);
                    prop_assert_eq!(slot(&bed), slot(&other));
                }
            }
        }
    }
}
