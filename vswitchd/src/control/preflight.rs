//! What the machine must offer, checked before the first change.

use std::fs::OpenOptions;
use std::io;

use caps::{CapSet, Capability};

/// Where TAPs come from.
const TUN: &str = "/dev/net/tun";

/// What is missing, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreflightError {
    #[error(
        "vswitchd lacks {missing}; run it as root (try sudo), or give it CAP_NET_ADMIN and CAP_SYS_ADMIN"
    )]
    Privileges { missing: Capability },
    #[error("{TUN} does not exist; load the driver with \"modprobe tun\" (in a container: --device {TUN})")]
    NoTun,
    #[error("{TUN} cannot be opened: {0}")]
    Tun(io::Error),
}

/// Checks rights and devices.
pub(crate) fn check() -> Result<(), PreflightError> {
    for needed in [Capability::CAP_NET_ADMIN, Capability::CAP_SYS_ADMIN] {
        if !caps::has_cap(None, CapSet::Effective, needed).unwrap_or(false) {
            return Err(PreflightError::Privileges { missing: needed });
        }
    }
    match OpenOptions::new().read(true).write(true).open(TUN) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => {
            Err(PreflightError::NoTun)
        }
        Err(e) => Err(PreflightError::Tun(e)),
    }
}
