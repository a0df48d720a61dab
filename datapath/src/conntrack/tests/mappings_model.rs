//! Random packets of pods and outsiders, time and restarts, against what a naive list says of mappings.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::mappings::{assert_balance, inbound, inside, outbound};
use super::successor::everything;
use super::*;

#[derive(Debug, Clone)]
enum Operation {
    /// A pod sends to a server.
    Send {
        protocol: u8,
        pod: (u8, u16),
        server: u8,
    },
    /// A packet of its connection, either way.
    Track {
        number: usize,
        way: Direction,
        flags: u8,
    },
    /// An outsider sends to a pod's mapping.
    Admit {
        protocol: u8,
        pod: (u8, u16),
        client: u8,
    },
    /// A pod sends to another's mapping.
    Turn {
        protocol: u8,
        pod: (u8, u16),
        other: (u8, u16),
        is_let_in: bool,
    },
    Remove {
        number: usize,
    },
    Wait {
        seconds: u64,
    },
    Expire,
    Restart,
}

fn operation() -> impl Strategy<Value = Operation> {
    let protocol = || prop_oneof![Just(UDP), Just(TCP), Just(ICMP)];
    let pod = || (1..4u8, 4000..4003u16);
    let way = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    let flags = prop_oneof![Just(2u8), Just(0x12), Just(0x10), Just(0x11), Just(4)];
    prop_oneof![
        8 => (protocol(), pod(), 1..4u8).prop_map(|(protocol, pod, server)| Operation::Send { protocol, pod, server }),
        6 => (0..24usize, way, flags).prop_map(|(number, way, flags)| Operation::Track { number, way, flags }),
        3 => (protocol(), pod(), 1..4u8).prop_map(|(protocol, pod, client)| Operation::Admit { protocol, pod, client }),
        3 => (protocol(), pod(), pod(), any::<bool>())
            .prop_map(|(protocol, pod, other, is_let_in)| Operation::Turn { protocol, pod, other, is_let_in }),
        1 => (0..24usize).prop_map(|number| Operation::Remove { number }),
        3 => prop_oneof![Just(1u64), 0..200u64].prop_map(|seconds| Operation::Wait { seconds }),
        2 => Just(Operation::Expire),
        1 => Just(Operation::Restart),
    ]
}

/// What a pod appeared as last, and until when it must go on to.
#[derive(Debug, Default)]
struct Model {
    appears: BTreeMap<(u8, End), (End, Instant)>,
    now: u64,
}

struct Bed {
    words: &'static [AtomicU64],
    limits: Limits,
    table: Connections,
    model: Model,
}

impl Bed {
    fn new(slots: u32, share: u32, mappings_per_port: u32) -> Self {
        let (words, limits) =
            (memory(slots), Limits { mappings_per_port, ..limits(slots, share, slots / 8) });
        let table = Connections::new(words, 1, &limits, Arc::default());
        Self { words, limits, table, model: Model::default() }
    }

    fn now(&self) -> Instant {
        at(self.model.now)
    }

    fn evictions(&self) -> u64 {
        let counted = self.table.counters();
        counted.evicted_share + counted.evicted_full
    }

    /// Connections, without mappings.
    fn ids(&self) -> Vec<ConnectionId> {
        let ids = self.table.rows_from(0).map(|(slot, _)| self.table.occupant(slot).unwrap());
        ids.filter(|id| self.table.state(*id) != Some(State::Mapping)).collect()
    }

    fn step(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        let now = self.now();
        match operation {
            Operation::Send { protocol, pod, server } => {
                self.send(&outbound(*protocol, *pod, (*server, 5000)))?;
            }
            Operation::Turn { protocol, pod, other, is_let_in } => {
                let new = outbound(*protocol, *pod, (1, 1));
                let other = inside(&outbound(*protocol, *other, (1, 1)));
                let Some(mapped) = self.table.mapping_of(*protocol, other, now) else { return Ok(()) };
                let Client::Mapped(address) = new.client else { unreachable!() };
                let (destination, destination_port) = mapped.outside;
                if inside(&new) == other {
                    return Ok(());
                }
                self.send(&NewConnection {
                    original: Tuple { destination, destination_port, ..new.original },
                    server: other,
                    client: Client::TurnedRound { address, is_let_in: *is_let_in },
                    ..new
                })?;
            }
            Operation::Admit { protocol, pod, client } => {
                let pod = inside(&outbound(*protocol, *pod, (1, 1)));
                let Some(mapped) = self.table.mapping_of(*protocol, pod, now) else { return Ok(()) };
                let new = inbound(*protocol, (*client, 7000), mapped);
                let known = self.table.lookup(&key(&new));
                if let Ok(created) = self.table.create(&new, now) {
                    let hit = created.hit();
                    prop_assert_eq!(known.unwrap_or(hit), hit);
                    let to = self.table.translation(hit.id, hit.direction).unwrap().to();
                    prop_assert_eq!((to.destination, to.destination_port), pod);
                    prop_assert_eq!((to.source, to.source_port), (new.original.source, 7000));
                }
            }
            Operation::Track { number, way, flags } => {
                let Some(id) = self.ids().get(*number).copied() else { return Ok(()) };
                let is_tcp = self.table.rows_from(id.slot).next().unwrap().1.original().is_tcp();
                self.table.track(id, *way, is_tcp.then_some(TcpFlags(*flags)), now);
            }
            Operation::Remove { number } => {
                if let Some(id) = self.ids().get(*number) {
                    prop_assert!(self.table.remove(*id));
                }
            }
            Operation::Wait { seconds } => self.model.now += seconds,
            Operation::Expire => while !self.table.expire(now, 3) {},
            Operation::Restart => {
                let next = Connections::new(self.words, self.model.now, &self.limits, Arc::default());
                prop_assert_eq!(everything(&next), everything(&self.table));
                prop_assert_eq!(next.counters().damaged, 0);
                self.table = next;
            }
        }
        Ok(())
    }

