//! What was seen of a connection, and how long it may be silent.
//!
//! TCP as both ends see it is RFC 9293 §3.3.2; this is what one in the middle sees of it:
//!
//! ```text
//!              SYN ┌───────────────┐ SYN◀          ┌──────────────┐
//!   original ────▶ │   SYN_SENT    │ ────────────▶ │ SYN_SENT_BOTH│ simultaneous open
//!                  └──────┬────────┘               └──────┬───────┘
//!                 SYN+ACK◀│                    SYN+ACK by either
//!                  ┌──────▼───────────────────────────────▼─┐
//!                  │ SYN_RECEIVED (by who sent the SYN+ACK) │
//!                  └──────┬─────────────────────────────────┘
//!                     ACK │ by the other
//!                  ┌──────▼──────┐  FIN  ┌──────────┐ ACK by  ┌────────────┐
//!                  │ ESTABLISHED │ ────▶ │ FIN_WAIT │ ──────▶ │ CLOSE_WAIT │ half closed
//!                  └─────────────┘       └────┬─────┘ other   └─────┬──────┘
//!                                         FIN by the other          │ FIN by the other
//!                                        ┌────▼─────────────────────▼┐  ACK by the first  ┌───────────┐
//!                                        │          LAST_ACK         │ ─────────────────▶ │ TIME_WAIT │
//!                                        └───────────────────────────┘                    └───────────┘
//!   RST in any state but TIME_WAIT (RFC 1337): RESET.   SYN of the original side, or outwards, in TIME_WAIT or RESET: a new connection.
//! ```
//!
//! What the server's reset means before anything came of the connection, and a repeated SYN, is the caller's to say (`nat/fail_over`):
//! the connection may be given to another server (`replace`). What then remains of the first is `ABANDONED`, so that its late answer is known.
//!
//! Sequence numbers are not looked at, so anything that is not plainly wrong is let pass: the ends judge it
//! (challenge ACKs, RFC 5961, need what the RFC 793 middlebox would call invalid). Refused are flags no stack
//! sends together, and whatever the original side says before the answer to its SYN.
//!
//! Other protocols have two states: one direction seen, or both.
//!
//! A mapping (`mapping`) has the state `MAPPING` all its life. A connection between two mappings of one node, which the
//! receiving one does not let in, waits as `FILTERED` for its other end to ask for it: a packet of that side takes it to
//! `REPLIED` or `SYN_SENT_BOTH`.

use std::time::Duration;

use etherparse::ip_number;

use super::key::{Direction, Key};
use crate::limits::ConnectionIdle;
use crate::wire::l4::TcpFlags;

/// Ports of questions that get one answer, as far as timeouts go (RFC 4787 REQ-5a).
const WELL_KNOWN_PORTS: u16 = 1024;
const DNS_PORT: u16 = 53;
/// A question and its answer take no longer; what does is a conversation. As Linux's `nf_conntrack_udp_packet`.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// See the module. Numbers are part of the memory's layout; zero is no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum State {
    Unreplied = 1,
    Replied = 2,
    SynSent = 3,
    SynSentBoth = 4,
    SynReceived = 5,
    Established = 6,
    FinWait = 7,
    CloseWait = 8,
    LastAck = 9,
    TimeWait = 10,
    Reset = 11,
    Filtered = 12,
    Mapping = 13,
    /// Given to another server before this one answered.
    Abandoned = 14,
}

/// A state, and whose last handshake segment led to it: SYN+ACK or FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    pub(super) state: State,
    pub(super) by: Direction,
    /// Stays.
    pub(super) outward: Outward,
    /// Of `outward`: what has kept its mapping since the connection's time last began anew.
    pub(super) kept: Outward,
}

/// Which packets of a connection go out through a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Outward(u8);

/// See `Limits`.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleTimes {
    pub(super) services: ConnectionIdle,
    pub(super) egress: ConnectionIdle,
    pub(super) port_reuse: Duration,
}

/// What a packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Begins the time anew.
    Refresh,
    /// Nothing.
    Pass,
    /// Another state, whose time begins.
    To(Condition),
    /// The packet begins another connection.
    Reopen,
    /// The server resets what it has not accepted.
    Refused,
    /// The first SYN again.
    Repeated,
    /// The server answers what was given to another one meanwhile.
    TooLate,
    Invalid(TcpInvalid),
    /// The packet is let in by nobody. It keeps the connection, in case it will be.
    Filtered,
}

/// Why a segment is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpInvalid {
    /// Flags that no stack sends together, as scans do.
    Flags,
    /// Data or an acknowledgement before the handshake.
    NoHandshake,
}

/// What segments are, as far as connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
}

impl State {
    const ALL: [Self; 14] = [
        Self::Unreplied,
        Self::Replied,
        Self::SynSent,
        Self::SynSentBoth,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Reset,
        Self::Filtered,
        Self::Mapping,
        Self::Abandoned,
    ];

