//! What one client may use: connections, and requests per time.

pub(crate) mod concurrent;
pub(crate) mod connections;
pub(crate) mod rate;
