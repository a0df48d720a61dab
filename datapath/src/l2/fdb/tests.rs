//! Model test: random stations on random ports against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PORTS: u32 = 3;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// Large enough to never evict: eviction is the bounded table's, and tested there.
fn fdb() -> Fdb {
    let mut fdb = Fdb::new(3, &Limits { fdb_entries: 64, fdb_entries_per_port: 64, ..Limits::default() });
    let fixed = (0..PORTS).map(|n| (mac(200 + u8::try_from(n).unwrap()), Station::Static(PortId(n))));
    fdb.replace_static(fixed.chain([(mac(250), Station::Router)]).collect(), |_| true);
    fdb
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    port: u32,
    since: u64,
    last: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn fdb_behaves_like_a_plain_map(
        steps in proptest::collection::vec((0..8u8, 0..PORTS, 0..900u64, any::<bool>()), 1..200),
    ) {
        const AGEING: u64 = 2500;
        let (mut fdb, mut model, mut now) = (fdb(), BTreeMap::<u8, Seen>::new(), 10_000);
        for (station, port, wait, sweep) in steps {
            now += wait;
            if sweep {
                prop_assert!(fdb.expire(at(now), Duration::from_millis(AGEING), u32::MAX));
                model.retain(|_, seen| now - seen.last < AGEING);
            }
            let learned = fdb.learn(mac(station), PortId(port), at(now)).map(drop);
            let wanted = match model.get_mut(&station) {
                Some(seen) if seen.port == port => {
                    seen.last = now;
                    Ok(())
                }
                Some(seen) if now - seen.since < 1000 => Err(DropReason::MacMoveLimited),
                Some(_) | None => {
                    model.insert(station, Seen { port, since: now, last: now });
                    Ok(())
                }
            };
            prop_assert_eq!(learned, wanted);
            for n in 0..8 {
                let wanted = model.get(&n).map(|seen| Station::Learned(PortId(seen.port)));
                prop_assert_eq!(fdb.lookup(mac(n)), wanted);
            }
            prop_assert_eq!(fdb.learned().len(), model.len());
            prop_assert_eq!(fdb.lookup(mac(201)), Some(Station::Static(PortId(1))));
            prop_assert_eq!(fdb.lookup(mac(250)), Some(Station::Router));
        }
    }
}
