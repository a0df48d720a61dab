//! Running programs: [`Ran`] is one that ended, with all its output for the failure message;
//! [`Background`] is one that runs until it is waited for or dropped.

use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// No program of a test runs longer; the longest streams take a few seconds.
const LONGEST_RUN_SECONDS: &str = "90";

/// A program that ended.
#[derive(Debug)]
pub struct Ran {
    /// As a shell would be given it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ran {
    /// Its output, if it succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self}");
        self.stdout
    }

    /// What it complained about, if it ended with `code`.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self.stderr
    }

    /// It ended with status 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, status, stdout, stderr } = self;
        write!(f, "`{command}` ended with {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Runs `program` to its end, killed if it takes too long.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn run(program: Command) -> Ran {
    Background::start(program).wait()
}

/// A running program in a process group of its own, which is killed when this is dropped.
pub struct Background {
    command: String,
    child: Child,
}

impl Background {
    /// Starts it with piped input and output.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start(program: Command) -> Self {
        let words: Vec<_> = std::iter::once(program.get_program())
            .chain(program.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let command = words.join(" ");
        let mut bounded = Command::new("timeout");
        bounded.args(["--kill-after=5", LONGEST_RUN_SECONDS]).args(&words);
        for (key, value) in program.get_envs() {
            match value {
                Some(value) => bounded.env(key, value),
                None => bounded.env_remove(key),
            };
        }
        let child = bounded
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start `{command}`: {e}"));
        Self { command, child }
    }

    /// Its input, once.
    ///
    /// # Panics
    /// When it was taken before.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin is taken once")
    }

    /// Reads its output until `marker` has come, and returns what came.
    ///
    /// # Panics
    /// When it ends before.
    #[track_caller]
    pub fn wait_for_output(&mut self, marker: &str) -> String {
        let out = self.child.stdout.as_mut().expect("stdout is piped");
        let mut seen = Vec::new();
        let mut byte = [0];
        loop {
            match out.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                _ => panic!("`{}` ended before it said {marker:?}: {}", self.command, text(&seen)),
            }
            if seen.ends_with(marker.as_bytes()) {
                return text(&seen);
            }
        }
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the kernel does not know it.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Lets it run to its end.
    ///
    /// # Panics
    /// When its output cannot be read.
    #[track_caller]
    #[must_use]
    pub fn wait(mut self) -> Ran {
        drop(self.child.stdin.take());
        let mut out = self.child.stdout.take().expect("stdout is piped");
        let mut err = self.child.stderr.take().expect("stderr is piped");
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            err.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).expect("a pipe can be read");
        let stderr = errors.join().expect("the reader does not panic").expect("a pipe can be read");
        let status = self.child.wait().expect("a child can be waited for");
        Ran { command: self.command.clone(), status, stdout: text(&bytes), stderr: text(&stderr) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Ended and waited for: its number may belong to another process by now.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
