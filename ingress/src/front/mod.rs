//! The side of the clients: listeners, TLS, connections, and what is asked of a request before it is routed.

pub(crate) mod accept;
pub(crate) mod connection;
mod cork;
pub(crate) mod executor;
mod greet;
mod head_scan;
pub(crate) mod hygiene;
pub(crate) mod io;
pub(crate) mod listener;
pub(crate) mod origin;
mod proxy_protocol;
mod rewound;
mod serve;
pub(crate) mod tls;
mod watchdog;
