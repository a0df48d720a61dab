//! `create-pod`.
//!
//! Order: check, take address and port number, write the intent durably, namespace with `eth0`
//! (carrier off), files, cgroup, port active in the datapath, carrier on, container, record durably
//! complete, answer. A failure at any step removes what the steps before it made, releases the
//! address and leaves no record; a crash leaves the intent, which the next start acts on.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::link::DeviceKind;
use protocol::message::{ApiError, CreatePod, ErrorCode, MAX_COMMAND_WORDS, PodRef};
use protocol::name::check_label;
use protocol::object::{Container, ObjectMeta, Pod, PodSpec, Timestamp};
use protocol::{Mac, Offloads};
use store::ipam::IpamError;
use store::record::{PodRecord, Provisioning};
use store::{StoreError, Transaction};

use super::super::cgroup::PodCgroup;
use super::super::error::api;
use super::super::inventory::{Inventory, Life, PodEntry, Rest};
use super::super::node::Control;
use super::dns::{self, ClusterDns};
use super::files::Named;
use super::network::Interface;
use super::teardown::{self, Netns};
use super::{containers, files, host_ports, network, place, view};

/// Labels of one pod; with keys and values at their longest about 100 KiB.
const MAX_LABELS: usize = 256;

/// Makes a pod that can talk when this returns.
pub(crate) fn create(control: &Control, request: CreatePod) -> Result<Pod, ApiError> {
    validate(&request)?;
    let pod = request.pod.clone();
    let operation = Arc::new(Mutex::new(()));
    let _held = operation.lock();
    let mut record = reserve(control, request, &operation)?;
    let mut netns = Netns::NotOurs;
    match build(control, &pod, &mut record, &mut netns) {
        Ok(()) => {
            control.services.on_pods_changed();
            view::show(control, &pod)
        }
        Err(error) => {
            undo(control, &pod, &record, netns);
            Err(error)
        }
    }
}

fn validate(request: &CreatePod) -> Result<(), ApiError> {
    let invalid = |what: &dyn std::fmt::Display| {
        Err(ApiError::new(ErrorCode::Invalid, format!("pod {}: {what}", request.pod)))
    };
    if let Err(problem) = check_station(&request.labels, request.mac) {
        return invalid(&problem);
    }
    if request.resources.cpu_millicores == Some(0) || request.resources.memory_bytes == Some(0) {
        return invalid(&"a limit of 0 would stop everything; leave it out for no limit");
    }
    if let Err(problem) = dns::check(&request.dns) {
        return invalid(&problem);
    }
    for (field, name) in [("hostname", &request.hostname), ("subdomain", &request.subdomain)] {
        if let Some(name) = name
            && let Err(error) = name.parse::<protocol::Namespace>()
        {
            return invalid(&format!("spec.{field}: {}", error.to_string().replace("namespace", field)));
        }
    }
    validate_command(&request.pod, &request.command)
}

/// What is wrong with a pod's labels and MAC address.
pub(super) fn check_station(labels: &BTreeMap<String, String>, mac: Option<Mac>) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("{} labels, the limit is {MAX_LABELS}", labels.len()));
    }
    for (key, value) in labels {
        check_label(key, value).map_err(|error| error.to_string())?;
    }
    if mac.is_some_and(|mac| !mac.is_valid_source()) {
        return Err("the MAC address is a group address or zero, which no station may have".to_owned());
    }
    Ok(())
}

pub(super) fn validate_command(pod: &PodRef, command: &[String]) -> Result<(), ApiError> {
    let problem = if command.len() > MAX_COMMAND_WORDS {
        format!("the command has {} words, the limit is {MAX_COMMAND_WORDS}", command.len())
    } else if command.iter().any(|word| word.contains('\0')) {
        "the command contains a zero byte".to_owned()
    } else if command.first().is_some_and(String::is_empty) {
        "the command is an empty word".to_owned()
    } else {
        return Ok(());
    };
    Err(ApiError::new(ErrorCode::Invalid, format!("pod {pod}: {problem}")))
}

