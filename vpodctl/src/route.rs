//! Where packets go, by destination: `get routes`.

use protocol::message::{Items, Kind};
use protocol::object::{Route, RouteVia, Timestamp};
use serde_json::{Value, json};

use crate::output::table::{Column, column};
use crate::output::{Resource, document, or_none};

impl Resource for Route {
    const KIND: Kind = Kind::Routes;
    const COLUMNS: &'static [Column] =
        &[column("DESTINATION"), column("VIA"), column("PEER"), column("ADDRESS"), column("MTU")];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Routes(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let none = || or_none("");
        let (peer, address) = match &self.via {
            RouteVia::Peer { name, address } => (name.clone(), address.to_string()),
            RouteVia::Local | RouteVia::Gateway | RouteVia::Unreachable => (none(), none()),
        };
        let mtu = if self.via == RouteVia::Unreachable { none() } else { self.mtu.to_string() };
        vec![self.destination.to_string(), via(&self.via).to_owned(), peer, address, mtu]
    }

    fn id(&self) -> String {
        self.destination.to_string()
    }

    fn is_named(&self, name: &str) -> bool {
        let through = matches!(&self.via, RouteVia::Peer { name: peer, .. } if peer == name);
        through || self.destination.to_string() == name
    }

    fn document(&self) -> Value {
        let mut object = document::of_kind("Route", self);
        object["via"] = json!(via(&self.via));
        if let RouteVia::Peer { name, address } = &self.via {
            object["peer"] = json!({ "name": name, "address": address });
        }
        object
    }
}

const fn via(via: &RouteVia) -> &'static str {
    match via {
        RouteVia::Local => "local",
        RouteVia::Gateway => "gateway",
        RouteVia::Peer { .. } => "tunnel",
        RouteVia::Unreachable => "unreachable",
    }
}
