//! What is found out about the way to one peer: whether it answers, how fast, and how large packets
//! may be (RFC 8899, "packetization layer path MTU discovery for datagram transports").
//!
//! # How it works
//!
//! Once a second a *round* is sent: a small keep-alive, and probes where something is to be found out.
//! Each asks for an answer that repeats its nonce. What is not answered by the next round is lost.
//!
//! ```text
//!              base and largest            largest answered, or range closed
//!   ─▶ Searching ──▶ sizes between ──────────────────▶ Settled ──┐ every CONFIRM_ROUNDS: is the size
//!         ▲          the largest that arrived and the     │  ▲   │ still good?
//!         │          least that did not, several a round  │  └───┘
//!         └───────────────────────────────────────────────┘
//!            three confirmations lost (back to the base), or ten minutes later (perhaps more now)
//! ```
//!
//! A size is given up after [`TRIES`] rounds in which the small keep-alive was answered and it was not:
//! RFC 8899's MAX_PROBES. Several sizes a round, because an outage while searching is what users see.
//! Messages "too big" from routers are not believed: anybody can send them (RFC 8085 §5.2).

use std::time::Duration;

use crate::time::Instant;

/// What every underlay is taken to carry (RFC 8899 §5.1.2: BASE_PLPMTU).
pub(crate) const BASE: u16 = 1200;
/// Rounds a size has to fail in (MAX_PROBES).
const TRIES: u8 = 3;
/// Sizes tried in one round.
const SIZES: usize = 4;
/// A range this small is not worth another round.
const CLOSE_ENOUGH: u32 = 4;
/// Rounds between two looks at whether the size still is good.
const CONFIRM_ROUNDS: u32 = 5;
/// Time until a larger size may be tried again (PMTU_RAISE_TIMER).
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// A peer that answered nothing for so long is unreachable.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);
/// Rounds that losses are counted over.
const HISTORY: u8 = 100;

/// What is sent in one round: sizes of outer IP packets; the first is the small keep-alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Message `n` has this nonce plus `n`.
    pub(crate) nonce: u64,
    sent: Instant,
    sizes: [u16; SIZES + 1],
    len: usize,
    /// By message, from the lowest bit.
    answered: u8,
}

