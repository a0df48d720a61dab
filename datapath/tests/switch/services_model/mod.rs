//! Random connections, time and changes of configuration, against a naive reference of the same rules.
//!
//! ```text
//!             ┌─▶ bed: the whole switch, from bytes to bytes ──▶ what became of the packet ─┐
//!  action ────┤                                                                            ├─▶ must agree
//!             └─▶ rules (services, in lists), connections (a list) ─▶ what may become of it ┘
//! ```
//!
//! Of each packet the reference says what may become of it; of the first of a connection that is a set, of which the switch
//! chooses one, and to that it is held from then on. Always: a packet is delivered once, with the very addresses and
//! ports the rules say and right checksums, to the right station, or is dropped by the name that they say, and its sender told or not told as
//! they say. So nothing leaves with a service's address but what comes back as its answer, and nobody sees another's
//! address but where 0006 and 0007 say so.
//!
//! Left out: the fail-over of first segments. Each SYN carries data here, which is not offered to another server, and no server refuses it.

mod actions;
mod bed;
mod connections;
mod first;
mod rules;

use std::net::IpAddr;

use proptest::prelude::*;
use protocol::ServiceId;
use protocol::link::{BackendChanges, BackendConfig, BackendState, ConfigDelta, FrontendKind, Transport};

use self::actions::{Action, Condition, action};
use self::bed::*;
use self::connections::{Connection, State, Step};
use self::rules::{NoBackend, Question, Rules, end_of};
use crate::common::*;
use crate::nat_bed::End;
use crate::services::{at, put};

const FROM_CLIENT: [&str; 4] = ["A", "FA", "R", "S"];
const FROM_SERVER: [&str; 4] = ["SA", "A", "FA", "RA"];

struct Model {
    bed: Bed,
    rules: Rules,
    connections: Vec<Connection>,
    now: u64,
    has_pod_b: bool,
}

