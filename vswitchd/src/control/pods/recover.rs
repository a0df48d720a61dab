//! Pods that exist already when the daemon starts.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::message::PodRef;
use protocol::object::Timestamp;
use store::desired::UPLINK_PORT;
use store::ipam::Ipam;
use store::record::{CoolingRecord, PodRecord, Provisioning, ReservationRecord};
use store::{Key, Kind, Store, StoreError, Transaction};

use super::super::error::chain;
use super::super::inventory::{Inventory, Life, PodEntry, Reservation, Rest, reference};
use super::super::node::Control;
use super::delete;
use super::teardown::{self, Netns};
use super::{attach, containers, create, host_ports, network, place};
use crate::config::Config;

/// Fills the inventory from the store. Returns what could not be read, for `status`.
pub(crate) fn load(config: &Config, store: &Store) -> Result<(Inventory, Vec<String>), StoreError> {
    let mut inventory = Inventory::new(Ipam::new(config.pod_cidr));
    let mut problems = Vec::new();
    let mut half_made = Vec::new();
    let mut displaced = Vec::new();
    for (key, record) in store.list::<PodRecord>(Kind::Pod)? {
        match record {
            Ok(versioned) => {
                let mut record = versioned.value;
                record.metadata.resource_version = versioned.revision;
                match record.provisioning {
                    Provisioning::Ready if record.port >= UPLINK_PORT => displaced.push(record),
                    Provisioning::Ready => adopt(&mut inventory, record, &mut problems),
                    Provisioning::Pending => half_made.push(record),
                }
            }
            Err(error) => problems.push(format!("{key}: {error}")),
        }
    }
    // An earlier release gave such numbers to pods.
    for mut record in displaced {
        match inventory.free_port() {
            Some(free) => {
                record.port = free;
                adopt(&mut inventory, record, &mut problems);
            }
            None => problems.push(format!("pod {}: no port of the switch is free", reference(&record))),
        }
    }
    // After the others: an address or port number that was given to one of them since is theirs, and
    // only what carries the half-made pod's own name is to be removed.
    for mut record in half_made {
        record.spec.pod_ips.retain(|ip| inventory.ipam.owner(*ip).is_none());
        if inventory.owner_of_port(record.port).is_some() {
            let Some(free) = inventory.free_port() else { continue };
            record.port = free;
        }
        adopt(&mut inventory, record, &mut problems);
    }
    load_reservations(&mut inventory, store, &mut problems)?;
    let now = Timestamp::now();
    let mut expired = Transaction::new();
    let mut any_expired = false;
    for (key, record) in store.list::<CoolingRecord>(Kind::CoolingAddress)? {
        let (Ok(ip), Ok(record)) = (key.name().parse(), record) else { continue };
        let ago = record.value.released.until(now);
        inventory.ipam.resume_cooling(ip, ago, std::time::Duration::ZERO);
        if ago >= store::ipam::COOL_DOWN {
            expired = expired.forget(Key::node_wide(Kind::CoolingAddress, key.name()));
            any_expired = true;
        }
    }
    // Old entries cost nothing but space; a full disk must not keep the daemon from starting.
    if any_expired && let Err(error) = store.commit(expired) {
        tracing::warn!("old cool-downs stay recorded: {error}");
    }
    Ok((inventory, problems))
}

fn load_reservations(
    inventory: &mut Inventory,
    store: &Store,
    problems: &mut Vec<String>,
) -> Result<(), StoreError> {
    for (key, record) in store.list::<ReservationRecord>(Kind::Reservation)? {
        match (key.name().parse(), record) {
            (Ok(ip), Ok(record)) => {
                let record = record.value;
                match inventory.ipam.adopt(&record.key.to_string(), ip) {
                    Ok(()) => inventory.reserve(Reservation { ip, record }),
                    Err(error) => problems.push(format!("{}: {error}", record.key)),
                }
            }
            (Err(_), _) => problems.push(format!("{key}: not an address")),
            (Ok(_), Err(error)) => problems.push(format!("{key}: {error}")),
        }
    }
    Ok(())
}