    /// May go when room is needed: nothing has come of it yet, or it is over. Of a mapping it depends on who holds it.
    pub(super) const fn is_evictable(self) -> bool {
        match self {
            Self::Unreplied | Self::SynSent | Self::SynSentBoth | Self::SynReceived | Self::Filtered => true,
            Self::TimeWait | Self::Reset | Self::Abandoned => true,
            Self::Replied | Self::Established | Self::FinWait | Self::CloseWait | Self::LastAck => false,
            Self::Mapping => false,
        }
    }

    /// Its server is busy with it, or soon: as IPVS counts (`tcp_state_active_table`).
    pub(super) const fn is_active(self) -> bool {
        match self {
            Self::Unreplied | Self::Replied => true,
            Self::SynSent | Self::SynSentBoth | Self::SynReceived | Self::Established => true,
            Self::FinWait | Self::CloseWait | Self::LastAck | Self::TimeWait | Self::Reset => false,
            Self::Filtered | Self::Mapping | Self::Abandoned => false,
        }
    }

    /// As tables show it; `nf_conntrack`'s words where it has one.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unreplied => "UNREPLIED",
            Self::Replied => "REPLIED",
            Self::SynSent => "SYN_SENT",
            Self::SynSentBoth => "SYN_SENT2",
            Self::SynReceived => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Reset => "RESET",
            Self::Filtered => "FILTERED",
            Self::Mapping => "MAPPING",
            Self::Abandoned => "ABANDONED",
        }
    }
}

impl Outward {
    /// None: it goes through no mapping.
    pub(super) const NONE: Self = Self(0);
    /// The client's.
    pub(super) const ORIGINAL: Self = Self(1 << Direction::Original as u8);
    /// The server's.
    pub(super) const REPLY: Self = Self(1 << Direction::Reply as u8);
    /// Both sides'.
    pub(super) const BOTH: Self = Self(Self::ORIGINAL.0 | Self::REPLY.0);

    pub(super) const fn contains(self, direction: Direction) -> bool {
        self.0 & 1 << direction as u8 != 0
    }

    /// And this one, if it is one of `all`.
    pub(super) const fn and(self, direction: Direction, all: Self) -> Self {
        Self(self.0 | all.0 & 1 << direction as u8)
    }
}

impl Condition {
    /// Of a mapping.
    pub(super) const MAPPING: Self =
        Self { state: State::Mapping, by: Direction::Original, outward: Outward::NONE, kept: Outward::NONE };

    /// After the first packet.
    pub(super) const fn first(key: &Key, outward: Outward) -> Self {
        let state = if key.is_tcp() { State::SynSent } else { State::Unreplied };
        Self { state, by: Direction::Original, outward, kept: Outward::NONE }
    }

    /// What remains of a connection that was given to another server.
    pub(super) const ABANDONED: Self = Self {
        state: State::Abandoned,
        by: Direction::Original,
        outward: Outward::NONE,
        kept: Outward::NONE,
    };

    /// The server's reset is its last word.
    pub(super) const fn reset_by_server(self) -> Step {
        Step::To(Self { state: State::Reset, by: Direction::Reply, ..self })
    }

