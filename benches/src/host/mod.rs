//! The machine under the benchmark: stopping cleanly, names, waiting, what it is.

mod cpu;
mod machine;
mod memory;
mod netns;
mod process;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub(crate) use cpu::{Pinned, Stolen, machine_cpu_seconds, pin_self, process_cpu_seconds};
pub(crate) use machine::Machine;
pub(crate) use memory::{kernel_bytes, resident_bytes};
pub(crate) use netns::{Netns, drops, in_netns, ip_batch};
pub(crate) use process::{Background, READY, Running, clean_up, installed, run, run_command};

/// Set once the user asked to stop; [`check_stop`] turns it into an error, so that guards clean up.
static STOP: AtomicBool = AtomicBool::new(false);
/// When the run began, for progress.
static STARTED: OnceLock<Instant> = OnceLock::new();

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

/// The user asked to stop.
pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Fails once the run is to be stopped.
pub(crate) fn check_stop() -> Result<()> {
    if stopped() {
        bail!("interrupted");
    }
    Ok(())
}

/// A name nobody else on this machine has, for namespaces and directories.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory for one subject, removed when dropped. It bears our process id, so that
/// `scripts/cleanup.sh` can tell what a killed run left behind.
pub(crate) fn temporary_directory() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(&format!("vpod-bench.{}.", std::process::id())).tempdir()?)
}

/// The directory this program was built into, with `vswitchd` and `vpodctl` beside it.
pub(crate) fn own_directory() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    Ok(me.parent().context("executable without directory")?.to_owned())
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

/// Lets time pass, in steps short enough for Ctrl-C.
pub(crate) fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        check_stop()?;
        thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}

/// Shows on stderr what is being measured, with the seconds since the run began.
pub(crate) fn progress(text: &str) {
    let since = STARTED.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("{since:4} s  {text}");
}