/// Takes the name, an address, a MAC and a port number, all at once or none.
fn reserve(control: &Control, request: CreatePod, operation: &Arc<Mutex<()>>) -> Result<PodRecord, ApiError> {
    let pod = request.pod;
    let refuse = |code, text: String| Err(ApiError::new(code, text));
    let uid = new_uid().map_err(|e| api(ErrorCode::Internal, &format!("pod {pod}"), &e))?;
    if let Err(problem) = request.bandwidth.check(control.pod_mtu()) {
        return refuse(ErrorCode::Invalid, format!("pod {pod}: {problem}"));
    }
    let host_ports = host_ports::check(control, &pod, &request.serving)?;
    let mut inventory = control.inventory.lock();
    if let Some(entry) = inventory.get(&pod) {
        return match entry.life {
            Life::Creating | Life::Ready => {
                let text = format!(
                    "pod {pod} exists already; choose another name, or delete it: vpodctl delete-pod {} -n {}",
                    pod.name, pod.namespace
                );
                refuse(ErrorCode::AlreadyExists, text)
            }
            Life::Deleting => refuse(
                ErrorCode::AlreadyExists,
                format!(
                    "pod {pod} is being deleted; try again, or repeat: vpodctl delete-pod {} -n {}",
                    pod.name, pod.namespace
                ),
            ),
        };
    }
    let held = host_ports::take(&host_ports, &inventory, &pod)?.into();
    let Some(port) = inventory.free_port() else {
        return refuse(ErrorCode::Exhausted, format!("pod {pod}: all ports of the switch are in use"));
    };
    let owner = format!("pod {pod}");
    let ip = inventory
        .ipam
        .allocate(&owner, request.ip, control.now())
        .map_err(|e| api(ipam_code(&e), &owner, &e))?;
    let mac = request.mac.unwrap_or_else(|| Mac::for_pod(ip));
    if let Some(holder) = holder_of(mac, control, &inventory) {
        inventory.ipam.abandon(ip);
        return refuse(ErrorCode::Conflict, format!("pod {pod}: MAC address {mac} is in use by {holder}"));
    }
    let containers = if request.command.is_empty() {
        Vec::new()
    } else {
        vec![Container { name: pod.name.clone(), command: request.command }]
    };
    let record = PodRecord {
        metadata: ObjectMeta {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            uid,
            labels: request.labels,
            creation_timestamp: Timestamp::now(),
            resource_version: 0,
        },
        spec: PodSpec {
            node_name: control.config.node.clone(),
            pod_ips: vec![ip],
            mac,
            port_security: request.port_security,
            resources: request.resources,
            restart_policy: request.restart_policy,
            containers,
            serving: request.serving,
            dns: request.dns,
            hostname: request.hostname,
            subdomain: request.subdomain,
            bandwidth: request.bandwidth,
        },
        provisioning: Provisioning::Pending,
        netns: control.netns_name(&pod),
        port,
        ip_mtu: control.pod_mtu(),
        device: DeviceKind::VnetTap,
        offloads: Offloads::NONE,
        attachment: None,
    };
    let entry = PodEntry {
        record: record.clone(),
        life: Life::Creating,
        failure: None,
        netns_identity: None,
        held,
        operation: Arc::clone(operation),
    };
    inventory.insert(pod, entry);
    Ok(record)
}

/// Who has the MAC: a pod, the router that pods resolve their gateway to, or the gateway TAP.
pub(super) fn holder_of(mac: Mac, control: &Control, inventory: &Inventory) -> Option<String> {
    let gateway = control.config.gateway();
    if mac == Mac::for_router(gateway) || mac == Mac::for_gateway_tap(gateway) {
        return Some("the node's gateway".to_owned());
    }
    inventory.owner_of_mac(mac).map(|pod| format!("pod {pod}"))
}

pub(super) const fn ipam_code(error: &IpamError) -> ErrorCode {
    match error {
        IpamError::OutsideRange { .. } | IpamError::Reserved { .. } => ErrorCode::Invalid,
        IpamError::InUse { .. } | IpamError::Cooling { .. } => ErrorCode::Conflict,
        IpamError::Exhausted { .. } => ErrorCode::Exhausted,
    }
}

/// From the kernel's generator: RFC 9562 version 4.
pub(crate) fn new_uid() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

