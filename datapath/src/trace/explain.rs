//! Why a packet goes where it goes, in words.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use protocol::link::policy::TableRule;
use protocol::link::{FrontendKind, Scheduler, TrafficPolicy};
use protocol::object::PolicyDirection;

use super::Steps;
use crate::action::{Action, Forward, Refusal};
use crate::conntrack::{Hit, Key};
use crate::policy::ports::{Answer, Asked};
use crate::rewrite::Tuple;
use crate::service::{Candidates, Origin};
use crate::switch::Switch;
use crate::time::Instant;
use crate::wire::Packet;
use crate::wire::ipv4::Ipv4;

/// Backends named in full; of the others their number.
const NAMED: usize = 16;

/// What is known of a packet's connection and service before it is decided.
pub(super) struct Told {
    key: Option<Key>,
    known: Option<(Hit, String)>,
    service: Option<Candidates>,
    is_service_address: bool,
}

impl Switch {
    /// What there is to decide from.
    pub(super) fn explain_service(&self, ip: &Ipv4, now: Instant) -> Told {
        let slow_path = &self.slow_path;
        let key = Key::of(ip).filter(|_| !ip.destination.is_multicast());
        let connections = &slow_path.shared.connections;
        let known = key.and_then(|key| connections.lookup(&key));
        let known = known.and_then(|hit| Some((hit, connections.state(hit.id)?.name().to_owned())));
        let service = key.and_then(|key| {
            let client = (key.tuple().source, key.tuple().source_port);
            let frontend = slow_path.frontend_of(&key)?;
            slow_path.services.candidates(&frontend, client, Origin::Inside, now)
        });
        Told { key, known, service, is_service_address: slow_path.is_of_services(ip.destination) }
    }

    /// What became of the connection.
    pub(super) fn tell_connection(
        &self,
        ip: &Ipv4,
        told: &Told,
        decided: &Result<Action, Refusal>,
        steps: &mut Steps,
    ) {
        let connections = &self.slow_path.shared.connections;
        let hit = match decided {
            Ok(Action::Forward { forward, .. }) => forward.connection(),
            Ok(_) | Err(_) => None,
        };
        let hit = hit.or_else(|| told.key.and_then(|key| connections.lookup(&key)));
        let goes_on = match (&told.known, hit) {
            (Some((known, state)), Some(hit)) if known.id == hit.id => {
                steps.add("connection", format!("known, {state}"), "its packets go on as it began");
                true
            }
            (Some((_, state)), _) => {
                steps.add("connection", format!("was {state}"), "the packet does not go on with it");
                false
            }
            (None, Some(_)) => {
                steps.add("connection", "new", "no connection has these addresses and ports");
                false
            }
            (None, None) => false,
        };
        match &told.service {
            Some(service) if !goes_on => tell_service(service, ip, steps),
            Some(service) => steps.add("service", service.name.clone(), "as when the connection began"),
            None if told.is_service_address => {
                steps.add(
                    "service",
                    "none",
                    format!("no service has this port and protocol of {}", ip.destination),
                );
            }
            None => steps.add("service", "none", format!("{} is no service's address", ip.destination)),
        }
        let Some(translation) = hit.and_then(|hit| connections.translation(hit.id, hit.direction)) else {
            return;
        };
        let Some(key) = told.key else { return };
        let (from, to) = (key.tuple(), translation.to());
        if let Some(service) = told.service.as_ref().filter(|_| !goes_on) {
            let end = (to.destination, to.destination_port);
            steps.add("backend", format!("{}:{}", end.0, end.1), why_chosen(service, end));
        }
        steps.add("nat", format!("{} becomes {}", words(&from), words(&to)), why_source(&from, &to));
    }

    /// What the policies at both ends say.
    pub(super) fn tell_policies(&self, steps: &mut Steps) {
        for Asked { direction, answer } in self.slow_path.policies.told.iter().flatten() {
            let step = match direction {
                PolicyDirection::Egress => "egress policy",
                PolicyDirection::Ingress => "ingress policy",
            };
            let (result, reason) = match answer {
                Answer::NotAsked => ("not asked", "no pod of this node is at that end".to_owned()),
                Answer::Exempt => ("allowed", "a pod reaches itself and its own node".to_owned()),
                Answer::Unrestricted => ("allowed", "no rule says anything".to_owned()),
                Answer::NotReady => ("denied", "no policies of the pod are known yet".to_owned()),
                Answer::Rule(TableRule { policy, index: Some(index), .. }) => {
                    let result = if answer.denial().is_none() { "allowed" } else { "denied" };
                    (result, format!("rule {index} of policy {policy}"))
                }
                Answer::Rule(TableRule { policy, index: None, .. }) => {
                    ("denied", format!("isolated by policy {policy}, and nothing allows it"))
                }
            };
            steps.add(step, result, reason);
        }
    }