    fn send(&mut self, new: &NewConnection) -> Result<(), TestCaseError> {
        let now = self.now();
        let pod = (new.protocol, inside(new));
        let mapped = self.table.mapping_of(pod.0, pod.1, now);
        let Ok(created) = self.table.create(new, now) else { return Ok(()) };
        let hit = created.hit();
        let to = self.table.translation(hit.id, hit.direction).unwrap().to();
        let appears_as = (to.source, to.source_port);
        prop_assert_eq!((to.destination, to.destination_port), new.server);
        if let Some(mapped) = mapped {
            prop_assert_eq!(appears_as, mapped.outside, "endpoint-independent");
        }
        if let Some((last, until)) = self.model.appears.get(&pod)
            && now < *until
        {
            prop_assert_eq!(appears_as, *last, "for as long as RFC 4787 REQ-5 and its kin ask for");
        }
        // The shortest time that any of its states gives a connection of the protocol; resets may be removed.
        let idle = if pod.0 == ICMP { 60 } else { 240 };
        let until = if matches!(created, Created::New(_)) { now + Duration::from_secs(idle) } else { now };
        self.model.appears.insert(pod, (appears_as, until));
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let table = &self.table;
        let (mut insides, mut outsides) = (BTreeMap::new(), BTreeMap::new());
        let (mut holders, mut mapped, mut held) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (slot, row) in table.rows_from(0) {
            let id = table.occupant(slot).unwrap();
            let entry = table.memory.slot(slot).unwrap().read(id.generation).unwrap();
            *held.entry(row.owner()).or_insert(0) += 1;
            if entry.is_mapping() {
                let protocol = entry.original.protocol();
                prop_assert!(insides.insert((protocol, entry.inside()), id.slot).is_none());
                prop_assert!(outsides.insert((protocol, entry.outside()), id.slot).is_none());
                *mapped.entry(row.owner()).or_insert(0) += 1;
            }
            for mapping in [entry.mappings.client, entry.mappings.server].into_iter().flatten() {
                *holders.entry(mapping.slot).or_insert(0) += 1;
            }
        }
        for id in self.ids() {
            let entry = table.memory.slot(id.slot).unwrap().read(id.generation).unwrap();
            let (protocol, original, reply) =
                (entry.original.protocol(), entry.original.tuple(), entry.reply.tuple());
            let [client, server] = table.outsides(id);
            prop_assert!(client.is_some() || server.is_some(), "nothing of these is untranslated");
            if let Some(client) = client {
                let slot = insides[&(protocol, (original.source, original.source_port))];
                prop_assert_eq!(outsides[&(protocol, client)], slot);
            }
            if let Some(server) = server {
                let slot = insides[&(protocol, (reply.source, reply.source_port))];
                prop_assert_eq!(outsides[&(protocol, server)], slot);
            }
        }
        for slot in insides.values() {
            let counted = table.memory.slot(*slot).unwrap().held().load(Relaxed);
            prop_assert_eq!(counted, holders.get(slot).copied().unwrap_or(0));
        }
        let registry = table.registry.hold();
        for port in (0..64).map(PortId) {
            prop_assert_eq!(registry.mapped(port), mapped.get(&port).copied().unwrap_or(0));
            prop_assert_eq!(registry.held(port), held.get(&port).copied().unwrap_or(0));
            prop_assert!(registry.mapped(port) <= self.limits.mappings_per_port);
        }
        drop(registry);
        assert_balance(table);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn mappings_are_as_a_naive_list_has_them(
        operations in proptest::collection::vec(operation(), 1..200),
        (slots, share, mappings) in prop_oneof![Just((256, 256, 64)), Just((24, 16, 8)), Just((64, 32, 2)), Just((10, 6, 3))],
    ) {
        let mut bed = Bed::new(slots, share, mappings);
        for operation in &operations {
            let before = bed.evictions();
            bed.step(operation)?;
            if bed.evictions() != before {
                // Whoever made room may appear as somebody else next time.
                bed.model.appears.clear();
            }
            bed.check()?;
        }
        // All of it goes in the end.
        let end = at(bed.model.now + 100_000);
        for _ in 0..2 {
            while !bed.table.expire(end, 100) {}
        }
        prop_assert_eq!(bed.table.len(), 0);
        bed.check()?;
    }
}
