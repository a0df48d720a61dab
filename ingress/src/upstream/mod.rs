//! The side of the pods: which endpoint, over which connection, and what comes back.

pub(crate) mod balance;
pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod h1;
pub(crate) mod patience;
pub(crate) mod pool;
pub(crate) mod registry;

/// What is spoken with endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/2 without TLS; gRPC too.
    H2c,
}
