//! The backends that may be chosen under one policy, and how one of them is.
//!
//! A list is made when its service changes, not when a backend is chosen. Backends stand in it by address and port, so
//! hashes lead to the same ones on every node.
//!
//! # How they are chosen
//!
//! | scheduler | how | cost |
//! |-|-|-|
//! | `random` | each with the same probability | 1 |
//! | `rr` | in turn | 1 |
//! | `wrr` | smooth weighted round robin, as nginx has it: each gains its weight, the richest is chosen and pays the sum of all. In any cycle each has its share, and no backend gets its share in one run, as with the greatest common divisor of IPVS | n |
//! | `lc` | least active connections | n |
//! | `wlc` | least active / weight | n |
//! | `sed` | least (active + 1) / weight | n |
//! | `nq` | one without connections, else as `sed` | n |
//! | `sh`, `dh` | hash of client or service address, modulo n | 1 |
//! | `mh` | [`Maglev`], hash of client address and port | 1 |
//!
//! Among equals it is the turn of the one after the last chosen; IPVS takes the first of the list, which so gets all
//! connections that end before the next begins. The weighted ones (`wrr`, `wlc`, `sed`, `nq`, `mh`) do not know
//! backends of weight 0. Turns are each worker's own.

use std::net::Ipv4Addr;

use protocol::link::Scheduler;

use super::backends::Backends;
use super::maglev::Maglev;
use super::rng::{Rng, mix, reduce};
use super::shared::ActiveConnections;

/// See the module.
#[derive(Debug)]
pub(super) struct Eligible {
    slots: Box<[u32]>,
    /// Whose turn it is.
    next: usize,
    plan: Plan,
}

/// What a scheduler prepares or remembers.
#[derive(Debug)]
enum Plan {
    None,
    /// What each has gained, for `wrr`.
    Smooth(Box<[i32]>),
    Maglev(Maglev),
}

/// Whose turn it is in a list.
#[derive(Debug)]
pub(super) struct Turn {
    next: usize,
    gained: Option<Box<[i32]>>,
}

/// Who asks, and what may not be the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) client: (Ipv4Addr, u16),
    /// The frontend's address.
    pub(super) frontend: Ipv4Addr,
    /// Slots.
    pub(super) exclude: &'a [u32],
}

/// Does not choose backends of weight 0.
pub(super) const fn is_weighted(scheduler: Scheduler) -> bool {
    match scheduler {
        Scheduler::WeightedRoundRobin
        | Scheduler::WeightedLeastConnections
        | Scheduler::ShortestExpectedDelay
        | Scheduler::NeverQueue
        | Scheduler::Maglev => true,
        Scheduler::Random
        | Scheduler::RoundRobin
        | Scheduler::LeastConnections
        | Scheduler::SourceHash
        | Scheduler::DestinationHash => false,
    }
}

impl Eligible {
    /// These backends; `before` is the list that this one follows, whose turns go on.
    pub(super) fn new(
        slots: Vec<u32>,
        scheduler: Scheduler,
        backends: &Backends,
        before: Option<&Self>,
    ) -> Self {
        let plan = match scheduler {
            Scheduler::WeightedRoundRobin => Plan::Smooth(vec![0; slots.len()].into()),
            Scheduler::Maglev => {
                let members = slots.iter().filter_map(|slot| backends.get(*slot));
                let members: Vec<_> = members.map(|row| (row.address, row.port, row.weight)).collect();
                Plan::Maglev(Maglev::new(&members))
            }
            Scheduler::Random
            | Scheduler::RoundRobin
            | Scheduler::LeastConnections
            | Scheduler::WeightedLeastConnections
            | Scheduler::SourceHash
            | Scheduler::DestinationHash
            | Scheduler::ShortestExpectedDelay
            | Scheduler::NeverQueue => Plan::None,
        };
        let next = before.map_or(0, |before| before.next).checked_rem(slots.len()).unwrap_or(0);
        Self { slots: slots.into(), next, plan }
    }

    pub(super) const fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// What a choice changes.
    pub(super) fn turn(&self) -> Turn {
        let gained = match &self.plan {
            Plan::Smooth(gained) => Some(gained.clone()),
            Plan::None | Plan::Maglev(_) => None,
        };
        Turn { next: self.next, gained }
    }

