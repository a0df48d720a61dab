//! Flows that policies have refused: `get denials`.

use protocol::message::{Items, Kind};
use protocol::object::{Denial, PolicyDirection, Timestamp};
use serde_json::Value;

use super::{destination, source};
use crate::flow::protocol_name;
use crate::output::table::{Column, column, wide};
use crate::output::{Resource, age, document};

impl Resource for Denial {
    const KIND: Kind = Kind::Denials;
    const COLUMNS: &'static [Column] = &[
        column("AGE"),
        column("PROTOCOL"),
        column("SOURCE"),
        column("DESTINATION"),
        column("DIRECTION"),
        column("DENIED-BY"),
        wide("NUMBER"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Denials(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let direction = match self.direction {
            PolicyDirection::Ingress => "ingress",
            PolicyDirection::Egress => "egress",
        };
        vec![
            age::human(self.seen.until(now)),
            protocol_name(self.flow.protocol),
            source(&self.flow),
            destination(&self.flow),
            direction.to_owned(),
            self.reason.clone(),
            self.number.to_string(),
        ]
    }

    fn id(&self) -> String {
        self.number.to_string()
    }

    fn is_named(&self, name: &str) -> bool {
        self.id() == name
    }

    fn document(&self) -> Value {
        document::of_kind("Denial", self)
    }

    /// It was said; that it is forgotten some day is no news.
    fn differs(&self, _: &Self) -> bool {
        false
    }
}
