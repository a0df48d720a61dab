//! What the switch would do with a packet, and why.

use serde::{Deserialize, Serialize};

use super::ConnTuple;

/// The walk of a packet that nobody sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Where it would come in.
    pub ingress: String,
    /// IP protocol number.
    pub protocol: u8,
    /// Its addresses and ports as it is sent.
    pub packet: ConnTuple,
    /// Bytes from the IP header on.
    pub size: u16,
    /// What is decided, in order.
    pub steps: Vec<TraceStep>,
    /// It would leave by this port, if it is not dropped.
    pub egress: Option<String>,
    /// Its addresses and ports as it would leave.
    pub becomes: Option<ConnTuple>,
    /// It would be dropped for this reason.
    pub drop: Option<String>,
    /// What the sender would be told of that.
    pub error: Option<String>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceStep {
    /// What was to be decided, in one word.
    pub step: String,
    /// What was.
    pub result: String,
    /// Why.
    pub reason: String,
}