fn adopt(inventory: &mut Inventory, record: PodRecord, problems: &mut Vec<String>) {
    let pod = reference(&record);
    let life = match record.provisioning {
        Provisioning::Pending => Life::Deleting,
        Provisioning::Ready => Life::Ready,
    };
    let mut failure = None;
    for ip in &record.spec.pod_ips {
        if let Err(error) = inventory.ipam.adopt(&format!("pod {pod}"), *ip) {
            problems.push(format!("pod {pod}: {error}"));
            failure = Some(error.to_string());
        }
    }
    let operation = Arc::new(Mutex::new(()));
    let held = match record.attachment {
        Some(_) => Arc::default(),
        None => host_ports::take_again(&pod, &record.spec.serving).into(),
    };
    inventory.insert(pod, PodEntry { record, life, failure, netns_identity: None, held, operation });
}

/// Brings machine and records together: removes half-made pods, attaches the others. The datapath
/// has been asked for its ports before.
pub(crate) fn reconcile(control: &Control) {
    let entries: Vec<(PodRef, PodEntry)> =
        control.inventory.lock().iter().map(|(pod, entry)| (pod.clone(), entry.clone())).collect();
    for (pod, entry) in entries {
        match (entry.life, entry.failure) {
            (Life::Deleting | Life::Creating, _) => remove_half_made(control, &pod, &entry.record),
            (Life::Ready, Some(_)) => {}
            (Life::Ready, None) if attach::is_lost(&entry.record) => {
                tracing::info!(%pod, "its container is gone");
                remove_half_made(control, &pod, &entry.record);
            }
            (Life::Ready, None) => {
                if let Err(problem) = restore(control, &pod, &entry.record) {
                    tracing::error!(%pod, "pod could not be restored: {problem}");
                    if let Some(entry) = control.inventory.lock().get_mut(&pod) {
                        entry.failure = Some(problem);
                    }
                }
            }
        }
    }
}

fn remove_half_made(control: &Control, pod: &PodRef, record: &PodRecord) {
    let mut errors = teardown::teardown(control, record, Netns::of(record));
    if errors.is_empty()
        && let Err(error) = delete::forget(control, record)
    {
        errors.push(error.to_string());
    }
    if errors.is_empty() {
        tracing::info!(%pod, "removed what an interrupted create or delete had left");
        control.inventory.lock().remove(pod, Rest::CoolDown, control.now());
    } else {
        tracing::error!(%pod, "a half-made pod cannot be removed: {}", errors.join("; "));
    }
}

/// Makes sure the pod has its namespace, `eth0`, files and a descriptor here.
fn restore(control: &Control, pod: &PodRef, record: &PodRecord) -> Result<(), String> {
    if place::is_foreign(record) {
        return attach::restore(control, pod, record);
    }
    let known = control.switch.active_port(record.port);
    let same = known.is_some_and(|port| {
        port.name == record.metadata.key() && port.mac == record.spec.mac && port.device == record.device
    });
    let netns_exists = netdev::netns::exists(&record.netns);
    let mut record = record.clone();
    let identity = if same && netns_exists {
        netdev::netns::open(&record.netns).and_then(|netns| netns.identity()).map_err(|e| chain(&e))?
    } else {
        drop(control.switch.take_device(record.port));
        let interface = create::interface(control, &record).map_err(|e| e.to_string())?;
        let made = if netns_exists {
            network::restore(&record.netns, &interface, record.device)
        } else {
            tracing::warn!(%pod, "its network namespace is gone, as after a reboot; making it again");
            containers::stop_for_new_netns(control, &record);
            // A name without a namespace can be left behind.
            let _ = network::delete_netns(&record.netns);
            network::create(&record.netns, &interface)
        };
        let (netns, tap) = made.map_err(|e| chain(&e))?;
        record.device = tap.device_kind();
        record.offloads = netdev::Device::offloads(&tap);
        control.switch.add_device(record.port, tap);
        netns.identity().map_err(|e| chain(&e))?
    };
    create::write_files(control, pod, &record).map_err(|e| format!("its files: {e}"))?;
    let cgroup = super::super::cgroup::PodCgroup::of(&record.netns);
    cgroup.create(&record.spec.resources).map_err(|e| chain(&e))?;
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.netns_identity = Some(identity);
        entry.record = record;
    }
    Ok(())
}

