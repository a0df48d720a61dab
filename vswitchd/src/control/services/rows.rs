//! Services, endpoints and namespaces as `get` shows them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use protocol::message::Kind;
use protocol::object::{Document, Timestamp};
use protocol::{Namespace, ObjectName};
use serde_json::{Value, json};
use store::cluster::{Entry, Mirror};
use store::services::write::{NAMESPACES, SERVICES, SLICES};
use store::services::{Endpoint, ObjectRef, Spec, Table, slices, transport_word};

use super::super::node::Control;
use super::announce::conditions;

/// Namespaces that Kubernetes always has.
const ALWAYS: [&str; 2] = ["default", "kube-system"];

/// Objects of a kind that is kept as documents, of one namespace if given.
pub(crate) fn list(control: &Control, kind: Kind, namespace: Option<&Namespace>) -> Vec<Document> {
    match kind {
        Kind::Services => services(control, namespace, service),
        Kind::Endpoints => services(control, namespace, endpoints),
        Kind::EndpointSlices => all_slices(control, namespace),
        Kind::Namespaces => namespaces(control),
        _ => Vec::new(),
    }
}

/// One object.
pub(crate) fn document(
    control: &Control,
    kind: Kind,
    namespace: &Namespace,
    name: &ObjectName,
) -> Option<Document> {
    list(control, kind, Some(namespace)).into_iter().find(|document| document.name == *name)
}

/// As the store has them now; as they were last known if it is away.
fn entries(control: &Control, mirror: &Mirror, prefix: &str) -> Vec<Entry> {
    match control.services.store.list(prefix) {
        Ok(listing) => listing.entries,
        Err(_) => mirror.known().0.into_values().collect(),
    }
}

/// The object with what the store knows of it.
fn whole(entry: &Entry, version: &str, kind: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(&entry.value).ok()?;
    value["apiVersion"] = version.into();
    value["kind"] = kind.into();
    value["metadata"]["resourceVersion"] = entry.revision.to_string().into();
    Some(value)
}

fn created(value: &Value) -> Timestamp {
    let stamp = value.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    serde_json::from_value(stamp).unwrap_or_default()
}

type Make = fn(&Control, &Table, &Entry, ObjectRef) -> Option<Document>;

fn services(control: &Control, namespace: Option<&Namespace>, make: Make) -> Vec<Document> {
    let entries = entries(control, &control.services.mirrors.services, SERVICES);
    let table = control.services.table.lock();
    let named = entries.iter().filter_map(|entry| Some((entry, object(entry, SERVICES)?)));
    let wanted = named.filter(|(_, object)| namespace.is_none_or(|wanted| object.namespace == *wanted));
    wanted.filter_map(|(entry, object)| make(control, &table, entry, object)).collect()
}

fn object(entry: &Entry, prefix: &str) -> Option<ObjectRef> {
    ObjectRef::parse(entry.key.strip_prefix(prefix)?)
}

fn service(control: &Control, table: &Table, entry: &Entry, object: ObjectRef) -> Option<Document> {
    let mut value = whole(entry, "v1", "Service")?;
    let found = conditions(control, table, &object);
    if !found.is_empty() {
        match value.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            Some(all) => all.extend(found),
            None => value["status"]["conditions"] = found.into(),
        }
    }
    Some(of_service(table, object, &value))
}

fn of_service(table: &Table, object: ObjectRef, value: &Value) -> Document {
    let all = table.endpoints_of(&object);
    Document {
        created: created(value),
        json: value.to_string(),
        ready: count(all.iter().filter(|endpoint| endpoint.ready)),
        endpoints: count(all.iter()),
        namespace: Some(object.namespace),
        name: object.name,
    }
}

fn count<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}

/// Addresses with the same ports.
#[derive(Default)]
struct Subset {
    ready: Vec<Value>,
    other: Vec<Value>,
}

/// The older form, of all endpoints of a service together.
fn endpoints(_: &Control, table: &Table, entry: &Entry, object: ObjectRef) -> Option<Document> {
    let service = whole(entry, "v1", "Service")?;
    let spec = table.spec(&object)?;
    let mut groups: BTreeMap<&[Option<u16>], Subset> = BTreeMap::new();
    let all = table.endpoints_of(&object);
    for endpoint in &all {
        let subset = groups.entry(&endpoint.ports).or_default();
        let all = if endpoint.ready { &mut subset.ready } else { &mut subset.other };
        all.push(address(endpoint));
    }
    let subset = |(ports, Subset { ready, other }): (&[Option<u16>], Subset)| {
        let mut subset = json!({ "ports": port_list(spec, ports) });
        for (key, all) in [("addresses", ready), ("notReadyAddresses", other)] {
            if !all.is_empty() {
                subset[key] = all.into();
            }
        }
        subset
    };
    let value = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": object.name,
            "namespace": object.namespace,
            "creationTimestamp": service["metadata"]["creationTimestamp"],
        },
        "subsets": groups.into_iter().map(subset).collect::<Vec<_>>(),
    });
    Some(of_service(table, object, &value))
}

