//! The promises of vpod, each kept on the real kernel. `docs/promises.md` says which test proves
//! which promise.

mod arp;
mod bad_input;
mod bandwidth;
mod bed;
mod capture;
mod cli;
mod cni;
mod config;
mod containers;
mod fairness;
mod generated_docs;
mod hostile_load;
mod ingress;
mod lost_devices;
mod many_pods;
mod metrics;
mod names;
mod node_to_pod;
mod nodes;
mod plain_tap;
mod pod_to_pod;
mod purge;
mod restart;
mod sandbox;
mod services;
mod sockets;
mod spoof;
mod stream;
mod workers;
