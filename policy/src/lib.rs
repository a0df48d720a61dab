//! What NetworkPolicy objects mean: objects in, the decision for a flow and its reason out. Pure.
//!
//! How it works: [`read()`] makes a [`Policy`] of an object, or says field by field what is wrong with it. What the policies of a
//! [`Cluster`] mean for a [`Flow`] is written down in [`reference`](mod@reference), as plainly as the specification puts it. A [`Compiler`] makes [`Tables`] of the same objects,
//! which decide at a cost that does not depend on how many policies there are, and tells a datapath what changed in them; [`Compiler::explain`] names the policy and the rule behind a decision, and [`status()`] what
//! of a policy matches nothing.
//!
//! The kinds are Kubernetes' `NetworkPolicy` and our own `ClusterNetworkPolicy`, in tiers before and after them (`docs/design/0012-network-policy.md`).
//!
//! Nothing here opens a socket, reads a clock or starts a thread.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod cluster;
mod compile;
mod model;
mod read;
pub mod reference;
mod status;
mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod verdict;

pub use cluster::{Cluster, Flow, NAMESPACE_NAME_LABEL, NamedPort, Pod};
pub use compile::Compiler;
pub use model::{
    Action, Block, Direction, Labels, Operator, Peer, Place, Pods, Policy, PolicyName, PortRange, Ports,
    Protocol, Requirement, Rule, Scope, Selector,
};
pub use protocol::link::policy::{
    Assigned, Owner, PortMap, Rows, Span, Table, TableChange, TableRule, address_key, port_key,
};
pub use read::{Checked, PolicyKind, read};
pub use status::{PolicyStatus, status};
pub use tables::{Change, Outcome, Tables};
pub use verdict::{Decision, Explanation, Reason, RuleName};

#[cfg(test)]
mod tests;
