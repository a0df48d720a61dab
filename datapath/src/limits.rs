//! Every bound of the switch, with its reason.

use std::time::Duration;

/// Caps, shares and rates. [`Limits::default`] is what the daemon runs with; tests shrink them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Learned stations in all. Open vSwitch's default, far above what bridged pods hold.
    pub fdb_entries: u32,
    /// Learned stations of one port; an eighth of all, so that eight greedy ports are needed before
    /// anybody else's entry is evicted, and then the fullest port loses first.
    pub fdb_entries_per_port: u32,
    /// Learned neighbours in all; one address per learned station.
    pub neighbors: u32,
    /// Learned neighbours of one port.
    pub neighbors_per_port: u32,
    /// Cached flows in all: at 144 bytes each 64 Ki are 9 MiB, of which slots never used are not backed by
    /// memory. 2 Mi are 288 MiB.
    pub flows: u32,
    /// Cached flows of one port, an eighth of all: enough for a busy server, and a port scan evicts
    /// only the scanner's own.
    pub flows_per_port: u32,
    /// A flow unused this long is forgotten; Open vSwitch's default, long enough for keep-alive
    /// traffic once a few seconds, short enough that scans leave no trace.
    pub flow_idle: Duration,
    /// Time between looks for expired entries; bounds how late an entry goes.
    pub sweep_interval: Duration,
    /// Entries expired in one call of `on_deadline`: some 50 µs, so that sweeping never delays a
    /// batch noticeably.
    pub sweep_entries: u32,
    /// A learned station or address changes ports at most once in this time. A live migration takes
    /// longer; a loop does it thousands of times a second.
    pub move_interval: Duration,
    /// Other workers hear of a learned station or address that goes on talking once in this time, or
    /// four times in the ageing time if that is sooner: so one lost message neither ages an entry out
    /// nor keeps it unknown for long.
    pub refresh_interval: Duration,
    /// What other workers are told about stations of one port per second: as many as it may have.
    pub learned_told_per_second: u32,
    /// ... in a burst: all of them at once.
    pub learned_told_burst: u32,
    /// Broadcast, multicast and unknown-unicast frames a port may send per second. Each is copied to
    /// every port: with 250 pods 200 of them are 50,000 writes, some 5 % of a core.
    pub flood_per_second: u32,
    /// ... in a burst: service discovery at start sends a few dozen at once.
    pub flood_burst: u32,
    /// Copies of pods' broadcast and multicast for other nodes per second, of all pods together. With
    /// sixteen peers as many frames as one port may flood; with thousands some percent of a core.
    pub bum_per_second: u32,
    /// ... in a burst: one frame to each of some hundred peers.
    pub bum_burst: u32,
    /// ICMP errors a port may cause per second; path-MTU discovery and traceroute need a few.
    pub icmp_errors_per_second: u32,
    /// ... in a burst: a traceroute that probes 30 hops at once.
    pub icmp_error_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fdb_entries: 8192,
            fdb_entries_per_port: 1024,
            neighbors: 8192,
            neighbors_per_port: 1024,
            flows: 65_536,
            flows_per_port: 8192,
            flow_idle: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(1),
            sweep_entries: 512,
            move_interval: Duration::from_secs(1),
            refresh_interval: Duration::from_secs(1),
            learned_told_per_second: 1024,
            learned_told_burst: 2048,
            flood_per_second: 200,
            flood_burst: 100,
            bum_per_second: 3200,
            bum_burst: 512,
            icmp_errors_per_second: 50,
            icmp_error_burst: 30,
        }
    }
}
