//! The side of the clients: listeners, TLS, connections, and what is asked of a request before it is routed.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod executor;
mod head_scan;
pub(crate) mod hygiene;
pub(crate) mod io;
pub(crate) mod listener;
pub(crate) mod origin;
mod proxy_protocol;
mod rarely;
pub(crate) mod tls;
