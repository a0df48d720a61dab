//! The harness of the integration tests: real `vswitchd` daemons, each in a network namespace of
//! its own that plays the node, with real programs in the pods.
//!
//! A [`Cluster`] is several nodes joined by a network that can be broken; a [`vm::VmCluster`] is several
//! machines with kernels of their own.
//!
//! Everything is a guard: dropping a [`TestNode`] stops its daemon, purges it and then *checks*
//! what holds at the end of every test, whatever the test was about: the conservation law of the
//! counters, no unexpected warning in the log, nothing left behind. All names hold the test's
//! process id, so tests run in parallel, and `scripts/cleanup.sh` finds what a killed run left.

pub mod cluster;
pub mod command;
pub mod etcd;
pub mod frames;
pub mod node;
pub mod pod;
pub mod prober;
pub mod programs;
pub mod raw;
pub mod underlay;
pub mod vm;
pub mod wait;

mod checks;
mod netns;
mod options;
mod privilege;

pub use cluster::{Cluster, ClusterOptions};
pub use command::{Background, Ran};
pub use node::TestNode;
pub use options::NodeOptions;
pub use pod::TestPod;
pub use programs::binary;
