//! The whole switch, from bytes read to bytes written, without a kernel: one binary, one file per
//! promise.

mod admission;
mod arp;
mod bandwidth;
mod bursts;
mod common;
mod configuration;
mod connection_errors;
mod fail_over;
mod flows;
mod forwarding;
mod fragments;
mod host_ports;
mod icmp_errors;
mod keep_alive;
mod learning;
mod many_connections;
mod nat_bed;
mod nat_icmp;
mod nat_limits;
mod nat_meeting;
mod nat_model;
mod nat_tcp;
mod nat_udp;
mod offload;
mod replication;
mod robustness;
mod service_counters;
mod service_regressions;
mod services;
mod services_model;
mod trace;
mod tunnel;
mod tunnel_robustness;
mod uplink;
mod uplink_announcements;
mod uplink_hold;
mod uplink_next_hops;
mod uplink_robustness;
mod uplink_services;

/// "Every drop has a name, a counter and a test": the last of the three.
#[test]
fn every_drop_reason_is_provoked_by_a_test() {
    const SOURCES: [&str; 19] = [
        include_str!("admission.rs"),
        include_str!("arp.rs"),
        include_str!("bandwidth.rs"),
        include_str!("configuration.rs"),
        include_str!("connection_errors.rs"),
        include_str!("fail_over.rs"),
        include_str!("flows.rs"),
        include_str!("forwarding.rs"),
        include_str!("fragments.rs"),
        include_str!("icmp_errors.rs"),
        include_str!("learning.rs"),
        include_str!("nat_limits.rs"),
        include_str!("nat_udp.rs"),
        include_str!("offload.rs"),
        include_str!("robustness.rs"),
        include_str!("services.rs"),
        include_str!("tunnel.rs"),
        include_str!("uplink.rs"),
        include_str!("uplink_next_hops.rs"),
    ];
    for reason in datapath::DropReason::ALL {
        let quoted = format!("\"{}\"", reason.name());
        assert!(SOURCES.iter().any(|source| source.contains(&quoted)), "no test names {quoted}");
    }
}