    /// Where it goes.
    pub(super) fn tell_route(&self, action: &Action, packet: &Packet, steps: &mut Steps) {
        match action {
            Action::Forward { forward, .. } => self.tell_forward(forward, steps),
            Action::AnswerEcho { mac } => {
                steps.add(
                    "route",
                    format!("answered by the switch as {mac}"),
                    "an echo request for the gateway",
                );
            }
            Action::AnswerArp { .. } => steps.add("route", "answered by the switch", "ARP"),
            Action::Resolve { next_hop } => {
                steps.add("route", format!("uplink, to {next_hop}"), "its MAC has to be asked for first");
            }
            Action::ForwardError(_) | Action::Hold => {}
            Action::Flood(_) => {
                let who = packet.destination;
                steps.add("route", "flooded", format!("{who} is a group, or not known"));
            }
        }
    }

    fn tell_forward(&self, forward: &Forward, steps: &mut Steps) {
        let name = self.name_of(forward.egress);
        let Some(rewrite) = &forward.rewrite else {
            steps.add("route", name, "switched: its MAC is behind that port");
            return;
        };
        let peer = forward.peer().and_then(|id| self.slow_path.overlay.peers.get(id));
        let Some(peer) = peer else {
            steps.add("route", name, format!("routed to {}", rewrite.destination));
            return;
        };
        steps.add("route", format!("node {}", peer.config.name), "the address is in its ranges");
        let vni = self.slow_path.overlay.config.as_ref().map(|tunnel| tunnel.vni).unwrap_or_default();
        steps.add("tunnel", format!("{}, VNI {vni}", peer.socket()), format!("VXLAN, by {name}"));
    }
}

fn tell_service(service: &Candidates, ip: &Ipv4, steps: &mut Steps) {
    let kind = match service.kind {
        FrontendKind::ClusterIp => "its cluster address",
        FrontendKind::NodePort => "its node port",
        FrontendKind::LoadBalancer => "its load-balancer address",
        FrontendKind::ExternalIp => "its external address",
        FrontendKind::HostPort => "its port at the node's address",
        FrontendKind::HostLocal => "its port at the node's 127.0.0.1",
    };
    steps.add("service", service.name.clone(), format!("{} is {kind}", ip.destination));
    match service.policy {
        None => steps.add("policy", "refused", "the client is in none of its source ranges"),
        Some(TrafficPolicy::Cluster) => steps.add("policy", "Cluster", "all its backends count"),
        Some(TrafficPolicy::Local) => steps.add("policy", "Local", "only backends of this node count"),
    }
    let mut names = String::new();
    for (position, (address, port)) in service.eligible.iter().take(NAMED).enumerate() {
        let comma = if position > 0 { ", " } else { "" };
        let _ = write!(names, "{comma}{address}:{port}");
    }
    if service.eligible.len() > NAMED {
        let _ = write!(names, " and {} more", service.eligible.len() - NAMED);
    }
    let count = format!("{} of {}", service.eligible.len(), service.backends);
    steps.add("backends", count, if names.is_empty() { "none may be chosen".to_owned() } else { names });
}

fn why_chosen(service: &Candidates, chosen: (Ipv4Addr, u16)) -> String {
    if service.last == Some(chosen) {
        return "the client had it last, and the service has session affinity".to_owned();
    }
    let among = service.eligible.len();
    match service.scheduler {
        _ if among == 1 => "the only one".to_owned(),
        Scheduler::Random => format!("random among {among}; the next connection may get another"),
        Scheduler::RoundRobin => "rr: its turn, in this worker".to_owned(),
        Scheduler::WeightedRoundRobin => "wrr: its turn by weight, in this worker".to_owned(),
        Scheduler::LeastConnections => "lc: fewest active connections".to_owned(),
        Scheduler::WeightedLeastConnections => "wlc: fewest active connections by weight".to_owned(),
        Scheduler::SourceHash => "sh: by the client's address".to_owned(),
        Scheduler::DestinationHash => "dh: by the service's address".to_owned(),
        Scheduler::ShortestExpectedDelay => "sed: shortest expected delay".to_owned(),
        Scheduler::NeverQueue => "nq: idle, or shortest expected delay".to_owned(),
        Scheduler::Maglev => "mh: by the client's address and port".to_owned(),
    }
}

fn why_source(from: &Tuple, to: &Tuple) -> String {
    match (from.source == to.source, from.source_port == to.source_port) {
        (true, true) => "the client's address and port stay".to_owned(),
        (true, false) => "the client's address stays; its port was taken".to_owned(),
        (false, _) => format!("the client appears as {}, so that answers come back here", to.source),
    }
}

fn words(tuple: &Tuple) -> String {
    let Tuple { source, source_port, destination, destination_port } = tuple;
    format!("{source}:{source_port} → {destination}:{destination_port}")
}
