//! The tables as rows, for the control process. Allocates; called between batches, a page at a time.
//!
//! A cursor is a position: configured rows first, then, from [`LEARNED`] on, slots of the learned
//! table. Positions are stable while a table changes, so paging shows no row twice.

mod policies;
mod services;

use std::net::IpAddr;

use etherparse::IpNumber;
use protocol::link::Summary;
use protocol::object::{Connection, FdbEntry, Flow, NeighborEntry, PeerHealth};
use protocol::{PeerId, PortId};

use crate::l2::fdb::Station;
use crate::switch::Switch;
use crate::time::{Instant, millis};

/// First cursor of the learned rows.
const LEARNED: u64 = 1 << 32;
/// ... of the next hops outside.
const OUTSIDE: u64 = 1 << 33;

impl Switch {
    /// At most `max` rows of the forwarding database, and the cursor of the next page. The router is
    /// shown at the gateway port, whose node it shares the address with.
    #[must_use]
    pub fn fdb_page(&self, cursor: u64, max: usize, now: Instant) -> (Vec<FdbEntry>, Option<u64>) {
        let fdb = &self.slow_path.fdb;
        let fixed = fdb.fixed(fixed_from(cursor)).filter_map(|(position, mac, station)| {
            let (Station::Static(port) | Station::Learned(port)) = station else {
                let port = self.ports.gateway()?;
                return Some((position as u64, self.fdb_row(mac, port, true, 0)));
            };
            Some((position as u64, self.fdb_row(mac, port, true, 0)))
        });
        let learned = fdb.learned().rows_from(learned_from(cursor)).map(|(slot, entry)| {
            let age = millis(now.saturating_since(entry.last_used));
            (LEARNED + slot as u64, self.fdb_row(entry.value.mac, entry.owner, false, age))
        });
        page(fixed.chain(learned), max)
    }

    /// At most `max` rows of the neighbour table, and the cursor of the next page.
    #[must_use]
    pub fn neighbors_page(&self, cursor: u64, max: usize, now: Instant) -> (Vec<NeighborEntry>, Option<u64>) {
        let neighbors = &self.slow_path.neighbors;
        let row = |ip, mac, port, is_static, age_ms| NeighborEntry {
            ip,
            mac,
            port,
            port_name: self.port_name(port),
            is_static,
            age_ms,
        };
        let fixed = neighbors
            .fixed(fixed_from(cursor))
            .map(|(position, ip, n)| (position as u64, row(ip, n.mac, n.port, true, 0)));
        let learned = neighbors.learned().rows_from(learned_from(cursor)).map(|(slot, entry)| {
            let age = millis(now.saturating_since(entry.last_used));
            let learned = entry.value;
            (LEARNED + slot as u64, row(learned.ip, learned.mac, entry.owner, false, age))
        });
        let outside = self.slow_path.uplink.next_hops_from(position_from(cursor, OUTSIDE));
        let outside = outside.map(|(slot, next_hop)| {
            let age = millis(now.saturating_since(next_hop.heard));
            (
                OUTSIDE + slot as u64,
                row(IpAddr::V4(next_hop.address), next_hop.mac, next_hop.port, false, age),
            )
        });
        page(fixed.chain(learned).chain(outside), max)
    }

    /// At most `max` cached flows, and the cursor of the next page. Flows of an older configuration
    /// are not shown: they no longer say what would happen.
    #[must_use]
    pub fn flows_page(&self, cursor: u64, max: usize, now: Instant) -> (Vec<Flow>, Option<u64>) {
        let from = usize::try_from(cursor).unwrap_or(usize::MAX);
        let rows = self.flows.rows_from(from).map(|(slot, entry)| {
            let key = entry.key.unpack();
            let egress = entry.forward.egress;
            let flow = Flow {
                ingress: key.ingress,
                ingress_name: self.port_name(key.ingress),
                egress,
                egress_name: self.port_name(egress),
                protocol: key.protocol,
                source: IpAddr::V4(key.source),
                source_port: key.source_port,
                destination: IpAddr::V4(key.destination),
                // What stands there for ICMP tells requests from replies.
                destination_port: if key.protocol == IpNumber::ICMP.0 { 0 } else { key.destination_port },
                frames: entry.frames,
                bytes: entry.bytes,
                idle_ms: millis(now.saturating_since(entry.last_used)),
                becomes: self.translation(&entry.forward).ok().flatten().map(|to| conn_tuple(to.to())),
            };
            (slot as u64, flow)
        });
        page(rows, max)
    }

