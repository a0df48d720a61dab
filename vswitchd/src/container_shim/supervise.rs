//! The shim's main loop: start, wait, record, perhaps start again.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use netdev::process::PodCommand;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::object::{ContainerState, ContainerStatus, Exit, RestartPolicy, Timestamp};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::backoff::Backoff;
use super::dir::{ContainerDir, ShimSpec, StatusFile};
use super::output::{self, Copier};
use crate::descriptors::close_inherited;
use crate::process_identity::ProcessIdentity;

/// Tells a shim to start a successor beside what runs.
pub(crate) const SUCCEED: Signal = Signal::SIGUSR1;
/// Predecessors that have not ended yet; of more the oldest is killed. Each drains for minutes at most once it was succeeded.
const MAX_LEAVING: usize = 4;
/// Exit code of a command that could not be started, as shells report it.
const COULD_NOT_START: i32 = 127;

/// `vswitchd container-shim DIR`: looks after the container described there until it is over.
///
/// # Errors
/// When the directory cannot be read or written; the container is not running then.
pub(crate) fn run(dir: ContainerDir) -> anyhow::Result<()> {
    // Fails when the caller has made this process a session leader already, which is as good.
    let _ = nix::unistd::setsid();
    close_inherited().context("closing inherited descriptors")?;
    let spec = dir.read_spec().with_context(|| format!("container directory {}", dir.path().display()))?;
    let signals = forward_signals()?;
    let shim = ProcessIdentity::of(std::process::id()).context("/proc is not readable")?;
    let restarts = spec.restarts;
    let backoff = Backoff::default();
    let leaving = VecDeque::new();
    Shim { dir, spec, shim, signals, backoff, restarts, started: false, last_exit: None, leaving }.supervise()
}

struct Shim {
    dir: ContainerDir,
    spec: ShimSpec,
    shim: ProcessIdentity,
    signals: Receiver<i32>,
    backoff: Backoff,
    restarts: u32,
    /// The command could be started at least once.
    started: bool,
    last_exit: Option<Exit>,
    /// They have a successor, and end by themselves; until it has taken over they go on serving.
    leaving: VecDeque<Child>,
}

/// How a run, or the wait before one, ended.
enum Outcome {
    Exited(Exit),
    /// It is to have a successor.
    Succeeded(Child),
    Stopped(Option<Exit>),
    /// The very first start failed, with this error.
    NeverStarted(String),
}

impl Shim {
    fn supervise(mut self) -> anyhow::Result<()> {
        loop {
            let started = Instant::now();
            let exit = match self.run_once()? {
                Outcome::Exited(exit) => exit,
                Outcome::Succeeded(child) => {
                    self.leave(child);
                    self.spec = self.dir.read_spec().unwrap_or_else(|_| self.spec.clone());
                    output::start_new_run(&self.dir);
                    continue;
                }
                Outcome::Stopped(exit) => return self.record_end(exit),
                Outcome::NeverStarted(error) => return self.record_failed_start(error),
            };
            let again = match self.spec.restart_policy {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => exit.code != 0,
                RestartPolicy::Never => false,
            };
            self.last_exit = Some(exit);
            if !again {
                return self.record_end(Some(exit));
            }
            if !self.wait_before_restart(started.elapsed())? {
                return self.record_end(self.last_exit);
            }
            self.restarts += 1;
            output::start_new_run(&self.dir);
        }
    }

    /// Starts the container and waits for its end, or for the order to stop it.
    fn run_once(&mut self) -> anyhow::Result<Outcome> {
        let (mut child, copier) = match self.start() {
            Ok(started) => started,
            Err(error) => {
                let text = self.explain(&error);
                self.log_line(&format!("{text}\n"));
                if !self.started {
                    return Ok(Outcome::NeverStarted(text));
                }
                return Ok(Outcome::Exited(Exit {
                    code: COULD_NOT_START,
                    signal: None,
                    at: Timestamp::now(),
                }));
            }
        };
        self.started = true;
        self.record_run(&child)?;
        let outcome = loop {
            // Looked at before waiting: the child may have ended before its SIGCHLD was awaited.
            if let Some(status) = child.try_wait()? {
                break Outcome::Exited(exit_of(status));
            }
            self.reap();
            match self.signals.recv()? {
                SIGCHLD => {}
                // Its output goes where it went, whatever that file is called by then.
                SIGUSR1 => return Ok(Outcome::Succeeded(child)),
                _ => break Outcome::Stopped(Some(self.stop(&mut child)?)),
            }
        };
        copier.finish();
        Ok(outcome)
    }

    fn explain(&self, error: &io::Error) -> String {
        let program = self.spec.command.first().map_or("", String::as_str);
        match error.kind() {
            io::ErrorKind::NotFound => format!("there is no program \"{program}\" (looked up in PATH)"),
            io::ErrorKind::PermissionDenied => format!("\"{program}\" is not an executable program"),
            _ => format!("cannot start \"{program}\": {}", crate::control::error::chain(error)),
        }
    }

