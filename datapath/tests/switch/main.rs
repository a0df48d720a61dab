//! The whole switch, from bytes read to bytes written, without a kernel: one binary, one file per
//! promise.

mod admission;
mod arp;
mod common;
mod configuration;
mod flows;
mod forwarding;
mod icmp_errors;
mod learning;
mod offload;
mod robustness;