    /// At most `max` translated connections, and the cursor of the next page. The same in all workers.
    #[must_use]
    pub fn connections_page(&self, cursor: u64, max: usize, now: Instant) -> (Vec<Connection>, Option<u64>) {
        let from = u32::try_from(cursor).unwrap_or(u32::MAX);
        let rows = self.slow_path.shared.connections.rows_from(from);
        page(rows.map(|(slot, row)| (u64::from(slot), row.object(self.port_name(row.owner()), now))), max)
    }

    /// Numbers for `status`; `workers` is the caller's.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (fdb, neighbors) = (&self.slow_path.fdb, &self.slow_path.neighbors);
        let mut summary = Summary {
            epoch: self.epoch,
            workers: 0,
            ports: count(self.ports.iter().count()),
            fdb_entries: count(fdb.fixed(0).count() + fdb.learned().len()),
            neighbors: count(neighbors.fixed(0).count() + neighbors.learned().len()),
            flows: self.flows.live(),
            rx_frames: 0,
            forwarded: 0,
            dropped: 0,
            merged: self.merged,
            flow_evictions: self.flows.evictions(),
            connections: self.slow_path.shared.connections.len(),
            connection_events: self.slow_path.shared.connections.counters().events(),
            affinity_evictions: self.slow_path.services.shared().affinity.evictions(),
            fail_overs: self.slow_path.shared.connections.counters().fail_overs,
        };
        for port in self.ports.iter() {
            summary.rx_frames += port.counters.rx_frames();
            summary.forwarded += port.counters.forwarded();
            summary.dropped += port.counters.dropped();
        }
        summary
    }

    /// At most `max` peers with greater numbers than `after`, and what is known about them.
    #[must_use]
    pub fn peers_page(&self, after: Option<PeerId>, max: usize, now: Instant) -> Vec<(PeerId, PeerHealth)> {
        self.slow_path.overlay.peers.after(after).take(max).map(|(id, peer)| (id, peer.health(now))).collect()
    }

    fn fdb_row(&self, mac: protocol::Mac, port: PortId, is_static: bool, age_ms: u64) -> FdbEntry {
        FdbEntry { mac, port, port_name: self.port_name(port), is_static, age_ms }
    }

    fn port_name(&self, port: PortId) -> String {
        self.ports.get(port).map_or_else(String::new, |port| port.config.name.clone())
    }
}

fn conn_tuple(tuple: crate::rewrite::Tuple) -> protocol::object::ConnTuple {
    protocol::object::ConnTuple {
        source: IpAddr::V4(tuple.source),
        source_port: tuple.source_port,
        destination: IpAddr::V4(tuple.destination),
        destination_port: tuple.destination_port,
    }
}

fn fixed_from(cursor: u64) -> usize {
    usize::try_from(cursor).unwrap_or(usize::MAX)
}

fn learned_from(cursor: u64) -> usize {
    position_from(cursor, LEARNED)
}

fn position_from(cursor: u64, section: u64) -> usize {
    usize::try_from(cursor.saturating_sub(section)).unwrap_or(usize::MAX)
}

/// The first `max` of the rows; the cursor is the position of the first that is left over.
fn page<T>(mut rows: impl Iterator<Item = (u64, T)>, max: usize) -> (Vec<T>, Option<u64>) {
    let page = rows.by_ref().take(max).map(|(_, row)| row).collect();
    (page, rows.next().map(|(position, _)| position))
}
