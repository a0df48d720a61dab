//! Keeps [`Names`] as the feed tells of changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use protocol::feed::NameChange;
use protocol::message::PodRef;

use super::Zone;
use super::names::{Names, PodKey, Pointer};
use super::service::{self, Host, Service};
use crate::wire::name::{Name, push_label};

/// See the module's text.
pub struct Register {
    names: Names,
    /// Where each pod is, to forget it there.
    pods: HashMap<PodRef, IpAddr>,
}

impl Default for Register {
    fn default() -> Self {
        Self { names: Names::new(), pods: HashMap::new() }
    }
}

impl Register {
    /// Takes a change in. The same change twice is as once.
    pub fn apply(&mut self, zone: &Zone, change: &NameChange) {
        match change {
            NameChange::Namespace(namespace) => {
                if let Some(label) = label(namespace.as_str()) {
                    self.names.namespaces.insert(label, ());
                }
            }
            NameChange::NamespaceGone(namespace) => {
                if let Some(label) = label(namespace.as_str()) {
                    self.names.namespaces.remove(&label);
                }
            }
            NameChange::Service(service) => match Service::new(service) {
                Some(service) => self.insert(zone, service),
                None => self.remove(service.namespace.as_str(), service.name.as_str()),
            },
            NameChange::ServiceGone { namespace, name } => self.remove(namespace.as_str(), name.as_str()),
            NameChange::Pod { pod, address } => {
                self.forget_pod(pod);
                self.learn_pod(pod, *address);
            }
            NameChange::PodGone(pod) => self.forget_pod(pod),
        }
    }

    /// What there is now.
    #[must_use]
    pub fn names(&self, serial: u32) -> Names {
        Names { serial, ..self.names.clone() }
    }

    fn insert(&mut self, zone: &Zone, service: Service) {
        let service = Arc::new(service);
        let old = self.names.services.insert(service.key.clone(), Arc::clone(&service));
        if old.as_deref() == Some(&service) {
            return;
        }
        if let Some(old) = old {
            self.forget_addresses(&old);
        }
        self.learn_addresses(zone, &service);
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        let Some(key) = service::key(namespace, name) else { return };
        if let Some(old) = self.names.services.remove(&key) {
            self.forget_addresses(&old);
        }
    }

    fn learn_addresses(&mut self, zone: &Zone, service: &Service) {
        let Some(hosts) = service.hosts() else { return };
        for host in &hosts.hosts {
            let Some(target) = host_name(zone, service, host) else { continue };
            for address in addresses(host) {
                let mut pointers = self
                    .names
                    .reverse
                    .lookup(&address)
                    .map(|known| known.as_ref().clone())
                    .unwrap_or_default();
                let list = if hosts.headless { &mut pointers.endpoints } else { &mut pointers.cluster };
                if list.iter().all(|known| known.service != service.key) {
                    list.push(Pointer { target: target.clone(), service: service.key.clone() });
                    list.sort();
                    self.names.reverse.insert(address, Arc::new(pointers));
                }
            }
        }
    }

    fn forget_addresses(&mut self, service: &Service) {
        let Some(hosts) = service.hosts() else { return };
        for address in hosts.addresses() {
            let Some(known) = self.names.reverse.lookup(&address) else { continue };
            let mut pointers = known.as_ref().clone();
            pointers.cluster.retain(|pointer| pointer.service != service.key);
            pointers.endpoints.retain(|pointer| pointer.service != service.key);
            if pointers.is_empty() {
                self.names.reverse.remove(&address);
            } else {
                self.names.reverse.insert(address, Arc::new(pointers));
            }
        }
    }

    fn learn_pod(&mut self, pod: &PodRef, address: IpAddr) {
        let Some(key) = pod_key(pod, address) else { return };
        let pods = self.names.pods.lookup(&key).copied().unwrap_or_default();
        self.names.pods.insert(key, pods.saturating_add(1));
        self.pods.insert(pod.clone(), address);
    }

    fn forget_pod(&mut self, pod: &PodRef) {
        let Some(key) = self.pods.remove(pod).and_then(|address| pod_key(pod, address)) else { return };
        // Pods in the node's network share its address.
        match self.names.pods.lookup(&key).copied() {
            Some(pods @ 2..) => {
                self.names.pods.insert(key, pods - 1);
            }
            _ => {
                self.names.pods.remove(&key);
            }
        }
    }
}

fn label(text: &str) -> Option<Box<[u8]>> {
    let mut label = Vec::with_capacity(text.len() + 1);
    push_label(&mut label, text.as_bytes())?;
    Some(label.into())
}

fn pod_key(pod: &PodRef, address: IpAddr) -> Option<PodKey> {
    PodKey::new(&label(pod.namespace.as_str())?, address)
}

fn addresses(host: &Host) -> impl Iterator<Item = IpAddr> {
    host.v4.iter().copied().map(IpAddr::V4).chain(host.v6.iter().copied().map(IpAddr::V6))
}

/// The whole name of a service's host.
fn host_name(zone: &Zone, service: &Service, host: &Host) -> Option<Name> {
    let labels = [&host.label[..], &service.key[..], b"\x03svc"].concat();
    Name::below(&labels, zone.origin())
}
