//! Layer 3: the router that is the pods' default gateway (RFC 1812).

pub(crate) mod icmp;
pub(crate) mod route;
pub(crate) mod router;
