//! One container process and the small process that looks after it.
//!
//! Containers have to outlive `vswitchd`: it may be upgraded, or killed. So the daemon is not their
//! parent. It starts one *shim* per container (`vswitchd container-shim DIR`, its own session), and
//! the shim starts the command inside the pod, keeps its output, applies the restart policy and
//! records how it ended. The two talk through files in the container's directory only
//! ([`ContainerDir`]), so that neither needs the other to be alive:
//!
//! ```text
//! spec.json     written once by the daemon before it starts the shim
//! status.json   written by the shim at every change, atomically
//! log, log.1    output of the latest run, the older part in log.1
//! log.previous  output of the run before the latest restart
//! ```
//!
//! Stopping is `SIGTERM` to the shim: it passes the signal on, waits for the grace period, kills,
//! records the exit and ends. [`SUCCEED`] starts what `spec.json` says by then beside what runs, which ends by itself.

mod backoff;
mod dir;
mod output;
mod supervise;

pub(crate) use dir::{ContainerDir, ShimSpec};
pub(crate) use supervise::{SUCCEED, run};
