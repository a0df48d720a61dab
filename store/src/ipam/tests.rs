use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn network_gateway_and_broadcast_are_never_given_out() {
    let mut ipam = Ipam::new(net("10.0.0.0/29"));
    let mut got = Vec::new();
    while let Ok(ip) = ipam.allocate("p", None, at(0)) {
        got.push(ip.to_string());
    }
    assert_eq!(got, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    for (ip_text, role) in [("10.0.0.0", "network"), ("10.0.0.1", "gateway"), ("10.0.0.7", "broadcast")] {
        let error = ipam.allocate("p", Some(ip(ip_text)), at(0)).unwrap_err();
        assert_eq!(error, IpamError::Reserved { ip: ip(ip_text), role, cidr: net("10.0.0.0/29") });
    }
}

#[test]
fn exhaustion_says_how_many_cool_down_and_ends_after_the_rest() {
    let mut ipam = Ipam::new(net("10.0.0.0/30"));
    let only = ipam.allocate("a", None, at(0)).unwrap();
    assert_eq!(only, ip("10.0.0.2"));
    ipam.release(only, at(100));
    let error = ipam.allocate("b", None, at(101)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no free address in 10.0.0.0/30: 0 in use, 1 cooling down (the next is free in 29 s)"
    );
    assert_eq!(ipam.allocate("b", None, at(130)).unwrap(), only);
}

#[test]
fn fixed_address_is_refused_outside_the_range_in_use_and_while_it_rests() {
    let mut ipam = Ipam::new(net("10.0.0.0/24"));
    let want = ip("10.0.0.9");
    assert!(matches!(ipam.allocate("a", Some(ip("10.0.1.9")), at(0)), Err(IpamError::OutsideRange { .. })));
    assert!(matches!(ipam.allocate("a", Some(ip("fd00::9")), at(0)), Err(IpamError::OutsideRange { .. })));
    assert_eq!(ipam.allocate("a", Some(want), at(0)).unwrap(), want);
    assert_eq!(
        ipam.allocate("b", Some(want), at(0)).unwrap_err(),
        IpamError::InUse { ip: want, owner: "a".to_owned() }
    );
    ipam.release(want, at(0));
    assert_eq!(
        ipam.allocate("b", Some(want), at(10)).unwrap_err(),
        IpamError::Cooling { ip: want, seconds: 20 }
    );
    assert_eq!(ipam.allocate("b", Some(want), at(30)).unwrap(), want);
}

#[test]
fn who_had_an_address_may_have_it_again_while_it_rests() {
    let mut ipam = Ipam::new(net("10.0.0.0/24"));
    let want = ip("10.0.0.9");
    assert_eq!(ipam.allocate_again("a", want, at(0)).unwrap(), want);
    assert_eq!(
        ipam.allocate_again("b", want, at(0)).unwrap_err(),
        IpamError::InUse { ip: want, owner: "a".to_owned() }
    );
    ipam.release(want, at(0));
    assert_eq!(
        ipam.allocate_again("b", want, at(10)).unwrap_err(),
        IpamError::Cooling { ip: want, seconds: 20 }
    );
    assert_eq!(ipam.allocate_again("a", want, at(10)).unwrap(), want);
    ipam.release(want, at(10));
    // Whose it was is not known after a start.
    ipam.resume_cooling(want, at(1), at(11));
    assert!(ipam.allocate_again("a", want, at(12)).is_err());
    assert_eq!(ipam.allocate_again("b", want, at(41)).unwrap(), want);
}

#[test]
fn rotation_does_not_return_to_an_abandoned_address_first() {
    let mut ipam = Ipam::new(net("10.0.0.0/24"));
    let first = ipam.allocate("a", None, at(0)).unwrap();
    ipam.abandon(first);
    assert_eq!(ipam.allocate("b", None, at(0)).unwrap(), ip("10.0.0.3"));
    assert_eq!(ipam.allocate("c", Some(first), at(0)).unwrap(), first, "nobody ever saw it");
}

#[test]
fn rest_continues_across_a_restart() {
    let mut ipam = Ipam::new(net("10.0.0.0/24"));
    let resting = ip("10.0.0.2");
    ipam.resume_cooling(resting, at(12), at(1000));
    assert_eq!(
        ipam.allocate("a", Some(resting), at(1000)).unwrap_err(),
        IpamError::Cooling { ip: resting, seconds: 18 }
    );
    ipam.resume_cooling(ip("10.0.0.3"), at(31), at(1000));
    assert_eq!(ipam.allocate("a", None, at(1000)).unwrap(), ip("10.0.0.3"));
}

#[test]
fn ranges_without_room_are_exhausted_not_endless() {
    for cidr in ["10.0.0.0/32", "10.0.0.0/31", "255.255.255.252/30", "fd00::/127"] {
        let mut ipam = Ipam::new(net(cidr));
        let got: Vec<_> = std::iter::from_fn(|| ipam.allocate("p", None, at(0)).ok()).take(5).collect();
        assert!(got.len() <= 1, "{cidr} gave {got:?}");
    }
}

#[test]
fn a_large_ipv6_range_gives_addresses_without_walking_it() {
    let mut ipam = Ipam::new(net("fd00::/64"));
    assert_eq!(ipam.allocate("p", None, at(0)).unwrap(), ip("fd00::2"));
}

#[derive(Debug, Clone)]
enum Step {
    Allocate,
    AllocateFixed(u8),
    Release(u8),
    Abandon(u8),
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Allocate),
        2 => any::<u8>().prop_map(Step::AllocateFixed),
        3 => any::<u8>().prop_map(Step::Release),
        1 => any::<u8>().prop_map(Step::Abandon),
        2 => (0u64..40).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// The naive model: every address of the range, and when a released one may be used again.
struct Model {
    usable: Vec<IpAddr>,
    used: BTreeMap<IpAddr, String>,
    free_at: BTreeMap<IpAddr, Duration>,
}

impl Model {
    fn free(&self, ip: &IpAddr, now: Duration) -> bool {
        self.usable.contains(ip)
            && !self.used.contains_key(ip)
            && self.free_at.get(ip).is_none_or(|at| now >= *at)
    }
}

proptest! {
    #[test]
    fn behaves_as_a_naive_set_of_addresses(
        bits in 24u8..=30,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let cidr = IpNet::new(ip("10.7.7.0"), bits).unwrap().trunc();
        let IpNet::V4(v4) = cidr else { unreachable!() };
        let all: Vec<IpAddr> = (v4.network().to_bits()..=v4.broadcast().to_bits())
            .map(|b| Ipv4Addr::from_bits(b).into())
            .collect();
        let usable = all[2..all.len() - 1].to_vec();
        let mut model = Model { usable, used: BTreeMap::new(), free_at: BTreeMap::new() };
        let mut ipam = Ipam::new(cidr);
        let mut now = Duration::from_secs(5);
        for (number, step) in steps.into_iter().enumerate() {
            let owner = format!("pod-{number}");
            let pick = |n: u8| all[usize::from(n) % all.len()];
            match step {
                Step::Allocate => match ipam.allocate(&owner, None, now) {
                    Ok(ip) => {
                        prop_assert!(model.free(&ip, now), "{ip} was not free");
                        model.used.insert(ip, owner);
                    }
                    Err(error) => {
                        prop_assert!(!model.usable.iter().any(|ip| model.free(ip, now)), "{error}");
                    }
                },
                Step::AllocateFixed(n) => {
                    let want = pick(n);
                    let free = model.free(&want, now);
                    prop_assert_eq!(ipam.allocate(&owner, Some(want), now).is_ok(), free);
                    if free {
                        model.used.insert(want, owner);
                    }
                }
                Step::Release(n) => {
                    ipam.release(pick(n), now);
                    if model.used.remove(&pick(n)).is_some() {
                        model.free_at.insert(pick(n), now + COOL_DOWN);
                    }
                }
                Step::Abandon(n) => {
                    ipam.abandon(pick(n));
                    if model.used.remove(&pick(n)).is_some() {
                        model.free_at.remove(&pick(n));
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Restart => {
                    let (old_now, new_now) = (now, Duration::from_secs(1));
                    ipam = Ipam::new(cidr);
                    for (ip, free_at) in &mut model.free_at {
                        let ago = (old_now + COOL_DOWN).saturating_sub(*free_at);
                        ipam.resume_cooling(*ip, ago, new_now);
                        *free_at = new_now + free_at.saturating_sub(old_now);
                    }
                    for (ip, owner) in &model.used {
                        ipam.adopt(owner, *ip).unwrap();
                    }
                    now = new_now;
                }
            }
            prop_assert_eq!(ipam.used(), model.used.len());
            for (ip, owner) in &model.used {
                prop_assert_eq!(ipam.owner(*ip), Some(owner.as_str()));
            }
        }
    }
}

#[test]
fn ranges_are_filled_in_order_and_nothing_outside_of_them_is_given() {
    let now = Duration::ZERO;
    let mut ipam = Ipam::new(net("10.244.0.0/24"));
    let ranges = [(ip("10.244.0.20"), ip("10.244.0.21")), (ip("10.244.0.0"), ip("10.244.0.2"))];
    let mut taken = Vec::new();
    while let Ok(found) = ipam.allocate_within("x", &ranges, now) {
        taken.push(found.to_string());
    }
    // Of the second, the first two are the network's and the gateway's.
    assert_eq!(taken, ["10.244.0.20", "10.244.0.21", "10.244.0.2"]);
    ipam.release(ip("10.244.0.20"), now);
    assert!(ipam.allocate_within("x", &ranges, now).is_err(), "it rests");
    assert_eq!(ipam.allocate_within("x", &ranges, COOL_DOWN).unwrap(), ip("10.244.0.20"));
    let other = [(ip("fd00::1"), ip("fd00::9")), (ip("192.0.2.1"), ip("192.0.2.9"))];
    assert!(ipam.allocate_within("x", &other, now).is_err());
    assert!(ipam.allocate("x", None, now).is_ok() && ipam.has_free(now).is_ok());
}
