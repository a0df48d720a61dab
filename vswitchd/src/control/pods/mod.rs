//! Pods: making, showing and removing them.

pub(crate) mod attach;
pub(crate) mod containers;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod dns;
pub(crate) mod files;
pub(crate) mod host_ports;
pub(crate) mod network;
pub(crate) mod place;
pub(crate) mod recover;
pub(crate) mod teardown;
mod view;

pub(crate) use view::{entry, list, show};

use protocol::message::{ApiError, ErrorCode, PodRef};

pub(crate) fn not_found(pod: &PodRef) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("pod {pod} does not exist; see: vpodctl get pods -n {}", pod.namespace),
    )
}
