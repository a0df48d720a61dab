//! Pods that container runtimes ask for: attaching, detaching, and what is known of them.
//!
//! Such a pod is made in the order of [`super::create`], with these differences. Its network namespace is the runtime's: it is opened by path
//! and recognised by device and inode, nothing but our interface is changed in it, and it is never removed. The runtime knows it by
//! a key, which is taken once. And it goes when its namespace has gone, whether the runtime says so or not ([`lost`]),
//! because nobody could put it back.
//!
//! A pod has one interface of ours: another key for a pod that is there is refused.

mod lost;
mod notes;
mod plan;
mod reservation;

use std::sync::Arc;

use ipnet::IpNet;
use netdev::netns::{self, NetnsError};
use netdev::{Netns, TapError};
use parking_lot::Mutex;
use protocol::attachment::{Attach, Attached, AttachmentKey, AttachmentRole, NetworkName, Readiness};
use protocol::link::DeviceKind;
use protocol::message::{ApiError, ErrorCode, PodRef};
use protocol::object::{ObjectMeta, PodSpec, Resources, RestartPolicy, Timestamp};
use protocol::{Mac, Offloads};
use store::Transaction;
use store::record::{AttachmentRecord, PodRecord, Provisioning};

use super::super::error::{api, chain};
use super::super::inventory::{Inventory, Life, PodEntry};
use super::super::node::Control;
use super::network::NetworkError;
use super::teardown;
use super::{create, delete, host_ports, network};
use plan::Plan;

pub(crate) use lost::{follow, is_lost, restore};
pub(crate) use notes::take_up;

/// Makes an attachment that can talk when this returns; if it cannot, nothing is left of it.
pub(crate) fn attach(control: &Control, request: Attach) -> Result<Attached, ApiError> {
    take_up(control);
    let netns = namespace(&request)?;
    make_way(control, &request);
    match request.role {
        AttachmentRole::Address => reservation::reserve(control, &request),
        AttachmentRole::Interface => attach_interface(control, request, &netns),
    }
}

/// Undoes an attachment; done if there is none.
pub(crate) fn detach(control: &Control, key: &AttachmentKey) -> Result<(), ApiError> {
    reservation::release(control, key)?;
    let Some(pod) = control.inventory.lock().attached(key).cloned() else { return Ok(()) };
    match delete::delete_if(control, &pod, |record| is_known_by(record, key)) {
        // Somebody else was faster.
        Err(error) if error.code == ErrorCode::NotFound => Ok(()),
        other => other,
    }
}

fn is_known_by(record: &PodRecord, key: &AttachmentKey) -> bool {
    record.attachment.as_ref().is_some_and(|attachment| attachment.key == *key)
}

/// What attaching was answered.
pub(crate) fn show(control: &Control, key: &AttachmentKey) -> Result<Attached, ApiError> {
    let inventory = control.inventory.lock();
    if let Some(reservation) = inventory.reservations().get(key) {
        return Ok(reservation::answer(control, reservation.ip));
    }
    let entry = inventory.attached(key).and_then(|pod| inventory.get(pod));
    let Some(entry) = entry.filter(|entry| entry.life == Life::Ready) else {
        return Err(ApiError::new(ErrorCode::NotFound, format!("there is no {key}")));
    };
    match &entry.failure {
        Some(failure) => Err(ApiError::new(ErrorCode::NotFound, format!("{key} has failed: {failure}"))),
        None => answer(control, &entry.record),
    }
}

/// What there is of a network.
pub(crate) fn list(control: &Control, network: &NetworkName) -> Vec<AttachmentKey> {
    let inventory = control.inventory.lock();
    let all = inventory.attachments().chain(inventory.reservations().keys());
    all.filter(|key| key.network == *network).cloned().collect()
}

/// Whether one more could be made.
pub(crate) fn readiness(control: &Control) -> Readiness {
    if control.gate.enter().is_none() {
        return Readiness::Refusing { why: "vswitchd is stopping".to_owned() };
    }
    if !control.switch.is_connected() {
        return Readiness::NotForwarding { why: "the datapath process is being started".to_owned() };
    }
    if let Some(problem) = control.switch_problem.lock().clone() {
        return Readiness::NotForwarding { why: problem };
    }
    if let Some(problem) = control.store_problem.lock().clone() {
        return Readiness::Refusing { why: problem };
    }
    let mut inventory = control.inventory.lock();
    if inventory.free_port().is_none() {
        return Readiness::Refusing { why: "all ports of the switch are in use".to_owned() };
    }
    let now = control.now();
    match inventory.ipam.has_free(now) {
        Ok(()) => Readiness::Ready,
        Err(_) => Readiness::Exhausted {
            pool: control.config.pod_cidr.to_string(),
            held: u64::try_from(inventory.ipam.held()).unwrap_or(u64::MAX),
        },
    }
}

