//! Random operations against lists that are searched from the beginning.

use proptest::prelude::*;

use super::create::NewConnection;
use super::state::{Condition, Outward, Step};
use super::*;

const SLOTS: u32 = 24;
const SHARE: u32 = 16;
const RESERVE: u32 = 6;
const PORTS: std::ops::RangeInclusive<u16> = 2000..=2004;

#[derive(Debug, Clone)]
enum Operation {
    Create { protocol: u8, client: u8, port: u16, service: u8, server: u8 },
    Track { number: usize, direction: Direction, flags: u8 },
    Remove { number: usize },
    Wait { millis: u64 },
    Expire,
}

fn operation() -> impl Strategy<Value = Operation> {
    let create = (any::<bool>(), 1..5u8, 2000..2004u16, 1..5u8, 1..3u8).prop_map(
        |(is_udp, client, port, service, server)| {
            let protocol = if is_udp { UDP } else { TCP };
            Operation::Create { protocol, client, port, service, server }
        },
    );
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    let flags = prop_oneof![Just(2u8), Just(0x12), Just(0x10), Just(0x11), Just(4), any::<u8>()];
    prop_oneof![
        8 => create,
        8 => (0..SLOTS as usize, direction, flags)
            .prop_map(|(number, direction, flags)| Operation::Track { number, direction, flags }),
        1 => (0..SLOTS as usize).prop_map(|number| Operation::Remove { number }),
        2 => (0..20_000u64).prop_map(|millis| Operation::Wait { millis }),
        1 => Just(Operation::Expire),
    ]
}

#[derive(Debug, Clone)]
struct Known {
    id: ConnectionId,
    original: Key,
    reply: Key,
    owner: PortId,
    condition: Condition,
    created: Instant,
    seen: Instant,
}

/// Connections, in the order in which their port looks at them.
#[derive(Debug, Default)]
struct Model {
    known: Vec<Known>,
    created: u64,
    expired: u64,
    evicted: u64,
    refused: u64,
}

impl Model {
    fn lookup(&self, key: &Key) -> Option<Hit> {
        self.known.iter().find_map(|known| {
            let direction = if known.original == *key {
                Direction::Original
            } else if known.reply == *key {
                Direction::Reply
            } else {
                return None;
            };
            Some(Hit { id: known.id, direction })
        })
    }

    fn held(&self, port: PortId) -> u32 {
        self.known.iter().map(|known| u32::from(known.owner == port)).sum()
    }

    /// Free source ports, likest first; the client's own first of all.
    fn free_ports(&self, new: &NewConnection) -> Vec<u16> {
        let own = new.original.source_port;
        let is_free = |port: &u16| {
            let translated = Tuple {
                source_port: *port,
                destination: new.server.0,
                destination_port: new.server.1,
                ..new.original
            };
            self.lookup(&Key::new(new.protocol, &translated.reversed())).is_none()
        };
        let mut ports: Vec<u16> =
            std::iter::once(own).chain(PORTS.filter(|port| *port != own)).filter(is_free).collect();
        ports.sort_by_key(|port| (*port != own, (port ^ own) & 1));
        ports
    }

    /// What must go for a new one of `port`, and whether it may come.
    fn make_room(&mut self, port: PortId) -> Result<(), Refused> {
        let held = self.held(port);
        if held >= SHARE {
            return if self.evict(port) { Ok(()) } else { Err(Refused::PortShare) };
        }
        let reserve = if held < SHARE / 16 { 0 } else { RESERVE };
        if self.known.len() < (SLOTS - reserve) as usize {
            return Ok(());
        }
        let fullest = (0..8).map(PortId).max_by_key(|port| self.held(*port)).unwrap();
        if self.evict(fullest) || self.evict(port) { Ok(()) } else { Err(Refused::TableFull) }
    }

    fn evict(&mut self, port: PortId) -> bool {
        let of_port = |known: &Known| known.owner == port;
        for _ in 0..self.held(port) {
            let first = self.known.iter().position(of_port).unwrap();
            let known = self.known.remove(first);
            if known.condition.state.is_evictable() {
                self.evicted += 1;
                return true;
            }
            self.known.push(known);
        }
        false
    }
}