impl Round {
    /// Nonces and sizes.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, u16)> + use<> {
        let (nonce, sizes) = (self.nonce, self.sizes);
        (0u64..).zip(sizes).take(self.len).map(move |(index, size)| (nonce.wrapping_add(index), size))
    }

    const fn is_answered(&self, message: usize) -> bool {
        self.answered & 1 << message != 0
    }

    /// Sizes of the probes that were not answered.
    fn lost(&self) -> impl Iterator<Item = u16> {
        self.sizes
            .iter()
            .enumerate()
            .take(self.len)
            .skip(1)
            .filter(|(n, _)| !self.is_answered(*n))
            .map(|(_, s)| *s)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `tries` rounds have failed.
    Searching { tries: u8 },
    /// `failures` confirmations have failed, one after the other.
    Settled { since: Instant, failures: u8 },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Path {
    /// The underlay's MTU: nothing larger is tried.
    max: u16,
    /// Largest size that has arrived in this search; 0 is none.
    arrives: u16,
    /// Least size that is taken not to.
    fails: u32,
    phase: Phase,
    mtu: Option<u16>,
    round: Option<Round>,
    rounds: u32,
    first_sent: Option<Instant>,
    answered: Option<Instant>,
    rtt_nanos: Option<u64>,
    /// A bit for each round, the last lowest; set if it was lost.
    losses: u128,
    judged: u8,
}

impl Path {
    pub(crate) fn new(max: u16) -> Self {
        Self {
            max,
            arrives: 0,
            fails: u32::from(max) + 1,
            phase: Phase::Searching { tries: 0 },
            mtu: None,
            round: None,
            rounds: 0,
            first_sent: None,
            answered: None,
            rtt_nanos: None,
            losses: 0,
            judged: 0,
        }
    }

    /// The underlay's MTU changed.
    pub(crate) fn restart(&mut self, max: u16) {
        self.max = max;
        self.mtu = self.mtu.map(|mtu| mtu.min(max));
        self.search_again();
    }

    /// Largest packet known to arrive; `None` before anything is known.
    pub(crate) const fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    /// As found out by another worker's switch.
    pub(crate) const fn set_mtu(&mut self, mtu: u16) {
        self.mtu = Some(mtu);
    }

    /// `None` before there was time to tell.
    pub(crate) fn is_reachable(&self, now: Instant) -> Option<bool> {
        let first_sent = self.first_sent?;
        let answers = self.answered.is_some_and(|at| now.saturating_since(at) < UNREACHABLE_AFTER);
        (answers || now.saturating_since(first_sent) >= UNREACHABLE_AFTER).then_some(answers)
    }

    pub(crate) fn rtt_micros(&self) -> Option<u32> {
        self.rtt_nanos.map(|nanos| u32::try_from(nanos / 1000).unwrap_or(u32::MAX))
    }

    pub(crate) fn loss_percent(&self) -> Option<u8> {
        let judged = u32::from(self.judged);
        let lost = (self.losses & ((1 << HISTORY) - 1)).count_ones();
        u8::try_from((lost * 100).checked_div(judged)?).ok()
    }

    /// Closes the last round and says what to send now.
    pub(crate) fn begin_round(&mut self, nonce: u64, now: Instant) -> Round {
        if let Some(round) = self.round.take() {
            self.judge(&round, now);
        }
        self.first_sent.get_or_insert(now);
        self.rounds = self.rounds.wrapping_add(1);
        let mut round = Round { nonce, sent: now, sizes: [0; SIZES + 1], len: 1, answered: 0 };
        self.choose_sizes(&mut round);
        self.round = Some(round);
        round
    }

    /// An answer came; whether it changed the path MTU, or `None` if nobody waits for it.
    pub(crate) fn on_answer(&mut self, nonce: u64, now: Instant) -> Option<bool> {
        let round = self.round.as_mut()?;
        let message = usize::try_from(nonce.wrapping_sub(round.nonce)).ok().filter(|n| *n < round.len)?;
        if round.is_answered(message) {
            return None;
        }
        round.answered |= 1 << message;
        let rtt = u64::try_from(now.saturating_since(round.sent).as_nanos()).unwrap_or(u64::MAX);
        let size = round.sizes.get(message).copied().unwrap_or_default();
        self.answered = Some(now);
        // RFC 6298 §2, without the variance, which only a retransmission timer needs.
        self.rtt_nanos = Some(self.rtt_nanos.map_or(rtt, |smoothed| smoothed - smoothed / 8 + rtt / 8));
        let before = self.mtu;
        self.arrives = self.arrives.max(size);
        if self.arrives == self.max {
            self.settle(now);
        } else if let Some(mtu) = &mut self.mtu {
            *mtu = (*mtu).max(size);
        }
        Some(self.mtu != before)
    }

    fn judge(&mut self, round: &Round, now: Instant) {
        let is_lost = round.answered == 0;
        self.losses = self.losses << 1 | u128::from(is_lost);
        self.judged = (self.judged + 1).min(HISTORY);
        // Without the small one nothing can be said about the others.
        if !round.is_answered(0) {
            return;
        }
        match self.phase {
            Phase::Searching { tries } => self.judge_search(round, tries, now),
            Phase::Settled { since, failures } => self.judge_settled(round, since, failures, now),
        }
    }

    fn judge_search(&mut self, round: &Round, tries: u8, now: Instant) {
        let least_lost = round.lost().filter(|size| *size > self.arrives).min();
        let tries = match least_lost {
            None => 0,
            Some(size) if tries + 1 >= TRIES => {
                self.fails = u32::from(size);
                // The largest does not arrive, so until the search ends what does is what counts.
                self.mtu = Some(self.arrives).filter(|arrives| *arrives > 0).or(self.mtu);
                0
            }
            Some(_) => tries + 1,
        };
        self.phase = Phase::Searching { tries };
        if self.arrives > 0 && self.fails - u32::from(self.arrives) <= CLOSE_ENOUGH {
            self.settle(now);
        }
    }

    fn judge_settled(&mut self, round: &Round, since: Instant, failures: u8, now: Instant) {
        let failures = match (round.len > 1, round.lost().next()) {
            (true, Some(_)) => failures + 1,
            (true, None) => 0,
            (false, _) => failures,
        };
        self.phase = Phase::Settled { since, failures };
        if failures >= TRIES {
            // A black hole: packets of the size in use vanish.
            self.mtu = Some(BASE.min(self.max));
            self.search_again();
        } else if self.arrives < self.max && now.saturating_since(since) >= RAISE_AFTER {
            self.fails = u32::from(self.max) + 1;
            self.phase = Phase::Searching { tries: 0 };
        }
    }

    fn settle(&mut self, now: Instant) {
        self.mtu = Some(self.arrives);
        if matches!(self.phase, Phase::Searching { .. }) {
            self.phase = Phase::Settled { since: now, failures: 0 };
        }
    }

    fn search_again(&mut self) {
        self.arrives = 0;
        self.fails = u32::from(self.max) + 1;
        self.phase = Phase::Searching { tries: 0 };
        // Answers to what is under way are answers about another path.
        self.round = None;
    }

    fn choose_sizes(&self, round: &mut Round) {
        match self.phase {
            Phase::Searching { .. } if self.fails > u32::from(self.max) => {
                if self.arrives == 0 && BASE < self.max {
                    round.add(BASE);
                }
                round.add(self.max);
            }
            Phase::Searching { .. } => {
                let from = usize::from(self.arrives);
                let range = usize::try_from(self.fails).unwrap_or_default().saturating_sub(from);
                for step in 1..=SIZES {
                    let size = from + range * step / (SIZES + 1);
                    if size > from {
                        round.add(u16::try_from(size).unwrap_or(self.max));
                    }
                }
            }
            Phase::Settled { failures, .. } => {
                if failures > 0 || self.rounds.is_multiple_of(CONFIRM_ROUNDS) {
                    round.add(self.arrives);
                }
            }
        }
    }
}

impl Round {
    /// Adds a probe, unless it is the one added last.
    fn add(&mut self, size: u16) {
        let last = self.len.checked_sub(1).and_then(|last| self.sizes.get(last));
        if last == Some(&size) {
            return;
        }
        if let Some(place) = self.sizes.get_mut(self.len) {
            *place = size;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests;
