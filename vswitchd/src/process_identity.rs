//! Telling a process from a later one that has its number.

use std::fs;

use serde::{Deserialize, Serialize};

/// Which process. The start time tells it from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    /// Process id.
    pub(crate) pid: u32,
    /// Field `starttime` of `/proc/<pid>/stat`, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

impl ProcessIdentity {
    /// Of the process `pid`, if it exists.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses and may itself hold both.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        // `state` was field 3, `starttime` is field 22 (proc_pid_stat(5)).
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }

    /// That very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor_by_start_time() {
        let me = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = ProcessIdentity { start_ticks: me.start_ticks + 1, ..me };
        assert!(!other.is_alive());
    }
}
