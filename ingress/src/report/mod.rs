//! What the operator is told: metrics, access log, health.

pub(crate) mod access_log;
pub(crate) mod admin;
pub(crate) mod metrics;
