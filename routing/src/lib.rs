//! What Ingress, Gateway and HTTPRoute objects mean: objects in, the decision for a request out. Pure.
//!
//! How it works: [`Objects`] holds the cluster's objects, each checked when it comes, so that one that is wrong
//! changes nothing. From them it makes an immutable [`Router`] and a [`Report`] that says, object by object, what was refused and why.
//! [`Router::route`] finds the rule for a request: by hash of the host, then down a tree of path elements, then through the
//! few rules of one path; so it costs the same with ten hosts and with ten thousand.
//!
//! Nothing here opens a socket or reads a clock. Chance is an argument ([`Matched::backend`]).

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod annotations;
mod build;
mod certificate;
pub mod check;
mod choose;
mod condition;
pub mod gateway_api;
mod host;
mod location;
mod path;
mod policy;
mod request;
mod router;
mod rule;

pub use build::{
    CLASS, DEFAULT_CLASS, GATEWAY_CONTROLLER, INGRESS_CONTROLLER, ListenerVerdict, Objects, ParentVerdict,
    Refused, Report, ServiceState, StatusCondition, Verdict,
};
pub use certificate::{Certificate, CertificateError};
pub use condition::{Condition, Conditions};
pub use host::HostPattern;
pub use path::PathPattern;
pub use policy::{
    BackendProtocol, Balance, Cors, HashKey, Policy, RateLimit, Retry, SessionCookie, Timeouts,
};
pub use request::{Fields, RequestView};
pub use router::{Decision, Listener, Matched, Router};
pub use rule::{
    Backend, Canary, HeaderEdits, Mirror, Origin, OriginKind, PathChange, PortRef, Redirect, Rewrite, Rule,
    ServicePort, Target,
};

#[cfg(test)]
mod tests;
