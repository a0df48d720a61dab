//! Pods: their table, and a file for each thing done to one.

pub(crate) mod capture;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
mod document;
pub(crate) mod exec;
pub(crate) mod logs;
pub(crate) mod publish;
pub(crate) mod run_container;
pub(crate) mod summary;
pub(crate) mod wait;

use protocol::message::{Items, Kind};
use protocol::object::{Pod, Timestamp};
use serde_json::Value;

use crate::output::table::{Column, all_namespaces, column, wide};
use crate::output::{Resource, age, or_none};

/// Where `STATUS` is among the columns.
const STATUS_COLUMN: usize = 3;

impl Resource for Pod {
    const KIND: Kind = Kind::Pods;
    const COLUMNS: &'static [Column] = &[
        all_namespaces("NAMESPACE"),
        column("NAME"),
        column("READY"),
        column("STATUS"),
        column("RESTARTS"),
        column("AGE"),
        wide("IP"),
        wide("NODE"),
        wide("MAC"),
        wide("PORT"),
        wide("NETNS"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Pods(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let (ready, of) = summary::ready_containers(self);
        vec![
            self.metadata.namespace.to_string(),
            self.metadata.name.to_string(),
            format!("{ready}/{of}"),
            summary::status(self),
            summary::restarts(self, now),
            age::human(self.metadata.creation_timestamp.until(now)),
            or_none(addresses(self)),
            self.spec.node_name.clone(),
            self.spec.mac.to_string(),
            or_none(self.status.port.map(|port| port.to_string()).unwrap_or_default()),
            or_none(self.status.netns.clone()),
        ]
    }

    fn id(&self) -> String {
        self.metadata.key()
    }

    fn is_named(&self, name: &str) -> bool {
        self.metadata.name.as_str() == name
    }

    fn document(&self) -> Value {
        document::of_pod(self)
    }

    /// As kubectl has it: without the namespace, which the request has named.
    fn name(&self) -> String {
        format!("pod/{}", self.metadata.name)
    }

    fn cells_when_gone(&self, now: Timestamp) -> Vec<String> {
        let mut cells = self.cells(now);
        if let Some(status) = cells.get_mut(STATUS_COLUMN) {
            "Terminated".clone_into(status);
        }
        cells
    }
}

/// Its addresses, joined by commas.
pub(crate) fn addresses(pod: &Pod) -> String {
    pod.spec.pod_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
