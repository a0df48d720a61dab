//! How many descriptors a process may have.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have as many descriptors as its hard limit allows (`RLIMIT_NOFILE`). Not for a process that starts
/// others: programs that use `select()` rely on the usual soft limit.
///
/// # Errors
/// What the kernel said.
pub fn raise_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
