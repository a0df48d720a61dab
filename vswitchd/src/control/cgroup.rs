//! A pod's cgroup: limits for all its processes together, and the list of them.
//!
//! `vpod/pod-<netns name>` in cgroup v2, or in the cpu, memory and pids hierarchies of v1 and hybrid
//! systems. "pod-" because a v2 directory shares its names with the kernel's own files, and a pod
//! `max` in namespace `cpu` is `cpu.max`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cgroups_rs::{Cgroup, CpuResources, MaxValue, MemoryResources, PidResources, hierarchies};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::object::Resources;

const PARENT: &str = "vpod";
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The kernel's default period of CPU bandwidth control.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// Smallest quota the kernel takes (`min_cfs_quota_period`, 1 ms).
const MIN_CPU_QUOTA_MICROS: i64 = 1000;
/// A pod that forks without end ends itself, not the machine (Kubernetes' `podPidsLimit` is often 4096).
const MAX_PIDS: i64 = 8192;
/// How long killed processes may take to disappear.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Why a cgroup could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// This machine has none we may use.
    #[error("limits need cgroups (cpu, memory), and this machine has none that vswitchd may write")]
    Unavailable,
    /// A limit was refused.
    #[error("cgroup {name}: {problem}")]
    Limit { name: String, problem: String },
    /// It does not go away.
    #[error("cgroup {}: {source}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    /// Processes in it do not end.
    #[error("cgroup {}: {count} processes do not end", path.display())]
    Alive { path: PathBuf, count: usize },
}

/// The cgroup that belongs to a netns.
#[derive(Debug, Clone)]
pub(crate) struct PodCgroup {
    name: String,
}

impl PodCgroup {
    pub(crate) fn of(netns: &str) -> Self {
        Self { name: format!("{PARENT}/pod-{netns}") }
    }

    fn load(&self) -> Cgroup {
        let controllers = CONTROLLERS.map(str::to_owned).to_vec();
        Cgroup::load_with_specified_controllers(hierarchies::auto(), &self.name, controllers)
    }

    /// Its directories: one with v2, one per hierarchy with v1.
    fn directories(&self) -> Vec<PathBuf> {
        let cgroup = self.load();
        let mut paths: Vec<PathBuf> =
            cgroup.subsystems().iter().map(|s| s.to_controller().path().to_owned()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Makes it. Without limits a machine without cgroups is good enough.
    pub(crate) fn create(&self, resources: &Resources) -> Result<(), CgroupError> {
        let cgroup = self.load();
        let limited = *resources != Resources::default();
        let created = cgroup.create().is_ok()
            && !cgroup.subsystems().is_empty()
            && cgroup.subsystems().iter().all(|s| s.to_controller().exists());
        if !created {
            return if limited { Err(CgroupError::Unavailable) } else { Ok(()) };
        }
        let result = cgroup.apply(&limits(resources));
        match result {
            Err(error) if limited => {
                let problem = super::error::chain(&error);
                Err(CgroupError::Limit { name: self.name.clone(), problem })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Files a process writes its id to, to become a member.
    pub(crate) fn procs_files(&self) -> Vec<PathBuf> {
        let files = self.directories().into_iter().map(|dir| dir.join("cgroup.procs"));
        files.filter(|file| file.exists()).collect()
    }

    /// Kills what is in it and removes it. Done if there is none.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for dir in self.directories() {
            if let Err(error) = remove_directory(&dir) {
                result = Err(error);
            }
        }
        result
    }

    /// Removes the directories all pods share, if no pod is left.
    pub(crate) fn remove_parent() {
        let parent = Self { name: PARENT.to_owned() };
        for dir in parent.directories() {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn limits(resources: &Resources) -> cgroups_rs::Resources {
    let mut all = cgroups_rs::Resources {
        pid: PidResources { maximum_number_of_processes: Some(MaxValue::Value(MAX_PIDS)) },
        ..cgroups_rs::Resources::default()
    };
    if let Some(millicores) = resources.cpu_millicores {
        let quota = i64::from(millicores) * i64::try_from(CPU_PERIOD_MICROS / 1000).unwrap_or(100);
        all.cpu = CpuResources {
            quota: Some(quota.max(MIN_CPU_QUOTA_MICROS)),
            period: Some(CPU_PERIOD_MICROS),
            ..CpuResources::default()
        };
    }
    if let Some(bytes) = resources.memory_bytes {
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        all.memory = MemoryResources { memory_hard_limit: Some(limit), ..MemoryResources::default() };
    }
    all
}

fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn remove_directory(dir: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut pause = Duration::from_micros(200);
    loop {
        let source = match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => e,
        };
        let pids = members(dir);
        for pid in &pids {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if Instant::now() > deadline {
            let path = dir.to_owned();
            return Err(match pids.len() {
                0 => CgroupError::Remove { path, source },
                count => CgroupError::Alive { path, count },
            });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_takes_limits_kills_its_members_and_leaves_nothing() {
        let name = format!("cgroup-test-{}", std::process::id());
        let cgroup = PodCgroup::of(&name);
        cgroup
            .create(&Resources { cpu_millicores: Some(250), memory_bytes: Some(64 << 20) })
            .expect("cgroups are needed: run the tests as root");
        let files = cgroup.procs_files();
        assert!(!files.is_empty());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        for file in &files {
            fs::write(file, child.id().to_string()).unwrap();
        }
        let reaper = thread::spawn(move || child.wait().unwrap());
        cgroup.remove().unwrap();
        assert!(!reaper.join().unwrap().success());
        assert!(cgroup.procs_files().is_empty());
        cgroup.remove().unwrap();
    }
}
