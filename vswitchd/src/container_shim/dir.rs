//! The files through which daemon and shim talk.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::message::PodEntry;
use protocol::object::{ContainerStatus, Exit, RestartPolicy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process_identity::ProcessIdentity;

/// What a shim has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimSpec {
    /// The container's name.
    pub(crate) name: protocol::ObjectName,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// The pod it runs in.
    pub(crate) pod: PodEntry,
    /// When to start it again.
    pub(crate) restart_policy: RestartPolicy,
    /// Between `SIGTERM` and `SIGKILL` when it is stopped.
    pub(crate) grace: Duration,
    /// How often it was started by earlier shims.
    pub(crate) restarts: u32,
    /// The user and group of a program that needs no rights.
    #[serde(default)]
    pub(crate) run_as: Option<(u32, u32)>,
}

/// What `status.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusFile {
    /// Who wrote it.
    pub(crate) shim: ProcessIdentity,
    /// The container's process, while it runs; it leads a process group.
    pub(crate) process: Option<ProcessIdentity>,
    /// Why the command could not be started the first time. The shim has ended then.
    pub(crate) start_error: Option<String>,
    /// The container's status.
    pub(crate) status: ContainerStatus,
}

/// Directory of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerDir(PathBuf);

impl ContainerDir {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Output of the latest run.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Older part of the output of the latest run, when it has outgrown one file.
    pub(crate) fn log_older(&self) -> PathBuf {
        self.0.join("log.1")
    }

    /// Output of the run before the latest restart.
    pub(crate) fn log_previous(&self) -> PathBuf {
        self.0.join("log.previous")
    }

    /// Creates the directory with what the shim has to do.
    pub(crate) fn create(&self, spec: &ShimSpec) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        write_atomically(&self.0.join("spec.json"), spec)
    }

    pub(crate) fn read_spec(&self) -> io::Result<ShimSpec> {
        read(&self.0.join("spec.json"))
    }

    pub(crate) fn write_status(&self, status: &StatusFile) -> io::Result<()> {
        write_atomically(&self.0.join("status.json"), status)
    }

    /// The last status written; `None` before the first.
    pub(crate) fn read_status(&self) -> io::Result<Option<StatusFile>> {
        match read(&self.0.join("status.json")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes room for the status of another shim.
    pub(crate) fn forget_status(&self) {
        // Missing is as good as removed.
        let _ = fs::remove_file(self.0.join("status.json"));
    }

    /// What the daemon should report for this container: the shim's word while the shim lives, and
    /// otherwise that it is gone and has taken the container with it.
    pub(crate) fn observe(&self) -> io::Result<Option<StatusFile>> {
        use protocol::object::ContainerState::{Running, Terminated, Waiting};
        let Some(mut file) = self.read_status()? else { return Ok(None) };
        let ended = matches!(file.status.state, Terminated { .. });
        if ended || file.shim.is_alive() {
            return Ok(Some(file));
        }
        let at = protocol::object::Timestamp::now();
        let lost = Exit { code: 137, signal: Some(9), at };
        file.status.state = match file.status.state {
            Running { .. } => Terminated { exit: lost },
            Waiting { .. } => Terminated { exit: file.status.last_exit.unwrap_or(lost) },
            ended @ Terminated { .. } => ended,
        };
        Ok(Some(file))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))
}

/// Readers see the old content or the new one, never a part. Not synced to the disk: after a power
/// loss the processes described here are gone anyway.
fn write_atomically<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value).map_err(io::Error::other)?)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::object::{ContainerState, Timestamp};

    fn status(shim: ProcessIdentity, state: ContainerState) -> StatusFile {
        let name = "web".parse().unwrap();
        let status = ContainerStatus { name, state, restart_count: 0, last_exit: None };
        StatusFile { shim, process: None, start_error: None, status }
    }

    fn me() -> ProcessIdentity {
        ProcessIdentity::of(std::process::id()).unwrap()
    }

    #[test]
    fn status_is_read_back_and_none_before_the_first() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = ContainerDir::new(temporary.path().to_owned());
        assert_eq!(dir.read_status().unwrap(), None);
        let written = status(me(), ContainerState::Running { pid: 1, since: Timestamp(5) });
        dir.write_status(&written).unwrap();
        assert_eq!(dir.observe().unwrap(), Some(written));
    }

    #[test]
    fn a_running_container_whose_shim_is_gone_is_reported_as_killed() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = ContainerDir::new(temporary.path().to_owned());
        let gone = ProcessIdentity { start_ticks: me().start_ticks + 1, ..me() };
        dir.write_status(&status(gone, ContainerState::Running { pid: 1, since: Timestamp(5) })).unwrap();
        let observed = dir.observe().unwrap().unwrap().status.state;
        assert!(
            matches!(observed, ContainerState::Terminated { exit: Exit { code: 137, .. } }),
            "{observed:?}"
        );
    }
}
