//! Taking a name and a CIDR, and giving them up: each one transaction, so that a crash at any point leaves both or
//! neither.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::allocate::{check, check_plan, choose};
use super::record::{
    ALIVE, AliveRecord, CIDRS, NODES, NodeRecord, NodeSpec, PLAN, PlanRecord, alive_key, cidr_key, node_key,
};
use super::{RegistrationError, RegistrationOptions};
use crate::cluster::ClusterStore;
use crate::cluster::entry::{Entry, LeaseId, MAX_KEY_BYTES};
use crate::cluster::error::ClusterError;
use crate::cluster::object::{from_json, to_json};
use crate::cluster::txn::{Expect, Txn};

/// Between two tries of one node, at first and at most; each is varied by the name, so that nodes that
/// start together part.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MOST: Duration = Duration::from_millis(200);

/// Registers `spec` under `lease`, or a new one, with the CIDR it has, `requested`, or the lowest free one.
/// Returns the record and the lease, which may be another one.
pub(super) fn claim(
    store: &dyn ClusterStore,
    spec: &NodeSpec,
    requested: Option<Ipv4Net>,
    lease: Option<LeaseId>,
    options: &RegistrationOptions,
) -> Result<(NodeRecord, LeaseId), RegistrationError> {
    check_name(&spec.name)?;
    let plan = options.plan();
    check_plan(plan)?;
    let began = Instant::now();
    let mut lease = lease;
    let mut pause = PAUSE_FIRST;
    loop {
        let granted = match lease {
            Some(lease) => lease,
            None => store.grant(options.ttl)?,
        };
        lease = Some(granted);
        match attempt(store, spec, requested, granted, plan) {
            Ok(record) => return Ok((record, granted)),
            Err(RegistrationError::Store(error)) if error.is_conflict() || error.outcome_unknown() => {}
            Err(RegistrationError::Store(ClusterError::LeaseLost { .. })) => lease = None,
            Err(error) => {
                // Not needed any more; it would end by itself.
                let _ = store.revoke(granted);
                return Err(error);
            }
        }
        if began.elapsed() > options.timeout {
            let _ = store.revoke(granted);
            return Err(RegistrationError::GaveUp { name: spec.name.clone(), after: options.timeout });
        }
        std::thread::sleep(varied(pause, &spec.name));
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Reads what there is, decides, and writes if nothing has changed since.
fn attempt(
    store: &dyn ClusterStore,
    spec: &NodeSpec,
    requested: Option<Ipv4Net>,
    lease: LeaseId,
    plan: PlanRecord,
) -> Result<NodeRecord, RegistrationError> {
    let (alive_key, node_key) = (alive_key(&spec.name), node_key(&spec.name));
    let alive = store.get(&alive_key)?;
    check_alone(spec, alive.as_ref())?;
    let node = store.get(&node_key)?;
    let old_plan = store.get(PLAN)?;
    let owners = owners(store)?;
    let taken: BTreeMap<Ipv4Net, String> =
        owners.iter().map(|(cidr, (owner, _))| (*cidr, owner.clone())).collect();
    check_same_plan(plan, old_plan.as_ref(), &spec.name, &taken)?;

    let pod_cidr = match &node {
        Some(entry) => keep(from_json::<NodeRecord>(entry)?, requested, plan, &taken)?,
        None => choose(plan, &taken, requested)?,
    };
    let owner = owners.get(&pod_cidr).map(|(_, entry)| entry);
    let record = NodeRecord { pod_cidr, spec: spec.clone() };
    let alive_record = AliveRecord { machine_id: spec.machine_id.clone(), address: spec.address };
    let cidr_key = cidr_key(pod_cidr);
    let mut txn = Txn::new()
        .when(&node_key, Expect::unchanged(node.as_ref()))
        .when(&alive_key, Expect::unchanged(alive.as_ref()))
        .when(&cidr_key, Expect::unchanged(owner))
        .when(PLAN, Expect::unchanged(old_plan.as_ref()))
        .put(&node_key, &to_json(&node_key, &record)?)
        .put_leased(&alive_key, &to_json(&alive_key, &alive_record)?, lease);
    if owner.is_none() {
        txn = txn.put(&cidr_key, &to_json(&cidr_key, &spec.name)?);
    }
    let plan_json = to_json(PLAN, &plan)?;
    if old_plan.is_none_or(|entry| entry.value != plan_json) {
        txn = txn.put(PLAN, &plan_json);
    }
    store.commit(&txn)?;
    Ok(record)
}

/// Frees a node's name and CIDR. Its daemon must not run.
///
/// # Errors
/// [`RegistrationError::NoSuchNode`], [`RegistrationError::NodeAlive`], or the store's.
pub fn delete_node(store: &dyn ClusterStore, name: &str) -> Result<(), RegistrationError> {
    check_name(name)?;
    let (alive_key, node_key) = (alive_key(name), node_key(name));
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(alive) = store.get(&alive_key)? {
            let AliveRecord { address, .. } = from_json(&alive)?;
            return Err(RegistrationError::NodeAlive { name: name.to_owned(), address });
        }
        let Some(node) = store.get(&node_key)? else {
            return Err(RegistrationError::NoSuchNode { name: name.to_owned() });
        };
        let mut txn = Txn::new()
            .when(&node_key, Expect::Revision(node.revision))
            .when(&alive_key, Expect::Absent)
            .delete(&node_key);
        // Whatever its record says or does not: all that is in its name.
        for (cidr, (_, entry)) in owners(store)?.into_iter().filter(|(_, (owner, _))| owner == name) {
            let key = cidr_key(cidr);
            txn = txn.when(&key, Expect::Revision(entry.revision)).delete(&key);
        }
        match store.commit(&txn) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() && pause < PAUSE_MOST => {}
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Every CIDR that is given out, its owner and its entry.
fn owners(store: &dyn ClusterStore) -> Result<BTreeMap<Ipv4Net, (String, Entry)>, RegistrationError> {
    let mut owners = BTreeMap::new();
    for entry in store.list(CIDRS)?.entries {
        // A key that is no CIDR takes none away.
        let Some(cidr) = entry.key.strip_prefix(CIDRS).and_then(|name| name.replace('-', "/").parse().ok())
        else {
            continue;
        };
        owners.insert(cidr, (from_json(&entry)?, entry));
    }
    Ok(owners)
}

/// The CIDR of a node that is registered already.
fn keep(
    record: NodeRecord,
    requested: Option<Ipv4Net>,
    plan: PlanRecord,
    taken: &BTreeMap<Ipv4Net, String>,
) -> Result<Ipv4Net, RegistrationError> {
    let NodeRecord { pod_cidr: has, spec: NodeSpec { name, .. } } = record;
    if let Some(requested) = requested.filter(|requested| *requested != has) {
        return Err(RegistrationError::CidrDiffers { name, has, requested });
    }
    check(plan, has)?;
    match taken.get(&has) {
        Some(owner) if *owner != name => {
            Err(RegistrationError::CidrTaken { cidr: has, owner: owner.clone() })
        }
        _ => Ok(has),
    }
}

fn check_alone(spec: &NodeSpec, alive: Option<&Entry>) -> Result<(), RegistrationError> {
    let Some(alive) = alive else { return Ok(()) };
    let AliveRecord { machine_id, address } = from_json(alive)?;
    if machine_id == spec.machine_id {
        // Ourselves, before a restart.
        return Ok(());
    }
    Err(RegistrationError::NameInUse { name: spec.name.clone(), machine_id, address })
}

/// Another plan may replace the cluster's only while no other node has a CIDR of it.
fn check_same_plan(
    ours: PlanRecord,
    found: Option<&Entry>,
    name: &str,
    taken: &BTreeMap<Ipv4Net, String>,
) -> Result<(), RegistrationError> {
    let Some(found) = found else { return Ok(()) };
    let theirs: PlanRecord = from_json(found)?;
    if theirs == ours || taken.values().all(|owner| owner == name) {
        return Ok(());
    }
    Err(RegistrationError::PlanDiffers {
        cluster_cidr: ours.cluster_cidr,
        node_prefix_len: ours.node_prefix_len,
        theirs: theirs.cluster_cidr,
        theirs_len: theirs.node_prefix_len,
    })
}

fn check_name(name: &str) -> Result<(), RegistrationError> {
    let longest = MAX_KEY_BYTES - NODES.len().max(ALIVE.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > longest || !name.chars().all(plain) {
        return Err(RegistrationError::Name { name: name.chars().take(80).collect() });
    }
    Ok(())
}

/// Between once and twice `pause`.
fn varied(pause: Duration, name: &str) -> Duration {
    let sum: u32 = name.bytes().map(u32::from).sum();
    pause + pause * (sum % 32) / 32
}
