//! One daemon per run directory.
//!
//! The lock is an `flock` on a file that also tells who holds it. The kernel lets go of it when the
//! holder ends, however it ends; the file stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::process_identity::ProcessIdentity;

/// For a holder that looks alive; it may have been killed just now.
const ALIVE_LIMIT: Duration = Duration::from_millis(300);
/// For a holder that is dead but not gone.
const DYING_LIMIT: Duration = Duration::from_secs(5);

/// Why this process may not be the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another one is.
    #[error(
        "vswitchd is already running with process id {holder} (lock {}); stop it first, or use another run_dir",
        path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the file says.
        holder: String,
    },
    /// The file cannot be used.
    #[error("lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Held as long as this value lives.
#[derive(Debug)]
pub(crate) struct InstanceLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl InstanceLock {
    /// Takes the lock and writes this process's id into the file.
    ///
    /// A daemon that was killed holds it until its last thread is gone, which can take a moment when
    /// one was inside the kernel; so a lock whose holder is not alive is waited for.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let started = Instant::now();
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(io)?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.trim().to_owned();
                    let alive = holder.parse().ok().is_some_and(|pid| ProcessIdentity::of(pid).is_some());
                    if started.elapsed() > if alive { ALIVE_LIMIT } else { DYING_LIMIT } {
                        return Err(LockError::Held { path: path.to_owned(), holder });
                    }
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err((_, errno)) => return Err(io(errno.into())),
            };
            file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
            writeln!(file, "{}", std::process::id()).map_err(io)?;
            return Ok(Self(file));
        }
    }

    /// Removes the file, while the lock is still held.
    pub(crate) fn remove(self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vswitchd.lock");
        let held = InstanceLock::take(&path).unwrap();
        let error = InstanceLock::take(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process id {}", std::process::id())), "{error}");
        drop(held);
        InstanceLock::take(&path).unwrap();
    }
}