fn run(operations: &[Operation]) -> Result<(), TestCaseError> {
    let table = Connections::new(memory(SLOTS), 3, &limits(SLOTS, SHARE, RESERVE), Arc::default());
    let mut model = Model::default();
    let mut now = START;
    let idle = table.idle;
    for operation in operations {
        match operation {
            Operation::Create { protocol, client, port, service, server } => {
                let new = NewConnection {
                    ports: PORTS,
                    ..connection(*protocol, (*client, *port), (*service, 80), *server)
                };
                create(&table, &mut model, &new, now)?;
            }
            Operation::Track { number, direction, flags } => {
                let Some(known) = model.known.get_mut(*number) else { continue };
                let flags = known.original.is_tcp().then_some(TcpFlags(*flags));
                let wanted = match known.condition.step(*direction, flags) {
                    Step::Pass => Tracked::Forward,
                    Step::Refresh => {
                        if now.saturating_since(known.seen) >= Duration::from_secs(1) {
                            known.seen = now;
                        }
                        Tracked::Forward
                    }
                    Step::To(condition) => {
                        (known.condition, known.seen) = (condition, now);
                        Tracked::Forward
                    }
                    Step::Reopen => Tracked::Reopen,
                    Step::Refused => Tracked::Refused,
                    Step::Repeated => Tracked::Repeated,
                    Step::TooLate => Tracked::TooLate,
                    Step::Invalid(reason) => Tracked::Invalid(reason),
                    Step::Filtered => Tracked::Filtered,
                };
                prop_assert_eq!(table.track(known.id, *direction, flags, now), wanted);
            }
            Operation::Remove { number } => {
                if *number < model.known.len() {
                    let known = model.known.remove(*number);
                    prop_assert!(table.remove(known.id));
                    prop_assert_eq!(table.translation(known.id, Direction::Original), None);
                }
            }
            Operation::Wait { millis } => now = now + Duration::from_millis(*millis),
            Operation::Expire => {
                let before = model.known.len();
                model.known.retain(|known| {
                    let age = || known.seen.saturating_since(known.created);
                    now.saturating_since(known.seen) < known.condition.idle(&known.original, age, &idle)
                });
                model.expired += (before - model.known.len()) as u64;
                while !table.expire(now, 1) {}
            }
        }
        compare(&table, &model)?;
    }
    Ok(())
}

fn create(
    table: &Connections,
    model: &mut Model,
    new: &NewConnection,
    now: Instant,
) -> Result<(), TestCaseError> {
    let original = key(new);
    let created = table.create(new, now);
    if let Some(hit) = model.lookup(&original) {
        prop_assert_eq!(created, Ok(Created::Existing(hit)));
        return Ok(());
    }
    let free = model.free_ports(new);
    let wanted = if free.is_empty() { Err(Refused::PortPoolExhausted) } else { model.make_room(new.owner) };
    if let Err(reason) = wanted {
        prop_assert_eq!(created, Err(reason));
        model.refused += 1;
        return Ok(());
    }
    let Ok(Created::New(id)) = created else { panic!("{created:?}") };
    let reply = table.tuple(id, Direction::Reply).unwrap();
    let (own, port) = (new.original.source_port, reply.destination_port);
    // Any of the likest.
    prop_assert!(free.contains(&port));
    prop_assert!(free[0] != own || port == own);
    prop_assert_eq!((port ^ own) & 1, (free[0] ^ own) & 1);
    model.created += 1;
    model.known.push(Known {
        id,
        original,
        reply: Key::new(new.protocol, &reply),
        owner: new.owner,
        condition: Condition::first(&original, Outward::NONE),
        created: now,
        seen: now,
    });
    Ok(())
}

fn compare(table: &Connections, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(table.len() as usize, model.known.len());
    for known in &model.known {
        let hit = |direction| Some(Hit { id: known.id, direction });
        prop_assert_eq!(table.lookup(&known.original), hit(Direction::Original));
        prop_assert_eq!(table.lookup(&known.reply), hit(Direction::Reply));
        prop_assert_eq!(table.state(known.id), Some(known.condition.state));
        let (from, to) = (known.original.tuple(), known.reply.tuple().reversed());
        prop_assert_eq!(table.translation(known.id, Direction::Original), Some(Translation::new(&from, to)));
    }
    let mut rows: Vec<_> =
        table.rows_from(0).map(|(slot, row)| (slot, row.original().0, row.owner())).collect();
    let mut wanted: Vec<_> = model.known.iter().map(|k| (k.id.slot, k.original.0, k.owner)).collect();
    rows.sort_unstable();
    wanted.sort_unstable();
    prop_assert_eq!(rows, wanted);
    let counted = table.counters();
    prop_assert_eq!(counted.created, model.created);
    prop_assert_eq!(counted.expired, model.expired);
    prop_assert_eq!(counted.evicted_full + counted.evicted_share, model.evicted);
    let refused =
        counted.refused_table_full + counted.refused_port_share + counted.refused_port_pool_exhausted;
    prop_assert_eq!(refused, model.refused);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn table_is_as_naive_lists_are(operations in proptest::collection::vec(operation(), 1..250)) {
        run(&operations)?;
    }
}
