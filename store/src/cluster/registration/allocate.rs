//! Which Pod CIDR a new node gets: the lowest that nobody has. Pure.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::RegistrationError;
use super::record::PlanRecord;

/// The CIDR `requested`, or the lowest free one; `taken` maps CIDRs to their owners.
pub(super) fn choose(
    plan: PlanRecord,
    taken: &BTreeMap<Ipv4Net, String>,
    requested: Option<Ipv4Net>,
) -> Result<Ipv4Net, RegistrationError> {
    if let Some(cidr) = requested {
        check(plan, cidr)?;
        return match taken.get(&cidr) {
            Some(owner) => Err(RegistrationError::CidrTaken { cidr, owner: owner.clone() }),
            None => Ok(cidr),
        };
    }
    let PlanRecord { cluster_cidr, node_prefix_len } = plan;
    let exhausted = || RegistrationError::Exhausted { cluster_cidr, node_prefix_len, nodes: taken.len() };
    // `taken` is in order, so this looks at no more than one more than there are.
    let mut subnets = cluster_cidr.subnets(node_prefix_len).map_err(|_| exhausted())?;
    subnets.find(|cidr| !taken.contains_key(cidr)).ok_or_else(exhausted)
}

/// That a CIDR is one of the plan's.
pub(super) fn check(plan: PlanRecord, cidr: Ipv4Net) -> Result<(), RegistrationError> {
    let PlanRecord { cluster_cidr, node_prefix_len } = plan;
    let fits = cluster_cidr.contains(&cidr) && cidr.prefix_len() == node_prefix_len && cidr.trunc() == cidr;
    if fits { Ok(()) } else { Err(RegistrationError::CidrOutside { cidr, cluster_cidr, node_prefix_len }) }
}

/// That a plan has at least one CIDR, and that a CIDR has room for a gateway and a pod.
pub(super) fn check_plan(plan: PlanRecord) -> Result<(), RegistrationError> {
    let PlanRecord { cluster_cidr, node_prefix_len } = plan;
    if node_prefix_len < cluster_cidr.prefix_len() || node_prefix_len > 30 {
        return Err(RegistrationError::Plan { cluster_cidr, node_prefix_len });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: PlanRecord = PlanRecord {
        cluster_cidr: Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 244, 0, 0), 22),
        node_prefix_len: 24,
    };

    fn cidr(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_lowest_free_one_is_given_until_there_is_none() {
        let mut taken = BTreeMap::new();
        for third in [0, 1, 2, 3] {
            let given = choose(PLAN, &taken, None).unwrap();
            assert_eq!(given, cidr(&format!("10.244.{third}.0/24")));
            taken.insert(given, "somebody".to_owned());
        }
        let error = choose(PLAN, &taken, None).unwrap_err();
        assert!(error.to_string().contains("all 4 ranges"), "{error}");
        taken.remove(&cidr("10.244.1.0/24"));
        assert_eq!(choose(PLAN, &taken, None).unwrap(), cidr("10.244.1.0/24"));
    }

    #[test]
    fn a_request_is_honoured_if_it_is_free_and_fits() {
        let taken = BTreeMap::from([(cidr("10.244.1.0/24"), "b".to_owned())]);
        assert_eq!(choose(PLAN, &taken, Some(cidr("10.244.3.0/24"))).unwrap(), cidr("10.244.3.0/24"));
        for (text, reason) in [
            ("10.244.1.0/24", "belongs to node b"),
            ("10.245.1.0/24", "not a /24 of"),
            ("10.244.2.0/25", "not a /24 of"),
            ("10.244.2.7/24", "not a /24 of"),
        ] {
            let error = choose(PLAN, &taken, Some(cidr(text))).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
