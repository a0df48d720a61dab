//! What there is in the cluster at one moment. Copied in constant time, never changed once copied.

use std::net::IpAddr;
use std::sync::Arc;

use super::service::Service;
use super::table::Table;
use crate::wire::name::{MAX_LABEL_BYTES, Name};

/// All names.
#[derive(Clone)]
pub struct Names {
    pub(super) services: Table<Box<[u8]>, Arc<Service>>,
    pub(super) namespaces: Table<Box<[u8]>, ()>,
    pub(super) pods: Table<PodKey, u32>,
    pub(super) reverse: Table<IpAddr, Arc<Pointers>>,
    /// Of the SOA record: grows with what there is.
    pub serial: u32,
}

/// A pod's namespace, as a label in wire form, and address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PodKey {
    namespace: [u8; MAX_LABEL_BYTES + 1],
    address: IpAddr,
}

impl PodKey {
    /// `None` for more than one label.
    pub(super) fn new(label: &[u8], address: IpAddr) -> Option<Self> {
        let mut namespace = [0; MAX_LABEL_BYTES + 1];
        namespace.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self { namespace, address })
    }
}

/// The names of an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pointers {
    /// Of a service that has it as its own.
    pub(super) cluster: Vec<Pointer>,
    /// Of endpoints that have it, one per service.
    pub(super) endpoints: Vec<Pointer>,
}

/// One name of an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    /// The name.
    pub target: Name,
    /// The service it is because of.
    pub(super) service: Box<[u8]>,
}

impl Pointers {
    /// A service's own address is its alone; else whatever endpoint has it.
    #[must_use]
    pub(super) fn answer(&self) -> &[Pointer] {
        if self.cluster.is_empty() { &self.endpoints } else { &self.cluster }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.endpoints.is_empty()
    }
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            services: Table::new(),
            namespaces: Table::new(),
            pods: Table::new(),
            reverse: Table::new(),
            serial: 0,
        }
    }

    /// A service by its name's and namespace's labels in wire form.
    #[must_use]
    pub fn service(&self, key: &[u8]) -> Option<&Service> {
        self.services.lookup(key).map(Arc::as_ref)
    }

    /// Whether there is a namespace of this label in wire form.
    #[must_use]
    pub fn has_namespace(&self, label: &[u8]) -> bool {
        self.namespaces.lookup(label).is_some()
    }

    /// Whether a pod in the namespace has the address.
    #[must_use]
    pub fn has_pod(&self, namespace: &[u8], address: IpAddr) -> bool {
        PodKey::new(namespace, address).is_some_and(|key| self.pods.lookup(&key).is_some())
    }

    /// The names of an address.
    #[must_use]
    pub fn pointers(&self, address: IpAddr) -> &[Pointer] {
        self.reverse.lookup(&address).map_or(&[], |pointers| pointers.answer())
    }

    /// How many services there are.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }
}
