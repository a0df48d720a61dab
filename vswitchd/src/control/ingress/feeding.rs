//! The feed `Routes`: objects, and where the requests of the services can go that they lead to.
//!
//! Endpoints are told when the datapath runs the services as they were derived with them, so that a connection to a pod
//! meets a switch that knows it. Requests go to pods directly, so nothing is refused that is told to be gone a moment late.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use protocol::feed::{BackendPort, FeedChange, RouteChange, ServiceBackends};
use protocol::link::Transport;
use protocol::message::Kind;
use protocol::object::Document;
use protocol::{ObjectName, ObjectRef};
use routing::check::{KINDS, KindName};
use routing::{Objects, ServiceState};
use store::cluster::mirror::Change;
use store::cluster::{Entry, MirrorState};
use store::services::{Endpoint, Spec, Table};

use super::super::feed::FeedKey;
use super::super::node::Control;
use super::rows::document_of;
use super::{PREFIX, State};

/// Brings objects and the feed up to date.
pub(super) fn refresh(control: &Control) {
    let mirror = &control.ingress.mirror;
    // As with services: with the store away, what is remembered is better than nothing.
    let is_away = control.ingress.is_recalled && mirror.problem().is_some();
    let is_read = is_away || !matches!(mirror.state(), MirrorState::Stale { .. });
    let mut state = control.ingress.state.lock();
    let mut changed = false;
    if is_read && !state.is_read {
        // A state is known a moment before its changes are on their way.
        for entry in mirror.known().0.into_values() {
            take(control, &mut state.objects, &Change::Put(entry));
        }
        state.is_read = true;
        changed = true;
    }
    for change in mirror.changes().try_iter() {
        control.services.remember(&change);
        take(control, &mut state.objects, &change);
        changed = true;
    }
    if changed {
        let (router, _) = state.objects.build(&|_| ServiceState::Known(1));
        state.services = Objects::services(&router);
        state.ports = router.listeners().map(|listener| listener.port).collect();
        let before = std::mem::take(&mut state.secrets);
        state.secrets = state.objects.wanted_secrets();
        secrets(control, &before, &state.secrets);
    }
    if state.is_read && backends(control, &state) {
        control.feeds.routes.set_complete();
    }
}

/// The kind and the name in a key.
pub(super) fn read_key(key: &str) -> Option<(&'static KindName, &str)> {
    let (plural, name) = key.strip_prefix(PREFIX)?.split_once('/')?;
    Some((KINDS.iter().find(|kind| kind.plural == plural)?, name))
}

fn feed_key(kind: &KindName, name: &str) -> Option<FeedKey> {
    if kind.has_namespaces {
        let object = ObjectRef::parse(name)?;
        return Some(FeedKey::Object(kind.kind, Some(object.namespace), object.name));
    }
    Some(FeedKey::Object(kind.kind, None, name.parse::<ObjectName>().ok()?))
}

fn take(control: &Control, objects: &mut Objects, change: &Change) {
    let routes = &control.feeds.routes;
    match change {
        Change::Put(entry) => {
            let Some((kind, name)) = read_key(&entry.key) else { return };
            let Some(document) = document_of(kind, name, entry) else { return };
            if let Err(error) = objects.put(kind.kind, &document) {
                tracing::warn!("{} {name} is not followed: {error}", kind.name);
            }
            if let (true, Some(key)) = (kind.kind != Kind::Secrets, feed_key(kind, name)) {
                routes.set(key, told(kind, document));
            }
        }
        Change::Delete { key } => {
            let Some((kind, name)) = read_key(key) else { return };
            objects.remove(kind.kind, name);
            if let Some(key) = feed_key(kind, name) {
                routes.remove(&key);
            }
        }
    }
}

fn told(kind: &KindName, document: Document) -> FeedChange {
    FeedChange::Route(RouteChange::Object { kind: kind.kind, document })
}

