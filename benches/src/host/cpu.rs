//! CPU time and the choice of cores.

use std::fs;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The machine's ticks since boot by what they went into, from the first line of `/proc/stat` (proc_stat(5)).
fn machine_ticks() -> Result<Vec<u64>> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    Ok(line.split_ascii_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect())
}

/// What the host of a virtual machine takes from it: it makes rates smaller and tails longer, whoever is measured.
pub(crate) struct Stolen {
    before: Vec<u64>,
}

impl Stolen {
    pub(crate) fn since_now() -> Result<Self> {
        Ok(Self { before: machine_ticks()? })
    }

    /// Percent of the processors' time since then.
    pub(crate) fn percent(&self) -> Result<f64> {
        let now = machine_ticks()?;
        // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
        let spent: Vec<u64> =
            now.iter().zip(&self.before).take(8).map(|(now, before)| now.saturating_sub(*before)).collect();
        let (all, stolen) = (spent.iter().sum::<u64>(), spent.get(7).copied().unwrap_or_default());
        Ok(if all == 0 { 0.0 } else { 100.0 * seconds(stolen)? / seconds(all)? })
    }
}

/// Seconds of CPU the whole machine has spent working since boot.
pub(crate) fn machine_cpu_seconds() -> Result<f64> {
    let ticks = machine_ticks()?;
    // user nice system idle iowait irq softirq …: idle and iowait are not work, and guest time is
    // contained in user time.
    let work = |&(field, _): &(usize, &u64)| field != 3 && field != 4;
    let busy = ticks.iter().take(7).enumerate().filter(work).map(|(_, t)| t).sum();
    seconds(busy)
}

/// Seconds of CPU the processes have used, all threads.
pub(crate) fn process_cpu_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').context("malformed /proc stat")?;
        // utime and stime are fields 14 and 15 (proc_pid_stat(5)); `rest` starts at field 3.
        let both = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok());
        ticks += both.sum::<u64>();
    }
    seconds(ticks)
}

fn seconds(ticks: u64) -> Result<f64> {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
    #[expect(clippy::cast_precision_loss, reason = "ticks since boot are below 2^52")]
    Ok(ticks as f64 / per_second as f64)
}

/// Keeps this process on one core.
pub(crate) fn pin_self(core: usize) -> Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), &only(core)?)?)
}

/// Processes kept on one core; let go of when dropped.
pub(crate) struct Pinned {
    pids: Vec<u32>,
    before: CpuSet,
}

impl Pinned {
    /// All threads that the processes have now.
    pub(crate) fn to(core: usize, pids: Vec<u32>) -> Result<Self> {
        let pinned = Self { pids, before: sched_getaffinity(Pid::from_raw(0))? };
        pinned.set(&only(core)?)?;
        Ok(pinned)
    }

    fn set(&self, cores: &CpuSet) -> Result<()> {
        for pid in &self.pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let Some(tid) = task?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                match sched_setaffinity(Pid::from_raw(tid), cores) {
                    // A thread may end meanwhile.
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.set(&self.before);
    }
}

fn only(core: usize) -> Result<CpuSet> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(cores)
}