fn build(control: &Control, pod: &PodRef, record: &mut PodRecord, netns: &mut Netns) -> Result<(), ApiError> {
    let object = format!("pod {pod}");
    let internal = |e: &dyn std::error::Error| api(ErrorCode::Internal, &object, e);
    if netdev::netns::path_of(&record.netns).exists() {
        let text = format!("{object}: network namespace {} exists already and is not ours", record.netns);
        return Err(ApiError::new(ErrorCode::Conflict, text));
    }
    // The inventory keeps names apart; a record found here is one that could not be forgotten.
    control
        .commit(Transaction::new().put(record.key(), record, None))
        .map_err(|e| store_error(&object, &e))?;

    *netns = Netns::Ours;
    let interface = interface(control, record)?;
    let (namespace, tap) = network::create(&record.netns, &interface).map_err(|e| internal(&e))?;
    record.device = tap.device_kind();
    record.offloads = netdev::Device::offloads(&tap);
    let identity = namespace.identity().map_err(|e| internal(&e))?;
    write_files(control, pod, record).map_err(|e| internal(&e))?;
    PodCgroup::of(&record.netns).create(&record.spec.resources).map_err(|e| internal(&e))?;

    record.provisioning = Provisioning::Ready;
    control.switch.add_device(record.port, tap);
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record = record.clone();
        entry.netns_identity = Some(identity);
    }
    control.switch.sync(&control.inventory).map_err(|e| api(ErrorCode::Unavailable, &object, &e))?;
    control
        .switch
        .with_tap(record.port, |tap| tap.set_carrier(true))
        .transpose()
        .map_err(|e| internal(&e))?;
    network::wait_until_ready(&namespace, network::DEVICE).map_err(|e| internal(&e))?;

    for container in &record.spec.containers {
        containers::start(control, record, container)?;
    }
    let revision = control
        .commit(Transaction::new().put(record.key(), record, None))
        .map_err(|e| store_error(&object, &e))?;
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record.metadata.resource_version = revision;
        entry.life = Life::Ready;
    }
    Ok(())
}

/// What `record` says about its `eth0`.
pub(super) fn interface(control: &Control, record: &PodRecord) -> Result<Interface, ApiError> {
    Ok(Interface {
        name: place::device(record).to_owned(),
        ip: address(record)?,
        pod_cidr: control.config.pod_cidr,
        gateway: control.config.gateway(),
        mac: record.spec.mac,
        ip_mtu: record.ip_mtu,
        txqueuelen: control.config.txqueuelen,
        kind: control.config.tap,
    })
}

pub(super) fn write_files(control: &Control, pod: &PodRef, record: &PodRecord) -> std::io::Result<()> {
    let config = &control.config;
    let domain = config.cluster_domain.as_str();
    let cluster = ClusterDns { address: config.cluster_dns, domain };
    let resolv_conf = dns::compose(&pod.namespace, &record.spec.dns, cluster, dns::of_node);
    let named = Named::of(&record.spec);
    let hosts = record.spec.pod_ips.first().map(|ip| files::hosts(pod, &named, *ip, domain));
    files::write(&record.netns, &resolv_conf.text(), &hosts.unwrap_or_default())
}

pub(super) fn address(record: &PodRecord) -> Result<IpAddr, ApiError> {
    record.spec.pod_ips.first().copied().ok_or_else(|| {
        ApiError::new(ErrorCode::Internal, format!("pod {} has no address", record.metadata.key()))
    })
}

pub(super) fn store_error(object: &str, error: &StoreError) -> ApiError {
    let code = match error {
        StoreError::DiskFull { .. } => ErrorCode::Exhausted,
        StoreError::Exists { .. } => ErrorCode::AlreadyExists,
        StoreError::Missing { .. } => ErrorCode::NotFound,
        StoreError::Conflict { .. } => ErrorCode::Conflict,
        StoreError::Io { .. }
        | StoreError::InUse { .. }
        | StoreError::Damaged { .. }
        | StoreError::Record { .. } => ErrorCode::Internal,
    };
    api(code, &object, error)
}

/// Removes what a failed create made.
pub(super) fn undo(control: &Control, pod: &PodRef, record: &PodRecord, netns: Netns) {
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.life = Life::Deleting;
    }
    let errors = teardown::teardown(control, record, netns);
    if !errors.is_empty() {
        // The name and the address stay taken; `delete-pod` removes the rest.
        tracing::error!(%pod, "undoing a failed create-pod: {}", errors.join("; "));
        return;
    }
    if let Err(error) = control.commit(Transaction::new().forget(record.key())) {
        tracing::error!(%pod, "the record of a pod that could not be created stays for now: {error}");
        control.doomed.lock().push(record.clone());
    }
    control.inventory.lock().remove(pod, Rest::None, control.now());
}

/// Tries again to forget pods that do not exist, once the disk has space again. Should the daemon end
/// before, the next start finds them half-made.
pub(crate) fn forget_doomed(control: &Control) {
    let doomed = std::mem::take(&mut *control.doomed.lock());
    for record in doomed {
        let key = record.key();
        let forgotten = match control.store.get::<PodRecord>(&key) {
            // The name may belong to another pod by now.
            Ok(Some(found)) if found.value.metadata.uid == record.metadata.uid => {
                control.commit(Transaction::new().delete(key, Some(found.revision))).is_ok()
            }
            Ok(Some(_) | None) => true,
            Err(_) => false,
        };
        if !forgotten {
            control.doomed.lock().push(record);
        }
    }
}
