//! Services: objects in, what the datapath balances out. Pure, except for [`mod@write`], which keeps objects and what
//! is allocated to them in a cluster's store.
//!
//! How it works: a Service ([`Spec`]) and an EndpointSlice ([`SliceSpec`]) are checked once. [`Table`] holds those of
//! the cluster beside its pods ([`PodFacts`]) and derives, for one node, a [`ServiceState`] per port of each service. Only
//! what a change can concern is derived again: a pod's change costs its own services, found by their selectors. The
//! states are shared ([`Services`]), so that [`diff`] looks only where something happened.
//!
//! Derived endpoints are not stored: every node derives the same from the same objects.

pub mod allocate;
pub mod announce;
mod change;
mod defaults;
mod endpoints;
mod ids;
pub mod load_balancer;
mod map;
mod names;
mod pods;
mod problem;
mod slice;
mod spec;
mod table;
mod view;
mod words;
pub mod write;

pub use change::{ServiceChanges, ServiceState, diff};
pub use defaults::fill_in;
pub use endpoints::{Backends, Endpoint, Place, backends, of_pod, of_slice};
pub use ids::ServiceIds;
pub use load_balancer::{AddressPool, AddressPools, AddressRange, Tenants};
pub use map::{Difference, Services};
pub use names::{ObjectRef, PortKey, transport_word};
pub use pods::{HostPort, NamedPort, PodFacts};
pub use problem::{Invalid, Problem};
pub use slice::{SERVICE_LABEL, SliceEndpoint, SlicePort, SliceSpec};
pub use spec::{
    Distribution, MAX_PORTS, PortSpec, Reach, SCHEDULER_ANNOTATION, Spec, Target, WEIGHT_ANNOTATION,
};
pub use table::{Health, Renamed, Settings, Table};
pub use view::slices;
pub use words::{LOAD_BALANCER_CLASS, SCHEDULERS, scheduler};

#[cfg(test)]
mod tests;
