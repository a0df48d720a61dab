//! Random packets of pods and outsiders, time and changes of configuration, against a naive list of who may talk to whom.
//!
//! Always: a pod's port appears as one port as long as it is in use, and that is no other's; nothing leaves untranslated, and nothing comes in
//! that the list does not know of.

mod operations;

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::PortId;
use protocol::link::Filtering;

use self::operations::{Operation, Party, operation};
use crate::common::*;
use crate::nat_bed::*;
use crate::services::{at, ends, only};

const PODS: [(PortId, [u8; 4]); 3] = [(A, A_IP), (B, B_IP), (VM, VM_IP)];
/// The pod that comes to appear as something else.
const MOVES: usize = 1;
const SERVERS: [[u8; 4]; 2] = [SERVER, OTHER];
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// Who may talk to whom.
#[derive(Debug, Clone)]
struct Session {
    protocol: u8,
    inside: End,
    /// A server, or the inside of another pod.
    peer: End,
    is_turned_round: bool,
    /// Of two pods: the peer lets it in, or has sent itself.
    may_pass: bool,
    /// Of two pods: both have sent.
    is_answered: bool,
    /// An end of it appears as something else by now. It carries nothing any more, but the other end goes on to appear as it did.
    is_broken: bool,
    /// When it was made, or last kept.
    kept: u64,
}

