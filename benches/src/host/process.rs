//! Programs started by the harness: every one has a deadline, and none outlives its guard.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{check_stop, wait_for};

/// Far above what any set-up command takes, even on a loaded machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// How often a wait looks whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long a program may take to end when it is told to.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Runs `words` (split at blanks), fails with its stderr unless it succeeds.
pub(crate) fn run(words: &str) -> Result<String> {
    start(words)?.finish(COMMAND_LIMIT).with_context(|| format!("`{words}`"))
}

/// Runs a command that is put together already.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    Running::start(command)?.finish(COMMAND_LIMIT).with_context(|| format!("`{name}`: {command:?}"))?;
    Ok(())
}

/// As [`run`], for guards: it goes on although the user asked to stop, and a failure is only shown.
pub(crate) fn clean_up(words: &str) {
    let done = start(words).and_then(|running| running.collect(COMMAND_LIMIT, false));
    if let Err(error) = done {
        eprintln!("cleaning up: `{words}`: {error:#}");
    }
}

fn start(words: &str) -> Result<Running> {
    let mut parts = words.split_ascii_whitespace();
    let program = parts.next().context("empty command")?;
    Running::start(Command::new(program).args(parts))
}

/// Fails unless every program is in PATH.
pub(crate) fn installed(programs: &[&str]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = std::env::split_paths(&path).collect();
    let executable = |program: &str| {
        directories.iter().any(|d| {
            let found = d.join(program).metadata();
            found.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
    };
    let missing: Vec<_> = programs.iter().copied().filter(|p| !executable(p)).collect();
    ensure!(missing.is_empty(), "not installed: {} (make bench-setup installs it)", missing.join(", "));
    Ok(())
}

/// A process that is ended when dropped.
pub(crate) struct Background(Child);

impl Background {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot run {name} (make setup installs it)"))?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Fails when the process has ended already.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}"),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let Ok(pid) = i32::try_from(self.0.id()) else { return };
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let gone = wait_for(END_LIMIT, || Ok(matches!(self.0.try_wait(), Ok(Some(_)))));
        if gone.is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A process whose output is read. Threads do that, so that neither pipe can fill up and stop it.
pub(crate) struct Running {
    child: Background,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Background::spawn(command)?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.0.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let errors = child.0.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let stdin = child.0.stdin.take();
        Ok(Self { child, stdin, lines, errors })
    }

    /// Starts a server and waits until it says that it listens.
    pub(crate) fn start_server(command: &mut Command) -> Result<Self> {
        let mut server = Self::start(command)?;
        match server.lines.recv_timeout(COMMAND_LIMIT) {
            Ok(line) if line == READY => Ok(server),
            Ok(line) => bail!("unexpected greeting {line:?}"),
            Err(RecvTimeoutError::Timeout) => bail!("it does not get ready"),
            Err(RecvTimeoutError::Disconnected) => bail!("{}", server.failure()?),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Fails when the process has ended already.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.child.check_running()
    }

    /// Gives it `text` on stdin.
    pub(crate) fn write(&mut self, text: &str) -> Result<()> {
        Ok(self.stdin.as_mut().context("stdin is closed")?.write_all(text.as_bytes())?)
    }

    /// Closes its stdin, which ends our servers, waits, and returns what it printed. Fails unless
    /// it succeeds.
    pub(crate) fn finish(self, limit: Duration) -> Result<String> {
        self.collect(limit, true)
    }

    fn collect(mut self, limit: Duration, interruptible: bool) -> Result<String> {
        self.stdin = None;
        let deadline = Instant::now() + limit;
        let mut printed = String::new();
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => printed = printed + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    bail!("it did not end within {limit:?}")
                }
                Err(RecvTimeoutError::Timeout) if interruptible => check_stop()?,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let child = &mut self.child.0;
        // Output ends with the process, or just before it.
        wait_for(END_LIMIT, || Ok(child.try_wait()?.is_some()))?;
        let status = child.wait()?;
        if !status.success() {
            let said = self.failure()?;
            let last = printed.trim();
            bail!("{}", if said.is_empty() { format!("it ended with {status}: {last}") } else { said });
        }
        Ok(printed)
    }

    /// What it wrote to stderr before it ended.
    fn failure(&mut self) -> Result<String> {
        let child = &mut self.child.0;
        wait_for(END_LIMIT, || Ok(child.try_wait()?.is_some())).context("it closed its output")?;
        let text = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok(text.trim().trim_start_matches("error: ").to_owned())
    }
}

/// What our servers print once they listen.
pub(crate) const READY: &str = "ready";