/// Tells the Secrets that are led to and no others: whoever follows holds no key that it does not need.
fn secrets(control: &Control, before: &BTreeSet<ObjectRef>, wanted: &BTreeSet<ObjectRef>) {
    let Some(kind) = KINDS.iter().find(|kind| kind.kind == Kind::Secrets) else { return };
    let known = control.ingress.mirror.known().0;
    let routes = &control.feeds.routes;
    for secret in before.union(wanted) {
        let name = secret.to_string();
        let Some(key) = feed_key(kind, &name) else { continue };
        let entry: Option<&Entry> =
            known.get(&super::key_of(kind, secret.namespace.as_str(), secret.name.as_str()));
        match entry.filter(|_| wanted.contains(secret)).and_then(|entry| document_of(kind, &name, entry)) {
            Some(document) => routes.set(key, told(kind, document)),
            None => routes.remove(&key),
        }
    }
}

/// Tells where requests can go, of the services that are led to. False if the datapath is not there yet.
fn backends(control: &Control, state: &State) -> bool {
    let routes = &control.feeds.routes;
    let states = Arc::clone(control.services.table().states());
    // The switch may be waiting for a datapath; who asks for services does not wait with it.
    if !control.services.is_known() || !control.switch.runs_services(&states) {
        return false;
    }
    let table = control.services.table();
    if !Arc::ptr_eq(table.states(), &states) {
        // Others were derived meanwhile, and whoever did wakes us.
        return false;
    }
    let told: Vec<FeedKey> = routes.keys(|key| matches!(key, FeedKey::Backends(..)));
    for key in told {
        let FeedKey::Backends(namespace, name) = &key else { continue };
        let object = ObjectRef { namespace: namespace.clone(), name: name.clone() };
        if !state.services.contains(&object) || table.spec(&object).is_none() {
            routes.remove(&key);
        }
    }
    for object in &state.services {
        let Some(spec) = table.spec(object) else { continue };
        let backends = service(&table, object, spec);
        let key = FeedKey::Backends(object.namespace.clone(), object.name.clone());
        routes.set(key, FeedChange::Route(RouteChange::Backends(backends)));
    }
    true
}

fn service(table: &Table, object: &ObjectRef, spec: &Spec) -> ServiceBackends {
    let endpoints = table.endpoints_of(object);
    let ports = spec.ports.iter().enumerate().filter(|(_, port)| port.transport == Transport::Tcp);
    let ports = ports.map(|(index, port)| BackendPort {
        name: port.name.clone(),
        number: port.number,
        app_protocol: port.app_protocol.clone(),
        endpoints: places(&endpoints, index),
    });
    ServiceBackends { namespace: object.namespace.clone(), name: object.name.clone(), ports: ports.collect() }
}

/// Ready endpoints of the port at an index; where there is none, those that terminate and still serve (KEP-1669).
fn places(endpoints: &[Endpoint], index: usize) -> Vec<(IpAddr, u16)> {
    let place = |endpoint: &Endpoint| Some((endpoint.address, (*endpoint.ports.get(index)?)?));
    let ready: BTreeSet<_> =
        endpoints.iter().filter(|one| one.ready && !one.terminating).filter_map(place).collect();
    if !ready.is_empty() {
        return ready.into_iter().collect();
    }
    let last: BTreeSet<_> = endpoints.iter().filter(|one| one.serving).filter_map(place).collect();
    last.into_iter().collect()
}

/// What is known of a service's port, for reports.
pub(super) fn state_of(table: &Table, wanted: &routing::ServicePort) -> ServiceState {
    let Some(spec) = table.spec(&wanted.service) else { return ServiceState::NoService };
    let is_meant = |port: &store::services::PortSpec| match &wanted.port {
        routing::PortRef::Number(number) => port.number == *number,
        routing::PortRef::Name(name) => port.name == *name,
    };
    let found = spec.ports.iter().position(|port| port.transport == Transport::Tcp && is_meant(port));
    found.map_or(ServiceState::NoPort, |index| {
        ServiceState::Known(places(&table.endpoints_of(&wanted.service), index).len())
    })
}