    /// As it was, of the same list.
    pub(super) fn set_turn(&mut self, turn: Turn) {
        self.next = turn.next;
        if let (Plan::Smooth(place), Some(gained)) = (&mut self.plan, turn.gained) {
            *place = gained;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot of one that is not excluded.
    pub(super) fn choose(
        &mut self,
        scheduler: Scheduler,
        asked: &Asked<'_>,
        backends: &Backends,
        active: &ActiveConnections,
        rng: &mut Rng,
    ) -> Option<u32> {
        match scheduler {
            Scheduler::Random => self.random(asked, rng),
            Scheduler::RoundRobin => self.in_turn(|slot| asked.allows(slot).then_some(())),
            Scheduler::WeightedRoundRobin => self.smooth(asked, backends),
            Scheduler::LeastConnections => self.least(asked, |slot| Some((active.of(slot).into(), 1))),
            Scheduler::WeightedLeastConnections => {
                self.least(asked, |slot| Some((active.of(slot).into(), backends.get(slot)?.weight.into())))
            }
            Scheduler::ShortestExpectedDelay => self.shortest_delay(asked, backends, active),
            Scheduler::NeverQueue => self
                .in_turn(|slot| (asked.allows(slot) && active.of(slot) == 0).then_some(()))
                .or_else(|| self.shortest_delay(asked, backends, active)),
            Scheduler::SourceHash => self.hashed(mix(asked.client.0.to_bits().into()), asked),
            Scheduler::DestinationHash => self.hashed(mix(asked.frontend.to_bits().into()), asked),
            Scheduler::Maglev => self.maglev(asked),
        }
    }

    fn random(&self, asked: &Asked<'_>, rng: &mut Rng) -> Option<u32> {
        if asked.exclude.is_empty() {
            return self.slots.get(rng.below(count(self.slots.len())) as usize).copied();
        }
        let allowed = || self.slots.iter().copied().filter(|slot| asked.allows(*slot));
        allowed().nth(rng.below(count(allowed().count())) as usize)
    }

    /// The first, from whose turn it is, that is `wanted`.
    fn in_turn(&mut self, wanted: impl Fn(u32) -> Option<()>) -> Option<u32> {
        let (position, slot) = self.turns().find(|(_, slot)| wanted(*slot).is_some())?;
        self.next = position + 1;
        Some(slot)
    }

    /// Positions and slots, from whose turn it is.
    fn turns(&self) -> impl Iterator<Item = (usize, u32)> {
        let all = || self.slots.iter().copied().enumerate();
        all().skip(self.next).chain(all().take(self.next))
    }

    fn smooth(&mut self, asked: &Asked<'_>, backends: &Backends) -> Option<u32> {
        let Plan::Smooth(gained) = &mut self.plan else { return None };
        let mut sum = 0i32;
        let mut best: Option<(usize, i32)> = None;
        for (position, (slot, gained)) in self.slots.iter().zip(gained.iter_mut()).enumerate() {
            if !asked.allows(*slot) {
                continue;
            }
            let weight = backends.get(*slot).map_or(0, |backend| i32::from(backend.weight));
            // 2¹⁴ weights of 16 bits: no sum is beyond 2³⁰.
            sum = sum.saturating_add(weight);
            *gained = gained.saturating_add(weight);
            if best.is_none_or(|(_, most)| *gained > most) {
                best = Some((position, *gained));
            }
        }
        let (position, _) = best?;
        if let Some(gained) = gained.get_mut(position) {
            *gained = gained.saturating_sub(sum);
        }
        self.slots.get(position).copied()
    }

    /// The one with the least `connections / weight`.
    fn least(&mut self, asked: &Asked<'_>, cost: impl Fn(u32) -> Option<(u64, u64)>) -> Option<u32> {
        let mut best: Option<(usize, u32, (u64, u64))> = None;
        for (position, slot) in self.turns().filter(|(_, slot)| asked.allows(*slot)) {
            let Some((connections, weight)) = cost(slot) else { continue };
            // Fractions compared without dividing, as IPVS does; 32 and 16 bits.
            if best.is_none_or(|(_, _, (least, of))| connections * of < least * weight) {
                best = Some((position, slot, (connections, weight)));
            }
        }
        let (position, slot, _) = best?;
        self.next = position + 1;
        Some(slot)
    }

    fn shortest_delay(
        &mut self,
        asked: &Asked<'_>,
        backends: &Backends,
        active: &ActiveConnections,
    ) -> Option<u32> {
        self.least(asked, |slot| Some((u64::from(active.of(slot)) + 1, backends.get(slot)?.weight.into())))
    }

    fn hashed(&self, hash: u64, asked: &Asked<'_>) -> Option<u32> {
        let start = reduce(hash, count(self.slots.len())) as usize;
        let (before, after) = self.slots.split_at_checked(start)?;
        after.iter().chain(before).copied().find(|slot| asked.allows(*slot))
    }

    fn maglev(&self, asked: &Asked<'_>) -> Option<u32> {
        let Plan::Maglev(table) = &self.plan else { return None };
        let (address, port) = asked.client;
        let hash = mix(u64::from(address.to_bits()) << 16 | u64::from(port));
        let mut slots = table.members(hash).filter_map(|member| self.slots.get(usize::from(member)).copied());
        slots.find(|slot| asked.allows(*slot))
    }

    /// Bytes on the heap.
    pub(super) fn heap_size(&self) -> usize {
        let plan = match &self.plan {
            Plan::None => 0,
            Plan::Smooth(gained) => size_of_val(&**gained),
            Plan::Maglev(table) => table.heap_size(),
        };
        size_of_val(&*self.slots) + plan
    }
}

impl Asked<'_> {
    fn allows(&self, slot: u32) -> bool {
        !self.exclude.contains(&slot)
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
