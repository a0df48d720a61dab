//! The cluster's store.

use protocol::message::{ApiError, ErrorCode};

use super::node::Control;

/// Takes a node that will not come back out of the cluster.
pub(crate) fn delete_node(control: &Control, name: &str) -> Result<(), ApiError> {
    let _ = control;
    let text = format!("node {name}: this node is in no cluster with a store; remove its [[peer]] and send SIGHUP");
    Err(ApiError::new(ErrorCode::Invalid, text))
}
