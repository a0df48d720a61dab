//! What was measured where: figures without this mean nothing.

use std::fs;
use std::process::Command;

use serde::Serialize;

use super::Running;

/// The machine and the code, as far as they can be found out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Commit of the working directory's tree, with "-dirty" if it has changes.
    pub(crate) commit: String,
    /// Seconds since 1970.
    pub(crate) measured_at: u64,
}

impl Machine {
    pub(crate) fn describe() -> Self {
        let field = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib = memory.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: kernel.trim().to_owned(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            measured_at: now.as_secs(),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let Self { processor, cores, memory_mib, kernel, commit, .. } = self;
        format!("{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}, commit {commit}")
    }
}

fn commit() -> Option<String> {
    // Run as root in a tree of somebody else's, git would refuse.
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let text = Running::start(&mut git).ok()?.finish(std::time::Duration::from_secs(5)).ok()?;
    Some(text.trim().to_owned())
}
