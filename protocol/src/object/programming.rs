//! How far changes of the cluster have come: what is active in the datapaths of which nodes.

use serde::{Deserialize, Serialize};

/// Which nodes run the services of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Programming {
    /// The revision asked about; all changes of services, slices and pods up to it count.
    pub revision: u64,
    /// What the store has come to.
    pub store_revision: u64,
    /// Every node that is alive, by name.
    pub nodes: Vec<NodeProgramming>,
}

/// One node's part of [`Programming`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeProgramming {
    /// Its name.
    pub name: String,
    /// Its datapath runs everything up to this revision; `None` as long as it has not said so.
    pub active: Option<u64>,
}

impl Programming {
    /// All nodes run it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Nodes that do not run it yet, as far as is known.
    pub fn missing(&self) -> impl Iterator<Item = &NodeProgramming> {
        self.nodes.iter().filter(|node| node.active.is_none_or(|active| active < self.revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_behind_or_silent_is_missing() {
        let node = |name: &str, active| NodeProgramming { name: name.to_owned(), active };
        let nodes = vec![node("a", Some(7)), node("b", Some(6)), node("c", None), node("d", Some(9))];
        let programming = Programming { revision: 7, store_revision: 9, nodes };
        let missing: Vec<&str> = programming.missing().map(|node| node.name.as_str()).collect();
        assert_eq!(missing, ["b", "c"]);
        assert!(!programming.is_complete());
    }
}