/// Opens the container's namespace, which must be the one that the plugin saw.
fn namespace(request: &Attach) -> Result<Netns, ApiError> {
    let (key, path) = (&request.key, &request.netns);
    let refuse = |code, why: String| Err(ApiError::new(code, format!("{key}: {why}")));
    let netns = match netns::open_path(path.as_str().as_ref()) {
        Ok(netns) => netns,
        Err(NetnsError::NotANamespace { .. }) => {
            return refuse(ErrorCode::Invalid, format!("{path} is not a network namespace"));
        }
        Err(error) if super::place::is_gone(&error) => {
            return refuse(ErrorCode::NotFound, format!("there is no network namespace {path}"));
        }
        Err(error) => return refuse(ErrorCode::Internal, chain(&error)),
    };
    let internal = |e: NetnsError| api(ErrorCode::Internal, key, &e);
    let identity = netns.identity().map_err(internal)?;
    if identity != request.netns_identity {
        let why = format!(
            "vswitchd sees another namespace at {path} than the plugin; it has to see the runtime's mounts"
        );
        return refuse(ErrorCode::Invalid, why);
    }
    let own = Netns::current().and_then(|own| own.identity()).map_err(internal)?;
    if identity == own && !request.netns_override {
        return refuse(ErrorCode::Invalid, format!("{path} is the node's own network namespace"));
    }
    Ok(netns)
}

/// What is in the way and has lost its namespace goes: its runtime has forgotten it, or makes it anew.
fn make_way(control: &Control, request: &Attach) {
    // The inventory is not held while paths are looked at: a runtime's may hang.
    let (pods, reserved) = {
        let inventory = control.inventory.lock();
        let by_key = inventory.attached(&request.key);
        let pods = [by_key, Some(&request.pod)].into_iter().flatten().filter_map(|pod| inventory.get(pod));
        let pods: Vec<PodRecord> =
            pods.filter(|entry| entry.life != Life::Creating).map(|entry| entry.record.clone()).collect();
        (pods, inventory.reservations().get(&request.key).map(|reservation| reservation.record.clone()))
    };
    let pods = pods.into_iter().filter(is_lost).filter_map(|record| record.attachment.map(|a| a.key));
    let reserved = reserved.filter(lost::is_released).map(|record| record.key);
    let in_the_way: Vec<AttachmentKey> = pods.chain(reserved).collect();
    for key in in_the_way {
        if let Err(error) = detach(control, &key) {
            tracing::warn!(%key, "its namespace is gone, but it stays: {error}");
        }
    }
}

fn attach_interface(control: &Control, request: Attach, netns: &Netns) -> Result<Attached, ApiError> {
    let plan = Plan::of(control, request)?;
    let pod = plan.request.pod.clone();
    let operation = Arc::new(Mutex::new(()));
    let _held = operation.lock();
    let mut record = reserve(control, plan, &operation)?;
    let mut made = teardown::Netns::NotOurs;
    let built = build(control, &pod, &mut record, netns, &mut made).and_then(|()| answer(control, &record));
    match built {
        Ok(attached) => {
            control.services.on_pods_changed();
            Ok(attached)
        }
        Err(error) => {
            create::undo(control, &pod, &record, made);
            Err(error)
        }
    }
}

/// Takes the key, the name, an address, a MAC and a port number, all at once or none.
fn reserve(control: &Control, plan: Plan, operation: &Arc<Mutex<()>>) -> Result<PodRecord, ApiError> {
    let pod = plan.request.pod.clone();
    let key = plan.request.key.clone();
    let uid = create::new_uid().map_err(|e| api(ErrorCode::Internal, &key, &e))?;
    let mut inventory = control.inventory.lock();
    refuse_second(&inventory, &key, &pod)?;
    // Not kept: podman binds what it publishes itself, once this is answered.
    drop(host_ports::take(&plan.host_ports, &inventory, &pod)?);
    let Some(port) = inventory.free_port() else {
        return Err(ApiError::new(
            ErrorCode::Exhausted,
            format!("{key}: all ports of the switch are in use"),
        ));
    };
    let ip = plan.address(control, &mut inventory, &format!("pod {pod}"))?;
    let mac = plan.request.mac.unwrap_or_else(|| Mac::for_pod(ip));
    if let Some(holder) = create::holder_of(mac, control, &inventory) {
        inventory.ipam.abandon(ip);
        let text = format!("{key}: MAC address {mac} is in use by {holder}");
        return Err(ApiError::new(ErrorCode::Conflict, text));
    }
    let record = PodRecord {
        metadata: ObjectMeta {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            uid,
            labels: plan.request.labels,
            creation_timestamp: Timestamp::now(),
            resource_version: 0,
        },
        spec: PodSpec {
            node_name: control.config.node.clone(),
            pod_ips: vec![ip],
            mac,
            port_security: true,
            resources: Resources::default(),
            restart_policy: RestartPolicy::default(),
            containers: Vec::new(),
            serving: plan.serving,
            dns: plan.dns,
            hostname: None,
            subdomain: None,
            bandwidth: plan.request.bandwidth,
        },
        provisioning: Provisioning::Pending,
        netns: control.netns_name(&pod),
        port,
        ip_mtu: plan.request.ip_mtu.unwrap_or_else(|| control.pod_mtu()),
        device: DeviceKind::VnetTap,
        offloads: Offloads::NONE,
        attachment: Some(AttachmentRecord {
            key,
            netns: plan.request.netns,
            netns_identity: plan.request.netns_identity,
            ip_mtu: plan.request.ip_mtu,
            resolver: plan.resolver,
            aliases: plan.request.aliases,
        }),
    };
    let entry = PodEntry {
        record: record.clone(),
        life: Life::Creating,
        failure: None,
        netns_identity: None,
        held: Arc::default(),
        operation: Arc::clone(operation),
    };
    inventory.insert(pod, entry);
    Ok(record)
}

