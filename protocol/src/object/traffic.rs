//! What services and their backends have to do.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::DropCount;
use crate::name::{Namespace, ObjectName};

/// Connections and packets of a service port, or of one of its backends, on this node, since its datapath process began
/// or the backend came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCounters {
    /// Connections that are open now.
    pub active: u64,
    /// Connections that were begun.
    pub connections: u64,
    /// Packets of clients; a superframe is one. Up to a second late.
    pub packets_in: u64,
    /// Bytes of those, from the Ethernet header on.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes of those.
    pub bytes_out: u64,
    /// Connections that were refused, by reason; of services only.
    pub refused: Vec<DropCount>,
}

impl ServiceCounters {
    /// Counts what `more` has as well.
    pub fn add(&mut self, more: &Self) {
        let Self { active, connections, packets_in, bytes_in, packets_out, bytes_out, refused } = more;
        self.active += active;
        self.connections += connections;
        self.packets_in += packets_in;
        self.bytes_in += bytes_in;
        self.packets_out += packets_out;
        self.bytes_out += bytes_out;
        for drop in refused {
            match self.refused.iter_mut().find(|known| known.reason == drop.reason) {
                Some(known) => known.frames += drop.frames,
                None => self.refused.push(drop.clone()),
            }
        }
    }
}

/// A row of `get traffic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Where the service lives.
    pub namespace: Namespace,
    /// Its name.
    pub service: ObjectName,
    /// Its port: the name, or the number where it has none.
    pub port: String,
    /// IP protocol number.
    pub protocol: u8,
    /// The backend, if the row is not about all of them.
    pub backend: Option<Backend>,
    /// What was counted.
    pub counters: ServiceCounters,
}

/// Where a service leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// `namespace/name` of the pod, if it is one's.
    pub pod: String,
}
