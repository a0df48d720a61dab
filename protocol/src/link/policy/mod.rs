//! Network policies as a datapath is told them: decision tables, and whose they are (`docs/design/0012-network-policy.md`).
//!
//! Policies, identities, pods, nodes and tables have numbers, which mean something until the next `reset_policies`.

mod check;
mod rows;
mod split;
mod table;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use rows::{DeniedBy, DeniedFlow, PolicyCounts};
pub use split::MAX_PIECE_BYTES;
pub use table::{Action, More, PortMap, Span, Table, TableRule, address_key, port_key};

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// A pod.
    Pod {
        /// Its number.
        pod: u32,
        /// What policies can see of it, as a number.
        identity: u32,
        /// The number of the node where it runs.
        node: Option<u32>,
    },
    /// A node, by its number.
    Node(u32),
}

/// The tables of an identity's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// For what comes to them.
    pub ingress: u32,
    /// For what leaves them.
    pub egress: u32,
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableChange {
    /// It is new, or all of it is.
    Whole(Table),
    /// It goes on: what is larger than a message is told in parts.
    More(More),
    /// Some identities are decided otherwise.
    Rows(Rows),
    /// No pod has it any more.
    Gone,
}

/// A part of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// These of its maps, which no other row has.
    pub maps: Vec<(u32, PortMap)>,
    /// What follows in maps that are larger than a message.
    pub more: Vec<(u32, PortMap)>,
    /// Identities and their maps; 0 for none.
    pub rows: Vec<(u32, u32)>,
}

/// What has changed, or a piece of it. None: it is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// By number.
    pub tables: Vec<(u32, TableChange)>,
    /// By number.
    pub identities: Vec<(u32, Option<Assigned>)>,
    /// By address.
    pub addresses: Vec<(IpAddr, Option<Owner>)>,
    /// Policies that are gone: what was counted of them goes, before their numbers are another's.
    pub gone: Vec<u32>,
}

impl PolicyChange {
    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.identities.is_empty()
            && self.addresses.is_empty()
            && self.gone.is_empty()
    }
}

impl TableChange {
    /// Carries it out on the table there is; `None`: there is none, before or afterwards.
    #[must_use]
    pub fn applied(&self, table: Option<Table>) -> Option<Table> {
        match (self, table) {
            (Self::Whole(table), _) => Some(table.clone()),
            (Self::More(more), Some(mut table)) => {
                table.append(more);
                Some(table)
            }
            (Self::Rows(rows), Some(mut table)) => {
                rows.maps.iter().for_each(|(at, map)| table.set_map(*at, map.clone()));
                rows.more.iter().for_each(|(at, map)| table.append_map(*at, map));
                rows.rows.iter().for_each(|(identity, map)| table.set_row(*identity, *map));
                Some(table)
            }
            (Self::Gone | Self::More(_) | Self::Rows(_), _) => None,
        }
    }
}
