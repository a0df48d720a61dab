//! What a container runtime asks of `vpod-cni`, read and checked, and what it is answered. Pure.
//!
//! How it works: [`read`] takes the environment and standard input and gives one [`Asked`], in which nothing is left to
//! check: an [`Attachment`] is what the switch is asked for. What the switch answers becomes an [`AddResult`], which is written in the
//! version that was asked for; every failure is an [`Error`], whose text names the thing. All that a version of the
//! specification has differently is in `version`, `result` and the verbs of `call`.
//!
//! Specification: containernetworking/cni, SPEC.md and CONVENTIONS.md, versions 0.3.1, 0.4.0, 1.0.0 and 1.1.0.
//!
//! Nothing here opens a file or a socket, or looks at a namespace.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod args;
mod attached;
mod attachment;
mod call;
pub mod check;
mod config;
mod environment;
mod error;
pub mod gc;
mod json;
mod pod;
pub mod result;
mod status;
pub mod version;
mod wire;

pub use attached::Attached;
pub use attachment::Attachment;
pub use call::{Asked, Call, Verb, read};
pub use config::{
    Bandwidth, IPAM_TYPE, IpRange, L4Protocol, MAX_BURST_BITS, MAX_CONFIG_BYTES, MAX_PORT_MAPPINGS, MIN_MTU,
    PortMapping, RangeSet, Rate, Resolver, Role,
};
pub use environment::{Command, Variables};
pub use error::{Code, Error};
pub use gc::ValidAttachments;
pub use pod::Pod;
pub use protocol::attachment::{
    AttachmentKey, ContainerId, IdentityError, InterfaceName, MAX_ID_LEN, MAX_INTERFACE_LEN, MAX_NETNS_LEN,
    NetnsPath, NetworkName, PodUid,
};
pub use result::AddResult;
pub use status::Readiness;
pub use version::Version;

/// What a person is told who calls the plugin without `CNI_COMMAND`, on standard error.
#[must_use]
pub fn about(role: Role) -> String {
    let what = match role {
        Role::Interface => "vpod-cni",
        Role::Ipam => IPAM_TYPE,
    };
    format!(
        "CNI plugin {what} {}\nCNI protocol versions supported: {}",
        env!("CARGO_PKG_VERSION"),
        version::supported()
    )
}

#[cfg(test)]
mod tests;
