//! The machine under the benchmark: running commands, counting its CPU time, stopping cleanly.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Set once the user asked to stop; [`check_stop`] turns it into an error, so that guards clean up.
static STOP: AtomicBool = AtomicBool::new(false);

/// Ctrl-C and SIGTERM end the run at the next step instead of leaving namespaces behind.
pub(crate) fn stop_on_signals() -> Result<()> {
    let mut signals =
        signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            STOP.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Fails once the run is to be stopped.
pub(crate) fn check_stop() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// A name nobody else on this machine has, for namespaces and directories.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs `words` (split at blanks), fails with its stderr unless it succeeds.
pub(crate) fn run(words: &str) -> Result<String> {
    let mut parts = words.split_ascii_whitespace();
    let program = parts.next().context("empty command")?;
    let output = Command::new(program)
        .args(parts)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program} (make setup installs it)"))?;
    if !output.status.success() {
        let what =
            String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        bail!("`{words}` failed ({}): {}", output.status, what.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of this build, found beside the running one.
pub(crate) fn sibling(program: &str) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let path = me.parent().context("executable without directory")?.join(program);
    if !path.exists() {
        bail!("{} is missing: build it first (make bench does)", path.display());
    }
    Ok(path)
}

/// A network namespace, deleted with its devices when dropped.
pub(crate) struct Netns(pub(crate) String);

impl Netns {
    pub(crate) fn create(prefix: &str) -> Result<Self> {
        let ns = Self(unique(prefix));
        run(&format!("ip netns add {}", ns.0))?;
        run(&format!("ip -n {} link set lo up", ns.0))?;
        Ok(ns)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = run(&format!("ip netns delete {}", self.0));
    }
}

/// A process that is ended when dropped.
pub(crate) struct Background(Child);

impl Background {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot run {name} (make setup installs it)"))?))
    }

    /// Fails when the process has ended already.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}"),
        }
    }

    /// Waits for its end; returns what it printed, when its output is a pipe.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        let mut printed = Vec::new();
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_end(&mut printed)?;
        }
        let status = self.0.wait()?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(printed)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let Ok(pid) = i32::try_from(self.0.id()) else { return };
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        let gone = wait_for(Duration::from_secs(5), || Ok(matches!(self.0.try_wait(), Ok(Some(_)))));
        if gone.is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Polls `condition` until it holds.
pub(crate) fn wait_for(limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for_some(limit, || Ok(condition()?.then_some(())))
}

/// Polls `attempt` until it gives something.
pub(crate) fn wait_for_some<T>(limit: Duration, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Seconds of CPU the whole machine has spent working since boot, from `/proc/stat`.
pub(crate) fn machine_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq …: idle and iowait are not work, and guest time is
    // contained in user time.
    let work = |&(field, _): &(usize, &u64)| field != 3 && field != 4;
    let busy = ticks.iter().take(7).enumerate().filter(work).map(|(_, t)| t).sum();
    seconds(busy)
}

/// Seconds of CPU the process has used, all threads.
pub(crate) fn process_cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("malformed /proc stat")?;
    // utime and stime are fields 14 and 15 (proc_pid_stat(5)); `rest` starts at field 3.
    let ticks = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    seconds(ticks)
}

fn seconds(ticks: u64) -> Result<f64> {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
    #[expect(clippy::cast_precision_loss, reason = "ticks since boot are below 2^52")]
    Ok(ticks as f64 / per_second as f64)
}

/// Shows on stderr what is being measured.
pub(crate) fn progress(text: &str) {
    eprintln!("  {text}");
}