fn refuse_second(inventory: &Inventory, key: &AttachmentKey, pod: &PodRef) -> Result<(), ApiError> {
    let refuse = |text: String| Err(ApiError::new(ErrorCode::AlreadyExists, text));
    if inventory.attached(key).is_some() || inventory.reservations().contains_key(key) {
        return refuse(format!("{key} is attached already"));
    }
    match inventory.get(pod).map(|entry| &entry.record.attachment) {
        None => Ok(()),
        Some(None) => refuse(format!("{key}: pod {pod} exists already, and was made by vpodctl")),
        Some(Some(other)) => {
            refuse(format!("{key}: pod {pod} has its interface already, {}; vpod gives a pod one", other.key))
        }
    }
}

fn build(
    control: &Control,
    pod: &PodRef,
    record: &mut PodRecord,
    netns: &Netns,
    made: &mut teardown::Netns,
) -> Result<(), ApiError> {
    let object = format!("pod {pod}");
    let internal = |e: &dyn std::error::Error| api(ErrorCode::Internal, &object, e);
    let refused = |e: store::StoreError| internal(&e);
    // Before the intent is written, or a crash would have what is there already removed as ours.
    let device = super::place::device(record).to_owned();
    if network::exists(netns, &device).map_err(|e| internal(&e))? {
        return Err(exists(record, &device));
    }
    control.commit(Transaction::new().put(record.key(), record, None)).map_err(refused)?;

    let interface = create::interface(control, record)?;
    let tap = network::join(netns, &interface).map_err(|error| match error {
        NetworkError::Tap(TapError::Exists { .. }) => exists(record, &device),
        other => internal(&other),
    })?;
    *made = teardown::Netns::Foreign;
    record.device = tap.device_kind();
    record.offloads = netdev::Device::offloads(&tap);
    record.provisioning = Provisioning::Ready;
    control.switch.add_device(record.port, tap);
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record = record.clone();
        entry.netns_identity = record.attachment.as_ref().map(|attachment| attachment.netns_identity);
    }
    control.switch.sync(&control.inventory).map_err(|e| api(ErrorCode::Unavailable, &object, &e))?;
    control
        .switch
        .with_tap(record.port, |tap| tap.set_carrier(true))
        .transpose()
        .map_err(|e| internal(&e))?;
    network::wait_until_ready(netns, &device).map_err(|e| internal(&e))?;
    let revision = control.commit(Transaction::new().put(record.key(), record, None)).map_err(refused)?;
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record.metadata.resource_version = revision;
        entry.life = Life::Ready;
    }
    Ok(())
}

fn exists(record: &PodRecord, device: &str) -> ApiError {
    let place = super::place::path(record);
    let text = format!("there is an interface {device} in {} already", place.display());
    ApiError::new(ErrorCode::AlreadyExists, text)
}

/// What a plugin is told of a pod.
fn answer(control: &Control, record: &PodRecord) -> Result<Attached, ApiError> {
    let config = &control.config;
    let ip = create::address(record)?;
    let net = IpNet::new(ip, config.pod_cidr.prefix_len()).unwrap_or_else(|_| ip.into());
    Ok(Attached {
        mac: record.spec.mac,
        ip_mtu: record.ip_mtu,
        addresses: vec![(net, config.gateway())],
        resolver: record
            .attachment
            .as_ref()
            .map(|attachment| attachment.resolver.clone())
            .unwrap_or_default(),
    })
}
