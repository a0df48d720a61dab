//! What two processes of vpod must agree on: addresses, names, objects, requests and their codec.
//!
//! Three conversations use it: `vpodctl` (and later DNS, ingress and CNI) with `vswitchd` over the
//! control socket ([`message`], [`client`]), and the control process with its datapath child over
//! a private socket ([`link`]). Everything here is pure data; [`client`] is the one file with a
//! socket in it. Nothing here knows about kernels, TAPs or stores.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod addr;
pub mod attachment;
pub mod client;
pub mod codec;
pub mod feed;
pub mod link;
pub mod message;
pub mod name;
pub mod object;
pub mod problem;

pub use addr::{Mac, Offloads, PeerId, PortId, ServiceId};
pub use name::{LabelError, NameError, Namespace, ObjectName, ObjectRef};
