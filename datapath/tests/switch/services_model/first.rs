//! The first packet of a connection: which backend it may have got, and as whom its client may be seen.

use std::net::{IpAddr, Ipv4Addr};

use protocol::ServiceId;
use protocol::link::{FrontendKind, Transport};

use super::Model;
use super::bed::*;
use super::connections::Connection;
use super::rules::Question;
use crate::common::*;
use crate::nat_bed::{End, RANGE};

/// The first of the service range, which no service has: clients outside and the node itself, to the node.
const NOBODY_IP: [u8; 4] = [10, 96, 0, 0];

impl Model {
    /// One of `choices` was to be chosen.
    pub(super) fn begun(
        &mut self,
        client: Client,
        question: &Question,
        (id, kind): (ServiceId, FrontendKind),
        choices: &[End],
        seen: Seen,
    ) {
        let one = |address: Ipv4Addr| choices.iter().copied().find(|server| server.0 == address);
        let far = SERVERS[6].into();
        let (server, as_whom) = match seen {
            Seen::Delivered { to, ends: (as_whom, server) } => {
                assert!(choices.contains(&server), "{server:?} is none of {choices:?}");
                assert_eq!(to, place_of(server.0));
                (server, Some(as_whom))
            }
            // The pod is gone, but its service has not heard yet. As whom is seen by what comes next.
            Seen::Dropped { reason, .. } if reason == "no_neighbor" && !self.has_pod_b => {
                (one(B_IP.into()).expect("one that is gone"), self.row_of(question))
            }
            // Nothing passes from outside to outside.
            Seen::Dropped { reason, is_told: false } if reason == "hairpin" && question.is_outside => {
                (one(far).expect("one outside"), None)
            }
            // One port of a pod's is one port outside, whichever service it asked.
            Seen::Dropped { reason, is_told: false } if reason == "nat_ports_exhausted" => {
                let server = one(far).expect("one outside");
                let known = self.appears_as(question);
                let is_taken = known.is_some_and(|known| self.is_taken(question.transport, server, known));
                assert!(is_taken, "{question:?} might have appeared as {known:?}");
                (server, None)
            }
            other => panic!("{other:?} of {choices:?}"),
        };
        self.rules.chosen(id, kind, question, server, self.now);
        if let Some(as_whom) = as_whom {
            self.check_source(question, server, as_whom);
            let is_egress = place_of(server.0) == Place::Outside;
            let (who, ends) = ((question.transport, client), (question.from, question.to));
            let new = Connection::begun(who, ends, (server, as_whom), is_egress, self.now);
            self.connections.push(new);
        }
    }

    /// Whom the server may see.
    fn check_source(&self, question: &Question, server: End, seen: End) {
        let Question { transport, from, is_outside, .. } = *question;
        let is_from_node = from.0.octets() == GATEWAY_IP;
        let (address, is_masqueraded) = match place_of(server.0) {
            Place::Pod(_) if from.0 == server.0 => (GATEWAY_IP, false),
            Place::OtherNode if is_outside => (GATEWAY_IP, true),
            Place::Node if is_outside || is_from_node => (NOBODY_IP, true),
            Place::Outside if from.0.octets() == B_IP => (EGRESS_IP, true),
            Place::Outside => (NODE_IP, true),
            Place::Pod(_) | Place::OtherNode | Place::Node => (from.0.octets(), false),
        };
        assert_eq!(seen.0, Ipv4Addr::from(address));
        assert!(!self.is_taken(transport, server, seen), "{seen:?} is another's");
        if is_masqueraded {
            assert!(RANGE.contains(&seen.1), "{} is the node's", seen.1);
        } else if !self.is_taken(transport, server, (seen.0, from.1)) {
            assert_eq!(seen.1, from.1, "nobody has its port");
        } else {
            assert!(RANGE.contains(&seen.1));
        }
        if place_of(server.0) == Place::Outside
            && let Some(known) = self.appears_as(question)
        {
            assert_eq!(seen, known, "endpoint-independent");
        }
    }

    fn is_taken(&self, transport: Transport, server: End, seen: End) -> bool {
        self.connections.iter().any(|c| (c.transport, c.server, c.seen) == (transport, server, seen))
    }

    /// What the client's port appears as outside, as far as other connections of it tell.
    fn appears_as(&self, question: &Question) -> Option<End> {
        let same =
            |c: &&Connection| c.is_egress && (c.transport, c.from) == (question.transport, question.from);
        self.connections.iter().find(same).map(|connection| connection.seen)
    }

    /// As whom the connection that was just made will be seen.
    fn row_of(&self, question: &Question) -> Option<End> {
        let (rows, _) = self.bed.h.switch.connections_page(0, 100_000, self.bed.h.now);
        let row = rows.into_iter().find(|row| {
            row.protocol == question.transport.number()
                && (row.original.source, row.original.source_port)
                    == (question.from.0.into(), question.from.1)
                && (row.original.destination, row.original.destination_port)
                    == (question.to.0.into(), question.to.1)
        })?;
        let IpAddr::V4(address) = row.reply.destination else { panic!() };
        Some((address, row.reply.destination_port))
    }
}
