//! What happens in a run of the model.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use protocol::link::{FrontendKind, Scheduler, ServiceConfig, TrafficPolicy};

use super::bed::{KINDS, SERVERS, SERVICES, config_of};

#[derive(Debug, Clone)]
pub(super) enum Action {
    /// A client sends to where a service is, or may be; `port` is which of the two that the service has in turns.
    Ask {
        client: usize,
        service: usize,
        target: usize,
        port: u16,
        from: u16,
        segment: &'static str,
    },
    /// An end of a connection that there is goes on.
    Speak {
        connection: Index,
        is_client: bool,
        segment: usize,
    },
    /// A service comes or changes.
    Put(ServiceConfig),
    /// A service goes.
    Forget {
        service: usize,
    },
    /// A backend comes, changes or goes.
    Backend {
        service: usize,
        server: usize,
        is: Option<Condition>,
    },
    /// Pod B goes or comes again.
    Pod {
        is_there: bool,
    },
    Wait {
        seconds: u64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    pub(super) weight: u16,
    pub(super) is_ready: bool,
    pub(super) is_preferred: bool,
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => ask(),
        14 => (any::<Index>(), any::<bool>(), select(vec![0, 0, 0, 1, 1, 2, 3])).prop_map(
            |(connection, is_client, segment)| Action::Speak { connection, is_client, segment }),
        2 => service().prop_map(Action::Put),
        1 => (0..SERVICES).prop_map(|service| Action::Forget { service }),
        5 => (0..SERVICES, 0..SERVERS.len(), condition()).prop_map(
            |(service, server, is)| Action::Backend { service, server, is }),
        1 => any::<bool>().prop_map(|is_there| Action::Pod { is_there }),
        3 => select(vec![1, 1, 5, 29, 30, 31, 59, 60, 240, 300, 3600, 90_000]).prop_map(
            |seconds| Action::Wait { seconds }),
    ]
}

fn ask() -> impl Strategy<Value = Action> {
    let segment = select(vec!["S", "S", "S", "S", "S", "S", "A", "FA", "R"]);
    // The last is one that the switch itself may give a client.
    let from = select(vec![4000, 4000, 4001, 61_500]);
    (0..6usize, 0..SERVICES, 0..6usize, prop_oneof![5 => Just(0u16), 1 => Just(1)], from, segment).prop_map(
        |(client, service, target, port, from, segment)| Action::Ask {
            client,
            service,
            target,
            port,
            from,
            segment,
        },
    )
}

fn condition() -> impl Strategy<Value = Option<Condition>> {
    let condition = (0..3u16, any::<bool>(), any::<bool>())
        .prop_map(|(weight, is_ready, is_preferred)| Condition { weight, is_ready, is_preferred });
    prop::option::weighted(0.6, condition)
}

fn service() -> impl Strategy<Value = ServiceConfig> {
    let policy = || select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let which = (0..SERVICES, 0..2u16, prop::sample::subsequence(KINDS.to_vec(), 0..=KINDS.len()));
    let how =
        (select(Scheduler::ALL.to_vec()), prop::option::of(Just(60)), policy(), policy(), any::<bool>());
    (which, how).prop_map(|((service, port, kinds), (scheduler, affinity, internal, external, is_ranged))| {
        let kinds: Vec<FrontendKind> = kinds;
        ServiceConfig {
            scheduler,
            affinity_seconds: affinity,
            internal_policy: internal,
            external_policy: external,
            source_ranges: if is_ranged { vec!["203.0.113.7/32".parse().unwrap()] } else { Vec::new() },
            ..config_of(service, port, &kinds)
        }
    })
}