impl Model {
    fn new() -> Self {
        let (rules, connections) = (Rules::default(), Vec::new());
        let mut model = Self { bed: Bed::new(), rules, connections, now: 0, has_pod_b: true };
        for service in 0..SERVICES {
            model.step(&Action::Put(config_of(service, 0, &KINDS)));
            for server in [0, 1, 3] {
                let is = Condition { weight: 1, is_ready: true, is_preferred: true };
                model.step(&Action::Backend { service, server, is: Some(is) });
            }
        }
        model
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::Ask { client, service, target, port, from, segment } => {
                let ((client, address), to) = (CLIENTS[*client], bed::target(*service, *target, *port));
                // The node's own packets to its own addresses do not come here.
                let is_own = client == Client::Node && is_nodes(to.0);
                let is_gone = client == Client::Pod(B) && !self.has_pod_b;
                // Nobody outside has a way to these.
                let is_nowhere =
                    client == Client::Outside && [GATEWAY_IP, NODE_B_IP].contains(&to.0.octets());
                if !is_own && !is_gone && !is_nowhere {
                    let transport = if *service == 0 { Transport::Tcp } else { Transport::Udp };
                    self.ask(client, transport, (at(address, *from), to), segment);
                }
            }
            Action::Speak { connection, is_client, segment } => {
                if !self.connections.is_empty() {
                    self.speak(connection.index(self.connections.len()), *is_client, *segment);
                }
            }
            Action::Put(config) => {
                self.rules.put(config);
                self.apply(ConfigDelta { services: vec![config.clone()], ..ConfigDelta::default() });
            }
            Action::Forget { service } => {
                let id = id_of(*service);
                if self.rules.service(id).is_some() {
                    self.rules.forget(id);
                    self.apply(ConfigDelta { forget_services: vec![id], ..ConfigDelta::default() });
                }
            }
            Action::Backend { service, server, is } => {
                self.change_backend(id_of(*service), SERVERS[*server], *is)
            }
            Action::Pod { is_there } if *is_there != self.has_pod_b => {
                self.has_pod_b = *is_there;
                self.apply(if *is_there {
                    ConfigDelta { attach: vec![port(B, "default/b", B_IP)], ..ConfigDelta::default() }
                } else {
                    ConfigDelta { detach: vec![B], ..ConfigDelta::default() }
                });
            }
            Action::Pod { .. } => {}
            Action::Wait { seconds } => {
                self.now += seconds;
                self.bed.wait(*seconds);
                let now = self.now;
                self.connections.retain(|connection| now - connection.last < connection.idle());
            }
        }
    }

    fn apply(&mut self, delta: ConfigDelta) {
        self.bed.h.apply(delta);
        self.bed.h.quiet();
    }

    fn change_backend(&mut self, id: ServiceId, server: [u8; 4], is: Option<Condition>) {
        let end = at(server, SERVER_PORT);
        let Some(service) = self.rules.service(id) else { return };
        let is_there = service.backends.iter().any(|backend| end_of(backend) == end);
        let backend = is.map(|is| BackendConfig {
            weight: is.weight,
            state: if is.is_ready { BackendState::Ready } else { BackendState::Draining },
            is_preferred: is.is_preferred,
            is_local: matches!(place_of(end.0), Place::Pod(_) | Place::Node),
            ..crate::services::backend(server, SERVER_PORT)
        });
        let change = match backend {
            Some(backend) => put(id, &[backend]),
            None if is_there => {
                BackendChanges { service: id, remove: vec![(IpAddr::V4(end.0), end.1)], put: Vec::new() }
            }
            None => return,
        };
        self.rules.put_backend(id, end, backend);
        self.apply(ConfigDelta { backends: vec![change], ..ConfigDelta::default() });
    }

    /// An end of a connection goes on.
    fn speak(&mut self, which: usize, is_client: bool, segment: usize) {
        let connection = self.connections[which].clone();
        let flags = if is_client { FROM_CLIENT[segment] } else { FROM_SERVER[segment] };
        if is_client {
            if connection.client == Client::Pod(B) && !self.has_pod_b {
                return;
            }
            return self.ask(
                connection.client,
                connection.transport,
                (connection.from, connection.to),
                flags,
            );
        }
        let is_gone = place_of(connection.server.0) == Place::Pod(B) && !self.has_pod_b;
        let is_left_out = connection.state == State::Opening && flags == "RA";
        if is_gone || is_left_out {
            return;
        }
        assert_eq!(self.connections[which].step(false, flags, self.now), Step::Passes);
        let seen = self.bed.answer(connection.transport, (connection.server, connection.seen), flags);
        let wanted =
            Seen::Delivered { to: connection.client.place(), ends: (connection.to, connection.from) };
        self.check(seen, wanted);
    }

    /// A client sends.
    fn ask(&mut self, client: Client, transport: Transport, ends: (End, End), flags: &str) {
        let (from, to) = ends;
        let known =
            self.connections.iter().position(|c| (c.transport, c.from, c.to) == (transport, from, to));
        if let Some(which) = known {
            let connection = &self.connections[which];
            // Repeated later, it may be for another server.
            if connection.state == State::Opening && flags == "S" && connection.last != self.now {
                return;
            }
            if self.goes_on(which) {
                match self.connections[which].step(true, flags, self.now) {
                    Step::Passes => {
                        let Connection { server, seen, .. } = self.connections[which];
                        let wanted = Seen::Delivered { to: place_of(server.0), ends: (seen, server) };
                        let seen = self.bed.ask(client, transport, ends, flags);
                        return self.check(seen, wanted);
                    }
                    Step::Dropped(reason) => {
                        let seen = self.bed.ask(client, transport, ends, flags);
                        return assert_eq!(seen, dropped(reason, false));
                    }
                    Step::Begins => {}
                }
            }
            self.connections.remove(which);
        }
        self.begin(client, &Question { transport, from, to, is_outside: client == Client::Outside }, flags);
    }

    /// TCP stays with its server until it ends; UDP as long as that is one of the service's.
    fn goes_on(&self, which: usize) -> bool {
        let connection = &self.connections[which];
        let service = || self.rules.find(connection.transport, connection.to);
        connection.transport == Transport::Tcp
            || service().is_some_and(|(id, _)| self.rules.is_backend(id, connection.server))
    }

    /// A packet of no connection.
    fn begin(&mut self, client: Client, question: &Question, flags: &str) {
        let Question { transport, from, to, is_outside } = *question;
        let seen = self.bed.ask(client, transport, (from, to), flags);
        let is_tcp = transport == Transport::Tcp;
        // What this node alone stands for. A reset is never answered.
        let is_told = (!is_outside || [NODE_IP, LB_IP].contains(&to.0.octets())) && !(is_tcp && flags == "R");
        let found = self
            .rules
            .find(transport, to)
            .filter(|(_, kind)| !is_outside || *kind != FrontendKind::ClusterIp);
        let Some((id, kind)) = found else {
            let wanted = match (is_outside, to.0.octets()) {
                (true, LB_IP) => dropped("service_port_unknown", is_told),
                (true, _) => dropped("not_for_switch", false),
                (false, _) if self.rules.is_of_services(to.0) => dropped("service_port_unknown", is_told),
                // The node's own business.
                (false, _) => Seen::Delivered { to: place_of(to.0), ends: (from, to) },
            };
            return assert_eq!(seen, wanted);
        };
        if is_tcp && flags != "S" {
            return assert_eq!(seen, dropped("no_connection", is_told));
        }
        match self.rules.choose(id, kind, question, self.now) {
            Err(NoBackend::None) => assert_eq!(seen, dropped("service_no_endpoints", is_told)),
            Err(NoBackend::NoLocal) => assert_eq!(seen, dropped("service_no_local_endpoints", false)),
            Err(NoBackend::SourceRefused) => assert_eq!(seen, dropped("service_source_refused", false)),
            Ok(choices) => self.begun(client, question, (id, kind), &choices, seen),
        }
    }

    /// As wanted, unless it is for the pod that is gone.
    #[track_caller]
    fn check(&self, seen: Seen, wanted: Seen) {
        match seen {
            Seen::Dropped { reason, .. } if reason == "no_neighbor" => {
                assert!(matches!(wanted, Seen::Delivered { to: Place::Pod(B), .. }) && !self.has_pod_b);
            }
            seen => assert_eq!(seen, wanted),
        }
    }

    /// As many as the list says, no more and no less.
    fn check_count(&self) {
        let (rows, _) = self.bed.h.switch.connections_page(0, 100_000, self.bed.h.now);
        let count = rows.iter().filter(|row| row.state != "MAPPING").count();
        assert_eq!(count, self.connections.len(), "{rows:#?}\n{:#?}", self.connections);
    }
}

fn dropped(reason: &str, is_told: bool) -> Seen {
    Seen::Dropped { reason: reason.to_owned(), is_told }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn connections_and_changes_end_as_a_naive_reference_says(actions in prop::collection::vec(action(), 1..100)) {
        let mut model = Model::new();
        for action in &actions {
            model.step(action);
            model.check_count();
        }
    }
}