/// Once the datapath runs all ports: plugs in the cables, and mends containers.
pub(crate) fn finish(control: &Control) {
    let ports: Vec<_> = control.inventory.lock().iter().map(|(_, entry)| entry.record.port).collect();
    for port in ports.into_iter().chain([store::desired::GATEWAY_PORT]) {
        if let Some(Err(error)) = control.switch.with_tap(port, |tap| tap.set_carrier(true)) {
            tracing::error!(%port, "carrier: {}", chain(&error));
        }
    }
    containers::mend(control);
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::link::DeviceKind;
    use protocol::object::{ObjectMeta, PodSpec, Resources, RestartPolicy};
    use protocol::{Mac, Offloads, PortId};
    use std::net::IpAddr;

    fn record(name: &str, ip: &str, port: u32, provisioning: Provisioning) -> PodRecord {
        let ip: IpAddr = ip.parse().unwrap();
        PodRecord {
            metadata: ObjectMeta {
                name: name.parse().unwrap(),
                namespace: "default".parse().unwrap(),
                uid: format!("uid-{name}"),
                labels: std::collections::BTreeMap::new(),
                creation_timestamp: Timestamp(0),
                resource_version: 0,
            },
            spec: PodSpec {
                node_name: "n".to_owned(),
                pod_ips: vec![ip],
                mac: Mac::for_pod(ip),
                port_security: true,
                resources: Resources::default(),
                restart_policy: RestartPolicy::Always,
                containers: Vec::new(),
                serving: protocol::object::Serving::default(),
                dns: protocol::object::PodDns::default(),
                hostname: None,
                subdomain: None,
                bandwidth: protocol::object::Bandwidth::default(),
            },
            provisioning,
            netns: format!("default.{name}"),
            port: PortId(port),
            ip_mtu: 1450,
            device: DeviceKind::VnetTap,
            offloads: Offloads::NONE,
            attachment: None,
        }
    }

    fn loaded(records: &[PodRecord], cooling: &[(&str, u64)]) -> (Inventory, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.redb")).unwrap();
        for record in records {
            store.put_new(record.key(), record).unwrap();
        }
        for (ip, ago) in cooling {
            let released = Timestamp(Timestamp::now().0 - ago);
            store.put_new(Key::node_wide(Kind::CoolingAddress, *ip), &CoolingRecord { released }).unwrap();
        }
        load(&Config::of(""), &store).unwrap()
    }

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "default".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn ready_pods_keep_their_addresses_and_half_made_ones_are_marked_for_removal() {
        let (inventory, problems) = loaded(
            &[
                record("a", "10.244.0.5", 1, Provisioning::Ready),
                record("b", "10.244.0.6", 2, Provisioning::Pending),
            ],
            &[],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(inventory.get(&pod("a")).unwrap().life, Life::Ready);
        assert_eq!(inventory.get(&pod("b")).unwrap().life, Life::Deleting);
        assert_eq!(inventory.free_port(), Some(PortId(3)));
        assert_eq!(inventory.ipam.owner("10.244.0.5".parse().unwrap()), Some("pod default/a"));
    }

    #[test]
    fn a_half_made_pod_gives_way_to_who_has_its_address_and_port_now() {
        let (mut inventory, problems) = loaded(
            &[
                record("a-stale", "10.244.0.5", 1, Provisioning::Pending),
                record("b", "10.244.0.5", 1, Provisioning::Ready),
            ],
            &[],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(inventory.owner_of_port(PortId(1)), Some(&pod("b")));
        inventory.remove(&pod("a-stale"), Rest::CoolDown, std::time::Duration::ZERO);
        assert_eq!(inventory.ipam.owner("10.244.0.5".parse().unwrap()), Some("pod default/b"));
        assert_eq!(inventory.owner_of_port(PortId(1)), Some(&pod("b")));
    }

    #[test]
    fn an_address_outside_the_configured_range_fails_its_pod_by_name() {
        let (inventory, problems) = loaded(&[record("a", "10.9.0.5", 1, Provisioning::Ready)], &[]);
        assert!(problems[0].contains("pod default/a") && problems[0].contains("10.9.0.5"), "{problems:?}");
        assert!(inventory.get(&pod("a")).unwrap().failure.is_some());
    }

    #[test]
    fn cool_downs_survive_a_restart_and_old_ones_do_not() {
        let (mut inventory, _) = loaded(&[], &[("10.244.0.2", 5), ("10.244.0.3", 100)]);
        let now = std::time::Duration::ZERO;
        assert!(inventory.ipam.allocate("x", Some("10.244.0.2".parse().unwrap()), now).is_err());
        assert!(inventory.ipam.allocate("x", Some("10.244.0.3".parse().unwrap()), now).is_ok());
    }
}