    fn start(&self) -> io::Result<(Child, Copier)> {
        let (reader, writer) = io::pipe()?;
        let pod = &self.spec.pod;
        let mut command = PodCommand::new(&pod.netns, self.spec.command.clone());
        command.hostname = Some(pod.hostname.clone());
        command.binds = pod.binds.iter().map(|(from, to)| (from.into(), to.into())).collect();
        command.cgroup_procs = pod.cgroup_procs.iter().map(Into::into).collect();
        command.stdin = Stdio::null();
        command.stdout = Stdio::from(writer.try_clone()?);
        command.stderr = Stdio::from(writer);
        command.new_session = true;
        command.run_as = self.spec.run_as;
        let child = command.spawn()?;
        Ok((child, output::spawn_copier(self.dir.clone(), reader)))
    }

    fn leave(&mut self, child: Child) {
        if self.leaving.len() >= MAX_LEAVING
            && let Some(mut oldest) = self.leaving.pop_front()
        {
            signal_group(&oldest, Signal::SIGKILL);
            let _ = oldest.wait();
        }
        self.leaving.push_back(child);
    }

    /// Forgets predecessors that have ended.
    fn reap(&mut self) {
        self.leaving.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Ends what is left of predecessors.
    fn end_leaving(&mut self) {
        for mut child in self.leaving.drain(..) {
            signal_group(&child, Signal::SIGKILL);
            let _ = child.wait();
        }
    }

    /// `SIGTERM` to the container's process group and to those of its predecessors, `SIGKILL` after the grace period.
    fn stop(&mut self, child: &mut Child) -> anyhow::Result<Exit> {
        let exit = self.stop_one(child);
        self.end_leaving();
        exit
    }

    fn stop_one(&self, child: &mut Child) -> anyhow::Result<Exit> {
        for leaving in &self.leaving {
            signal_group(leaving, Signal::SIGTERM);
        }
        signal_group(child, Signal::SIGTERM);
        let deadline = Instant::now() + self.spec.grace;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(exit_of(status));
            }
            match self.signals.recv_deadline(deadline) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(e @ RecvTimeoutError::Disconnected) => return Err(e.into()),
            }
        }
        signal_group(child, Signal::SIGKILL);
        Ok(exit_of(child.wait()?))
    }

    /// Waits out the back-off; false when the container is to be stopped instead.
    fn wait_before_restart(&mut self, run: Duration) -> anyhow::Result<bool> {
        let delay = self.backoff.delay_after(run);
        if delay.is_zero() {
            return Ok(true);
        }
        self.record(ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned() })?;
        let deadline = Instant::now() + delay;
        loop {
            match self.signals.recv_deadline(deadline) {
                Ok(SIGCHLD) => self.reap(),
                // What was installed now may not end so soon.
                Ok(SIGUSR1) => {
                    self.spec = self.dir.read_spec().unwrap_or_else(|_| self.spec.clone());
                    return Ok(true);
                }
                Ok(_) => {
                    self.end_leaving();
                    return Ok(false);
                }
                Err(RecvTimeoutError::Timeout) => return Ok(true),
                Err(e @ RecvTimeoutError::Disconnected) => return Err(e.into()),
            }
        }
    }

    fn record_end(&mut self, exit: Option<Exit>) -> anyhow::Result<()> {
        let exit = exit.unwrap_or(Exit { code: 0, signal: None, at: Timestamp::now() });
        self.last_exit = Some(exit);
        self.record(ContainerState::Terminated { exit })
    }

    fn record_run(&self, child: &Child) -> anyhow::Result<()> {
        let state = ContainerState::Running { pid: child.id(), since: Timestamp::now() };
        self.write(ProcessIdentity::of(child.id()), None, state)
    }

    fn record_failed_start(&self, error: String) -> anyhow::Result<()> {
        let exit = Exit { code: COULD_NOT_START, signal: None, at: Timestamp::now() };
        self.write(None, Some(error), ContainerState::Terminated { exit })
    }

    fn record(&self, state: ContainerState) -> anyhow::Result<()> {
        self.write(None, None, state)
    }

    fn write(
        &self,
        process: Option<ProcessIdentity>,
        start_error: Option<String>,
        state: ContainerState,
    ) -> anyhow::Result<()> {
        let status = ContainerStatus {
            name: self.spec.name.clone(),
            state,
            restart_count: self.restarts,
            last_exit: self.last_exit,
        };
        let path = self.dir.path().display();
        match self.dir.write_status(&StatusFile { shim: self.shim, process, start_error, status }) {
            // A full disk must not end the container; the next change is written again.
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other.with_context(|| format!("status of the container in {path}")),
        }
    }

    fn log_line(&self, line: &str) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.log());
        let _ = file.and_then(|mut f| io::Write::write_all(&mut f, line.as_bytes()));
    }
}

/// A container's process leads a group.
fn signal_group(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(-pid), signal);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    let signal = status.signal();
    let code = status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0));
    Exit { code, signal, at: Timestamp::now() }
}

/// Signals as messages, so that waiting for one can have a deadline.
fn forward_signals() -> io::Result<Receiver<i32>> {
    let mut signals = signal_hook::iterator::Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    // Bounded: when the loop is behind, one more "look again" says nothing new; SIGTERM is sent
    // blocking because it must not be lost.
    let (sender, receiver) = crossbeam_channel::bounded(16);
    thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => {}
                SIGCHLD => drop(sender.try_send(signal)),
                _ => drop(sender.send(signal)),
            }
        }
    });
    Ok(receiver)
}
