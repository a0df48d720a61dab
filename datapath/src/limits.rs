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
    /// Translated connections in all: a million, at 128 bytes each 128 MiB of memory that outlives the process, and
    /// 40 bytes each beside it, of which what was never used is not backed by memory. At most 2^30.
    pub connections: u32,
    /// Connections of one port, an eighth of all. One client can have 64 Ki to one frontend.
    pub connections_per_port: u32,
    /// Connections kept for ports that have less than a sixteenth of their share: when some ports fill the
    /// table, the quiet ones still get theirs.
    pub connection_reserve: u32,
    /// When unused connections to services are forgotten.
    pub connection_idle: ConnectionIdle,
    /// When connections of pods with the outside are.
    pub egress_idle: ConnectionIdle,
    /// Mappings of one port, each to a port of the node's (RFC 6888 REQ-4): less than a quarter of the source ports that a
    /// node has by default, so that it takes several greedy pods to leave none.
    pub mappings_per_port: u32,
    /// Nobody else gets the port of a mapping so soon after it was of use, while there are others: RFC 6888 REQ-8. TCP's
    /// states make it needless there (REQ-8 A).
    pub port_reuse: Duration,
    /// Policies: their numbers are below. Each is 16 bytes of counters, of which what was never used is not backed by memory.
    pub policies: u32,
    /// Decision tables of policies; two for each set of pods that the same policies select.
    pub policy_tables: u32,
    /// Sets of pods that no policy can tell apart; as many as pods in a cluster of that size, if each has labels of its own.
    pub policy_identities: u32,
    /// Addresses of pods and nodes.
    pub policy_addresses: u32,
    /// Elements of all tables: rules, identities, address ranges and ports; some 200 MiB at most.
    pub policy_cells: u32,
    /// Denied flows that one worker notes per second.
    pub denials_noted_per_second: u32,
    /// ... in a burst.
    pub denials_noted_burst: u32,
    /// ICMP errors a port may cause per second; path-MTU discovery and traceroute need a few.
    pub icmp_errors_per_second: u32,
    /// ... in a burst: a traceroute that probes 30 hops at once.
    pub icmp_error_burst: u32,
}

/// How long a connection may be silent before it is forgotten, by what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionIdle {
    /// TCP, handshake begun. Not extended by repeated SYNs. RFC 7857 §2.2 lets it be shorter than the four
    /// minutes of RFC 5382 REQ-5 for the sake of security; a client tries for longer, and then again gets an entry.
    pub tcp_opening: Duration,
    /// TCP, established: kube-proxy's `tcpEstablishedTimeout`. RFC 5382 REQ-5: at least 2 h 4 min.
    pub tcp_established: Duration,
    /// TCP, one side has finished and that is acknowledged, the other may still send: kube-proxy's
    /// `tcpCloseWaitTimeout`.
    pub tcp_half_closed: Duration,
    /// TCP, finishing, and TIME-WAIT: RFC 5382 REQ-5, at least four minutes, which is RFC 9293's 2 MSL too.
    pub tcp_closing: Duration,
    /// TCP, reset: Linux's `nf_conntrack_tcp_timeout_close`. RFC 7857 §2.3 would have four minutes, against forged resets; here, where
    /// ports of short connections are soon needed again, whatever but a reset begins the time anew.
    pub tcp_reset: Duration,
    /// Not TCP, one direction seen: Linux's `nf_conntrack_udp_timeout`. Whatever the client sends begins it anew
    /// (RFC 4787 REQ-6).
    pub unreplied: Duration,
    /// Not TCP, both directions seen: RFC 4787 REQ-5c.
    pub replied: Duration,
    /// ... to a port below 1024, all of it in two seconds: a question and its answer, such as DNS, which
    /// would fill the table otherwise. RFC 4787 REQ-5a lets those ports have a shorter time.
    pub answered: Duration,
    /// ICMP queries: RFC 5508 REQ-2, at least a minute.
    pub icmp_query: Duration,
}

impl Default for ConnectionIdle {
    fn default() -> Self {
        Self {
            tcp_opening: Duration::from_secs(30),
            tcp_established: Duration::from_hours(24),
            tcp_half_closed: Duration::from_hours(1),
            tcp_closing: Duration::from_mins(4),
            tcp_reset: Duration::from_secs(10),
            unreplied: Duration::from_secs(30),
            replied: Duration::from_mins(5),
            answered: Duration::from_secs(30),
            icmp_query: Duration::from_mins(1),
        }
    }
}

impl ConnectionIdle {
    /// Of connections with the outside: what RFC 4787, 5382, 5508 and 7857 ask of a NAT, where services do as Kubernetes does.
    #[must_use]
    pub fn egress() -> Self {
        Self {
            // RFC 5382 REQ-5, transitory; RFC 7857 §2.1 recommends it as default.
            tcp_opening: Duration::from_mins(4),
            // RFC 5382 REQ-5, established. A day as for services would keep a port that long for each peer that is lost.
            tcp_established: Duration::from_mins(124),
            // RFC 7857 §2.2: whoever did not mean a reset goes on within four minutes.
            tcp_reset: Duration::from_mins(4),
            // RFC 4787 REQ-5 tells no mappings that were answered from others.
            unreplied: Duration::from_mins(5),
            ..Self::default()
        }
    }
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
            sweep_entries: 256,
            move_interval: Duration::from_secs(1),
            refresh_interval: Duration::from_secs(1),
            learned_told_per_second: 1024,
            learned_told_burst: 2048,
            flood_per_second: 200,
            flood_burst: 100,
            bum_per_second: 3200,
            bum_burst: 512,
            connections: 1 << 20,
            connections_per_port: 1 << 17,
            connection_reserve: 1 << 16,
            connection_idle: ConnectionIdle::default(),
            egress_idle: ConnectionIdle::egress(),
            mappings_per_port: 1024,
            port_reuse: Duration::from_mins(2),
            policies: 1 << 16,
            policy_tables: 1 << 17,
            policy_identities: 1 << 17,
            policy_addresses: 1 << 18,
            policy_cells: 1 << 23,
            denials_noted_per_second: 100,
            denials_noted_burst: 200,
            icmp_errors_per_second: 50,
            icmp_error_burst: 30,
        }
    }
}
