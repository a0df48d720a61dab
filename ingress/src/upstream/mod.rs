//! The side of the pods: which endpoint, over which connection, and what comes back.

pub(crate) mod balance;
pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod pool;
pub(crate) mod registry;