    /// From the lower half of a state word; `None` for none.
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        let [state, by, outward, kept] = bits.to_le_bytes();
        let state = State::ALL.get(usize::from(state).checked_sub(1)?)?;
        let [outward, kept] = [outward, kept].map(|bits| Outward(bits & Outward::BOTH.0));
        Some(Self { state: *state, by: Direction::from_bit(by.into()), outward, kept })
    }

    pub(super) const fn bits(self) -> u32 {
        u32::from_le_bytes([self.state as u8, self.by as u8, self.outward.0, self.kept.0])
    }

    /// Whether a packet that goes in `direction` may begin the time anew. From outside only TCP's does, whose ends answer for
    /// each other (RFC 4787 REQ-6: whoever knows a port could keep it open for ever).
    pub(super) fn is_kept_by(self, direction: Direction, is_tcp: bool) -> bool {
        is_tcp || self.outward == Outward::NONE || self.outward.contains(direction)
    }

    /// What a packet does that goes in `direction`, with `flags` if it is TCP.
    pub(super) fn step(self, direction: Direction, flags: Option<TcpFlags>) -> Step {
        let Some(flags) = flags else { return self.datagram(direction) };
        match segment(flags) {
            Some(segment) => self.segment(direction, segment),
            None => Step::Invalid(TcpInvalid::Flags),
        }
    }

    fn datagram(self, direction: Direction) -> Step {
        match (self.state, direction) {
            (State::Unreplied | State::Filtered, Direction::Reply) => {
                Step::To(Self { state: State::Replied, ..self })
            }
            (State::Filtered | State::Mapping, _) => Step::Filtered,
            _ if self.is_kept_by(direction, false) => Step::Refresh,
            _ => Step::Pass,
        }
    }

    fn segment(self, direction: Direction, segment: Segment) -> Step {
        use Segment::{Ack, Fin, Rst, Syn, SynAck};
        let to = |state| Step::To(Self { state, by: direction, ..self });
        let is_other = direction != self.by;
        let is_original = direction == Direction::Original;
        match (self.state, segment) {
            (State::Filtered, Syn) if !is_original => to(State::SynSentBoth),
            (State::Filtered | State::Mapping, _) => Step::Filtered,
            // Its client speaks to this very server, without a service between them.
            (State::Abandoned, _) if is_original => Step::Reopen,
            (State::Abandoned, _) => Step::TooLate,
            (State::TimeWait, Rst) | (State::Reset, Rst) => Step::Pass,
            (State::SynSent, Rst) if !is_original => Step::Refused,
            (_, Rst) => to(State::Reset),
            // Behind a mapping either side may begin.
            (State::TimeWait | State::Reset, Syn) if is_original || self.outward.contains(direction) => {
                Step::Reopen
            }
            // Repeated SYNs do not prolong an opening, so it is bounded.
            (State::SynSent, Syn) => {
                if is_original {
                    Step::Repeated
                } else {
                    to(State::SynSentBoth)
                }
            }
            (State::SynSent, SynAck) if !is_original => to(State::SynReceived),
            (State::SynSent, SynAck | Ack | Fin) if is_original => Step::Invalid(TcpInvalid::NoHandshake),
            // A half-open peer asks back (RFC 9293 §3.5.1); the answer is an RST.
            (State::SynSent, Ack | Fin | SynAck) => Step::Pass,
            (State::SynSentBoth, SynAck) => to(State::SynReceived),
            (State::SynSentBoth, Ack) => to(State::Established),
            (State::SynReceived, SynAck | Ack) if is_other => to(State::Established),
            (State::SynReceived, SynAck | Ack) => Step::Pass,
            (State::SynSentBoth | State::SynReceived | State::Established, Fin) => to(State::FinWait),
            (State::FinWait | State::CloseWait, Fin) if is_other => to(State::LastAck),
            (State::FinWait, Ack) if is_other => Step::To(Self { state: State::CloseWait, ..self }),
            (State::LastAck, Ack) if is_other => to(State::TimeWait),
            (_, Syn | SynAck) => Step::Pass,
            (_, Ack | Fin) => Step::Refresh,
        }
    }

    /// A question of DNS that was answered, and nothing since: whoever asked has what it wanted, so its port is free for
    /// the next question. There are more questions in the time of one connection than there are ports.
    pub(super) fn is_answered_question(
        self,
        key: &Key,
        silent: Duration,
        age: impl FnOnce() -> Duration,
    ) -> bool {
        self.state == State::Replied
            && self.outward == Outward::ORIGINAL
            && key.protocol() == ip_number::UDP.0
            && key.tuple().destination_port == DNS_PORT
            && silent >= ANSWER_TIME
            && age() < ANSWER_TIME
    }

    /// Silence after which it is forgotten. `age` is what it had reached with its last packet.
    pub(super) fn idle(self, key: &Key, age: impl FnOnce() -> Duration, times: &IdleTimes) -> Duration {
        let port_reuse = times.port_reuse;
        let limits = if self.outward == Outward::NONE { &times.services } else { &times.egress };
        match self.state {
            State::Unreplied | State::Replied if key.protocol() == ip_number::ICMP.0 => limits.icmp_query,
            State::Unreplied => limits.unreplied,
            State::Replied => {
                let is_well_known = key.tuple().destination_port < WELL_KNOWN_PORTS;
                if is_well_known && age() < ANSWER_TIME { limits.answered } else { limits.replied }
            }
            State::SynSent | State::SynSentBoth | State::SynReceived | State::Abandoned => limits.tcp_opening,
            State::Established => limits.tcp_established,
            State::CloseWait => limits.tcp_half_closed,
            State::FinWait | State::LastAck | State::TimeWait => limits.tcp_closing,
            State::Reset => limits.tcp_reset,
            State::Filtered if key.is_tcp() => limits.tcp_opening,
            State::Filtered => limits.unreplied,
            // After it was of use; whether the port is in use by another's old peers, TCP's states have seen.
            State::Mapping if key.is_tcp() => Duration::ZERO,
            State::Mapping => port_reuse,
        }
    }
}

/// The combinations that stacks send; PSH and the ECN bits may come with any. As Linux's `tcp_valid_flags`.
fn segment(flags: TcpFlags) -> Option<Segment> {
    const SYN_ACK: TcpFlags = TcpFlags::SYN.and(TcpFlags::ACK);
    const FIN_ACK: TcpFlags = TcpFlags::FIN.and(TcpFlags::ACK);
    const RST_ACK: TcpFlags = TcpFlags::RST.and(TcpFlags::ACK);
    const WEIGHED: TcpFlags = SYN_ACK.and(FIN_ACK).and(TcpFlags::RST);
    match flags.only(WEIGHED) {
        TcpFlags::SYN => Some(Segment::Syn),
        SYN_ACK if !flags.intersects(TcpFlags::URG) => Some(Segment::SynAck),
        TcpFlags::ACK => Some(Segment::Ack),
        FIN_ACK => Some(Segment::Fin),
        TcpFlags::RST | RST_ACK if !flags.intersects(TcpFlags::URG) => Some(Segment::Rst),
        _ => None,
    }
}