impl Session {
    /// With a server.
    fn begun(protocol: u8, inside: End, peer: End, now: u64) -> Self {
        Self {
            protocol,
            inside,
            peer,
            is_turned_round: false,
            may_pass: true,
            is_answered: false,
            is_broken: false,
            kept: now,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Appearance {
    outside: End,
    /// Its last packet out.
    sent: u64,
}

struct Bed {
    h: Harness,
    sessions: Vec<Session>,
    appears: BTreeMap<(u8, End), Appearance>,
    now: u64,
    is_open: bool,
    moves: u8,
}

impl Bed {
    fn new() -> Self {
        let h = harness_nat(Filtering::AddressAndPortDependent);
        Self { h, sessions: Vec::new(), appears: BTreeMap::new(), now: 0, is_open: false, moves: 0 }
    }

    fn configure(&mut self) {
        let (is_open, moves) = (self.is_open, self.moves);
        configure(&mut self.h, |uplink| {
            uplink.filtering =
                if is_open { Filtering::EndpointIndependent } else { Filtering::AddressAndPortDependent };
            if moves > 0 {
                uplink.egress[0].address = [192, 0, 2, 100 + moves].into();
            }
        });
    }

    fn forget(&mut self) {
        let now = self.now;
        self.sessions.retain(|session| now - session.kept < idle(session.protocol));
    }

    fn session(&mut self, protocol: u8, inside: End, peer: End) -> Option<&mut Session> {
        self.sessions
            .iter_mut()
            .find(|s| !s.is_broken && (s.protocol, s.inside, s.peer) == (protocol, inside, peer))
    }

    /// Somebody has a session through this mapping.
    fn is_in_use(&self, protocol: u8, inside: End) -> bool {
        self.sessions
            .iter()
            .any(|s| s.protocol == protocol && (s.inside == inside || s.is_turned_round && s.peer == inside))
    }

    /// Those who may come in by what `inside` appears as.
    fn is_open_to_all(&self, protocol: u8, inside: End) -> Option<End> {
        let appears = self.appears.get(&(protocol, inside))?;
        let lasts = self.now - appears.sent < 300;
        (self.is_in_use(protocol, inside) && lasts).then_some(appears.outside)
    }

    /// A packet of `inside` was seen as coming from `outside`.
    fn sent(&mut self, protocol: u8, inside: End, outside: End) -> Result<(), TestCaseError> {
        let known = self.appears.get(&(protocol, inside)).map(|appears| appears.outside);
        if let Some(known) = known.filter(|_| self.is_in_use(protocol, inside)) {
            prop_assert_eq!(known, outside, "endpoint-independent");
        }
        for ((other_protocol, other), appears) in &self.appears {
            let is_taken = *other_protocol == protocol && *other != inside && appears.outside == outside;
            prop_assert!(!is_taken || !self.is_in_use(protocol, *other), "{outside:?} is {other:?}'s");
        }
        self.appears.insert((protocol, inside), Appearance { outside, sent: self.now });
        Ok(())
    }

    fn step(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Send { from, server, is_ping } => self.send(*from, *server, *is_ping)?,
            Operation::Come { to, server, is_ping } => self.come(*to, *server, *is_ping)?,
            Operation::Meet { from, to } => self.meet(*from, *to)?,
            Operation::Wait { seconds } => {
                self.now += seconds;
                later(&mut self.h, *seconds);
                self.forget();
            }
            Operation::Filter { is_open } => {
                self.is_open = *is_open;
                self.configure();
            }
            Operation::Move => {
                if self.moves < 50 {
                    self.moves += 1;
                    self.configure();
                    let is_b = |end: &End| end.0 == std::net::Ipv4Addr::from(PODS[MOVES].1);
                    self.sessions.retain(|s| !is_b(&s.inside) || s.is_turned_round);
                    for session in &mut self.sessions {
                        session.is_broken |= is_b(&session.inside) || is_b(&session.peer);
                    }
                    self.appears.retain(|(_, inside), _| !is_b(inside));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, from: Party, server: usize, is_ping: bool) -> Result<(), TestCaseError> {
        let ((port, address), server) = (PODS[from.pod], SERVERS[server]);
        let (protocol, inside, peer) = (protocol(is_ping), inside(from), peer(server, is_ping));
        let path = routed(address, server);
        let frame =
            if is_ping { echo_request(path, from.port, b"ping") } else { udp(path, from.port, peer.1, b"?") };
        let sent = leaves(&mut self.h, port, &frame);
        let outside = if is_ping {
            at(sent[26..30].try_into().unwrap(), u16::from_be_bytes([sent[38], sent[39]]))
        } else {
            let (from, to) = ends(&sent);
            prop_assert_eq!(to, peer);
            from
        };
        let external = [NODE_IP, EGRESS_IP].map(std::net::Ipv4Addr::from);
        prop_assert!(external.contains(&outside.0) || from.pod == 1 && outside.0.octets()[3] >= 100);
        self.sent(protocol, inside, outside)?;
        let now = self.now;
        match self.session(protocol, inside, peer) {
            Some(session) => session.kept = now,
            None => {
                let session = Session::begun(protocol, inside, peer, now);
                self.sessions.push(session);
            }
        }
        Ok(())
    }

    fn come(&mut self, to: Party, server: usize, is_ping: bool) -> Result<(), TestCaseError> {
        let ((port, address), server) = (PODS[to.pod], SERVERS[server]);
        let (protocol, inside, peer) = (protocol(is_ping), inside(to), peer(server, is_ping));
        let Some(appears) = self.appears.get(&(protocol, inside)).copied() else { return Ok(()) };
        let path = outside(server, appears.outside.0.octets());
        let frame = if is_ping {
            echo_reply(path, appears.outside.1, b"pong")
        } else {
            udp(path, peer.1, appears.outside.1, b"!")
        };
        let sent = self.h.send(UPLINK, &frame);
        let is_known = self.session(protocol, inside, peer).is_some();
        let is_let_in = self.is_open && !is_ping && self.is_open_to_all(protocol, inside).is_some();
        if !is_known && !is_let_in {
            // It may be somebody else's by now, who lets in whoever comes.
            let (now, is_open) = (self.now, self.is_open);
            let other = self.appears.iter().find(|((p, other), a)| {
                (*p, a.outside) == (protocol, appears.outside)
                    && *other != inside
                    && self.is_in_use(protocol, *other)
            });
            let Some((&(_, other), other_appears)) = other else {
                prop_assert!(sent.is_empty(), "{:?} is let in by nobody", frame);
                return Ok(());
            };
            let may = is_open && !is_ping && now - other_appears.sent < 300;
            let may = may || self.session(protocol, other, peer).is_some();
            prop_assert_eq!(sent.len(), usize::from(may));
            if may && self.session(protocol, other, peer).is_none() {
                let inside = other;
                let session = Session::begun(protocol, inside, peer, now);
                self.sessions.push(session);
            }
            return Ok(());
        }
        let (reached, sent) = only(sent);
        let sent = ethernet(&sent);
        prop_assert_eq!((reached, &sent[26..30], &sent[30..34]), (port, &server[..], &address[..]));
        let identifier = if is_ping { &sent[38..40] } else { &sent[36..38] };
        prop_assert_eq!(identifier, &to.port.to_be_bytes()[..]);
        if !is_known {
            let session = Session::begun(protocol, inside, peer, self.now);
            self.sessions.push(session);
        }
        Ok(())
    }

    fn meet(&mut self, from: Party, to: Party) -> Result<(), TestCaseError> {
        let (a, b) = (inside(from), inside(to));
        let Some(target) = self.appears.get(&(UDP, b)).copied() else { return Ok(()) };
        // What it appeared as long ago may be another's by now.
        if a == b || !self.is_in_use(UDP, b) {
            return Ok(());
        }
        let (port, address) = PODS[from.pod];
        let (to_port, to_address) = PODS[to.pod];
        let frame = udp(routed(address, target.outside.0.octets()), from.port, target.outside.1, b"peer");
        let sent = self.h.send(port, &frame);
        let (now, is_open) = (self.now, self.is_open);
        // What is broken goes with the next packet of its own; who never answered has nothing to do with it any more.
        let is_its_own = |s: &Session| s.is_broken && (s.inside, s.peer) == (a, b) && to.pod != MOVES;
        self.sessions.retain(|session| !is_its_own(session) || session.is_answered);
        let (may_pass, is_new) = if let Some(session) = self.session(UDP, a, b) {
            session.kept = now;
            (session.may_pass, false)
        } else if let Some(session) = self.session(UDP, b, a) {
            (session.kept, session.may_pass, session.is_answered) = (now, true, true);
            (true, false)
        } else if self.is_open_to_all(UDP, b).is_some() {
            (is_open, true)
        } else {
            prop_assert!(sent.is_empty());
            return Ok(());
        };
        prop_assert_eq!(sent.len(), usize::from(may_pass));
        let mapped = self.h.switch.connections_page(0, 10_000, self.h.now).0.into_iter().find(|row| {
            row.state == "MAPPING"
                && row.protocol == UDP
                && (row.original.source, row.original.source_port) == (a.0.into(), a.1)
        });
        let mapped = mapped.unwrap().reply;
        let std::net::IpAddr::V4(external) = mapped.destination else { panic!() };
        let outside = (external, mapped.destination_port);
        if let Some((reached, frame)) = sent.first() {
            prop_assert_eq!(*reached, to_port);
            prop_assert_eq!(ends(ethernet(frame)), (outside, at(to_address, to.port)));
        }
        self.sent(UDP, a, outside)?;
        if is_new {
            let session = Session { is_turned_round: true, may_pass, ..Session::begun(UDP, a, b, now) };
            self.sessions.push(session);
        }
        Ok(())
    }
}

fn protocol(is_ping: bool) -> u8 {
    if is_ping { ICMP } else { UDP }
}

fn idle(protocol: u8) -> u64 {
    if protocol == ICMP { 60 } else { 300 }
}

fn inside(party: Party) -> End {
    at(PODS[party.pod].1, party.port)
}

fn peer(server: [u8; 4], is_ping: bool) -> End {
    at(server, if is_ping { 0 } else { 5000 })
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn pods_and_outsiders_talk_as_a_naive_list_says(operations in prop::collection::vec(operation(), 1..120)) {
        let mut bed = Bed::new();
        for operation in &operations {
            bed.step(operation)?;
        }
        for _ in 0..2 {
            later(&mut bed.h, 10_000);
        }
        prop_assert_eq!(table(&bed.h), (0, 0));
        let summary = bed.h.switch.summary().connection_events;
        prop_assert_eq!(summary.created, summary.expired + summary.removed);
    }
}