fn address(endpoint: &Endpoint) -> Value {
    let mut value = json!({ "ip": endpoint.address });
    if let Some(node) = &endpoint.node {
        value["nodeName"] = node.as_str().into();
    }
    if let Some(pod) = &endpoint.pod {
        value["targetRef"] = json!({ "kind": "Pod", "namespace": pod.namespace, "name": pod.name });
    }
    value
}

fn port_list(spec: &Spec, numbers: &[Option<u16>]) -> Vec<Value> {
    let known = spec.ports.iter().zip(numbers).filter_map(|(port, number)| Some((port, (*number)?)));
    let port = |(port, number): (&store::services::PortSpec, u16)| {
        let mut value = json!({ "port": number, "protocol": transport_word(port.transport) });
        if !port.name.is_empty() {
            value["name"] = port.name.as_str().into();
        }
        value
    };
    known.map(port).collect()
}

fn all_slices(control: &Control, namespace: Option<&Namespace>) -> Vec<Document> {
    let is_wanted = |object: &ObjectRef| namespace.is_none_or(|wanted| object.namespace == *wanted);
    let given = entries(control, &control.services.mirrors.slices, SLICES);
    let given = given.iter().filter_map(|entry| {
        let object = object(entry, SLICES).filter(is_wanted)?;
        Some(of_slice(object, &whole(entry, "discovery.k8s.io/v1", "EndpointSlice")?))
    });
    let services = entries(control, &control.services.mirrors.services, SERVICES);
    let times = services
        .iter()
        .filter_map(|entry| Some((object(entry, SERVICES)?, created(&whole(entry, "v1", "Service")?))));
    let times: BTreeMap<ObjectRef, Timestamp> = times.collect();
    let table = control.services.table.lock();
    let derived = table.specs().filter(|spec| is_wanted(&spec.object));
    let derived = derived.flat_map(|spec| {
        let created = times.get(&spec.object).copied().unwrap_or_default();
        let slices = slices(spec, &table.endpoints_of(&spec.object)).into_iter();
        slices.filter_map(move |slice| derived_row(&slice, created))
    });
    let mut all: Vec<Document> = given.chain(derived).collect();
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all
}

fn derived_row(slice: &EndpointSlice, created: Timestamp) -> Option<Document> {
    let metadata = &slice.metadata;
    let namespace = metadata.namespace.as_deref()?.parse().ok()?;
    let object = ObjectRef { namespace, name: metadata.name.as_deref()?.parse().ok()? };
    let row = of_slice(object, &serde_json::to_value(slice).ok()?);
    Some(Document { created, ..row })
}

fn of_slice(object: ObjectRef, value: &Value) -> Document {
    let all = value["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let is_ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != Value::Bool(false);
    Document {
        namespace: Some(object.namespace),
        name: object.name,
        created: created(value),
        json: value.to_string(),
        ready: count(all.iter().filter(is_ready)),
        endpoints: count(all.iter()),
    }
}

/// Those that were made, those that something is in, and those that there always are.
fn namespaces(control: &Control) -> Vec<Document> {
    let listing = control.services.store.list(NAMESPACES).map(|listing| listing.entries).unwrap_or_default();
    let made = listing.iter().filter_map(|entry| {
        let name = entry.key.strip_prefix(NAMESPACES)?;
        Some((name.parse::<ObjectName>().ok()?, whole(entry, "v1", "Namespace")?))
    });
    let mut all: BTreeMap<ObjectName, Value> = made.collect();
    let mut used: BTreeSet<String> = ALWAYS.map(str::to_owned).into();
    used.extend(control.services.table.lock().specs().map(|spec| spec.object.namespace.to_string()));
    used.extend(control.inventory.lock().iter().map(|(pod, _)| pod.namespace.to_string()));
    for name in used.iter().filter_map(|name| name.parse::<ObjectName>().ok()) {
        let implied = || json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        all.entry(name.clone()).or_insert_with(implied);
    }
    let row = |(name, mut value): (ObjectName, Value)| {
        value["status"] = json!({ "phase": "Active" });
        let created =
            if value["metadata"]["creationTimestamp"].is_null() { control.started } else { created(&value) };
        Document { namespace: None, name, created, json: value.to_string(), ready: 0, endpoints: 0 }
    };
    all.into_iter().map(row).collect()
}
