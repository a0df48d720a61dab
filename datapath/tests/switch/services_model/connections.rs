//! Connections as their ends and the clock know them: a list of them.

use protocol::link::Transport;

use super::bed::Client;
use crate::nat_bed::End;

#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) client: Client,
    /// The client, and where it sends to.
    pub(super) from: End,
    pub(super) to: End,
    /// The backend, and whom that sees.
    pub(super) server: End,
    pub(super) seen: End,
    /// The backend is outside the cluster.
    pub(super) is_egress: bool,
    pub(super) state: State,
    /// Who sent what led to the state.
    by_client: bool,
    /// When it was last kept.
    pub(super) last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// UDP.
    Asked,
    Answered,
    /// TCP.
    Opening,
    Accepted,
    Open,
    Finishing,
    HalfClosed,
    BothFinished,
    Closed,
    Reset,
}

/// What becomes of a packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Passes,
    Dropped(&'static str),
    /// It is the first of a new connection.
    Begins,
}

impl Connection {
    pub(super) fn begun(
        (transport, client): (Transport, Client),
        (from, to): (End, End),
        (server, seen): (End, End),
        is_egress: bool,
        now: u64,
    ) -> Self {
        let state = if transport == Transport::Tcp { State::Opening } else { State::Asked };
        let (by_client, last) = (true, now);
        Self { transport, client, from, to, server, seen, is_egress, state, by_client, last }
    }

    /// A packet of one end, with these flags if it is TCP's.
    pub(super) fn step(&mut self, is_client: bool, flags: &str, now: u64) -> Step {
        if self.transport == Transport::Udp {
            if !is_client {
                self.state = State::Answered;
            }
            // Outside, whoever knows the port could keep it open for ever.
            if is_client || !self.is_egress {
                self.last = now;
            }
            return Step::Passes;
        }
        let is_other = is_client != self.by_client;
        let (next, keeps) = match (self.state, flags) {
            (State::Opening, "A" | "FA") if is_client => return Step::Dropped("tcp_no_handshake"),
            (State::Closed | State::Reset, "S") if is_client => return Step::Begins,
            (State::Closed | State::Reset, "R" | "RA") => (self.state, false),
            (_, "R" | "RA") => (State::Reset, true),
            (State::Opening, "SA") => (State::Accepted, true),
            (State::Opening, _) => (State::Opening, false),
            (State::Accepted, "A") if is_other => (State::Open, true),
            (State::Accepted, "A") => (State::Accepted, false),
            (State::Accepted | State::Open, "FA") => (State::Finishing, true),
            (State::Finishing | State::HalfClosed, "FA") if is_other => (State::BothFinished, true),
            // Who has finished first stays known.
            (State::Finishing, "A") if is_other => {
                (self.state, self.last) = (State::HalfClosed, now);
                return Step::Passes;
            }
            (State::BothFinished, "A") if is_other => (State::Closed, true),
            (_, "S" | "SA") => (self.state, false),
            (_, _) => (self.state, true),
        };
        if next != self.state {
            (self.state, self.by_client) = (next, is_client);
        }
        if keeps {
            self.last = now;
        }
        Step::Passes
    }

    /// Seconds of silence after which it is forgotten.
    pub(super) fn idle(&self) -> u64 {
        let (inside, outside) = match self.state {
            State::Asked => (30, 300),
            State::Answered => (300, 300),
            State::Opening | State::Accepted => (30, 240),
            State::Open => (24 * 3600, 124 * 60),
            State::HalfClosed => (3600, 3600),
            State::Finishing | State::BothFinished | State::Closed => (240, 240),
            State::Reset => (10, 240),
        };
        if self.is_egress { outside } else { inside }
    }
}
