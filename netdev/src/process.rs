//! Programs inside a pod: what `ip netns exec` does, plus the pod's cgroup, host name and files.
//!
//! In order, between fork and exec: join the cgroups, enter the network namespace, leave the
//! mount and UTS namespaces, make `/` a slave (mounts made here stay here; what the node mounts and
//! unmounts later is followed, so that a pod keeps nothing busy), mount a `/sys` that shows the pod's interfaces, bind the pod's
//! files, set the host name, give up all rights if it is to have none. All that can fail before the fork, such as opening files, is done
//! before it, and nothing allocates after it.
//!
//! An error whose [`io::Error::kind`] is that of the exec itself (`NotFound`, `PermissionDenied`)
//! is about the program; everything before it is a [`SetupError`] inside an `Other` error.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use crate::netns;
use crate::sys;
use crate::sys::pod_child::{ChildPlan, Step};

/// A program to run in a pod. Fill in what [`PodCommand::new`] leaves empty.
#[derive(Debug)]
pub struct PodCommand {
    /// File of the network namespace.
    pub netns: PathBuf,
    /// Host name it sees.
    pub hostname: Option<String>,
    /// Files of the pod and where they appear: `(source, target)`. Targets must exist.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// `cgroup.procs` files to join; with cgroup v1 one per hierarchy.
    pub cgroup_procs: Vec<PathBuf>,
    /// Program, looked up in the `PATH` it will have, and its arguments.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Start from an empty environment instead of ours.
    pub clear_env: bool,
    /// Where it starts.
    pub current_dir: Option<PathBuf>,
    /// Its input.
    pub stdin: Stdio,
    /// Its output.
    pub stdout: Stdio,
    /// Its error output.
    pub stderr: Stdio,
    /// Leads a session of its own, so that no terminal signal reaches it (`setsid(2)`).
    pub new_session: bool,
    /// Runs as this user and group, without further groups or capabilities, and can never get any (`PR_SET_NO_NEW_PRIVS`).
    pub run_as: Option<(u32, u32)>,
}

/// Why a program could not even be tried.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {object}")]
pub struct SetupError {
    /// What was tried.
    pub step: &'static str,
    /// On what.
    pub object: String,
    /// What the kernel said.
    pub source: io::Error,
}

impl PodCommand {
    /// Runs `argv` in the namespace `netns`, with our environment and standard streams.
    #[must_use]
    pub fn new(netns: impl Into<PathBuf>, argv: Vec<String>) -> Self {
        Self {
            netns: netns.into(),
            hostname: None,
            binds: Vec::new(),
            cgroup_procs: Vec::new(),
            argv,
            env: Vec::new(),
            clear_env: false,
            current_dir: None,
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            new_session: false,
            run_as: None,
        }
    }

    /// Starts it as a child of the calling process. Signals are as after boot: none blocked, none
    /// ignored.
    pub fn spawn(self) -> io::Result<Child> {
        let (mut command, report) = self.prepare(true)?;
        command.spawn().map_err(|error| report.explain(error))
    }

    /// Becomes the program; returns only if that failed, and then the caller has partly moved
    /// into the pod and should exit. Ignored signals stay ignored, as with `nohup`, except SIGPIPE.
    #[must_use]
    pub fn exec(self) -> io::Error {
        match self.prepare(false) {
            Ok((mut command, report)) => {
                let error = command.exec();
                report.explain(error)
            }
            Err(error) => error,
        }
    }

    fn prepare(self, reset_signals: bool) -> io::Result<(Command, Report)> {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(setup(
                "run",
                String::from("a command without words"),
                io::ErrorKind::InvalidInput.into(),
            ));
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(self.stdin).stdout(self.stdout).stderr(self.stderr);
        if self.clear_env {
            command.env_clear();
        }
        command.envs(self.env);
        if let Some(directory) = &self.current_dir {
            command.current_dir(directory);
        }

        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let netns = netns::open_path(&self.netns)
            .map_err(|source| setup("enter namespace", path_text(&self.netns), io::Error::other(source)))?;
        let plan = ChildPlan {
            netns: netns.into(),
            cgroups: open_cgroups(&self.cgroup_procs)?,
            binds: bind_strings(&self.binds)?,
            hostname: self.hostname.clone(),
            new_session: self.new_session,
            run_as: self.run_as,
            reset_signals,
            report: writer,
        };
        let names = Names {
            netns: self.netns,
            hostname: self.hostname.unwrap_or_default(),
            cgroup_procs: self.cgroup_procs,
            binds: self.binds,
            run_as: self.run_as,
        };
        sys::pod_child::before_exec(&mut command, plan);
        Ok((command, Report { reader, names }))
    }
}

/// Opened here, because the pod's view of `/sys/fs/cgroup` may be another one.
fn open_cgroups(paths: &[PathBuf]) -> io::Result<Vec<OwnedFd>> {
    let open = |path: &PathBuf| {
        let file = OpenOptions::new().write(true).open(path);
        file.map(OwnedFd::from).map_err(|source| setup("join cgroup", path_text(path), source))
    };
    paths.iter().map(open).collect()
}

fn bind_strings(binds: &[(PathBuf, PathBuf)]) -> io::Result<Vec<(CString, CString)>> {
    let text = |path: &Path| {
        CString::new(path.as_os_str().as_bytes())
            .map_err(|source| setup("bind", path_text(path), source.into()))
    };
    binds.iter().map(|(source, target)| Ok((text(source)?, text(target)?))).collect()
}

/// The child says which step failed over a pipe; exec's own errno comes by `Command`.
struct Report {
    reader: OwnedFd,
    names: Names,
}

/// What the steps are about.
struct Names {
    netns: PathBuf,
    hostname: String,
    cgroup_procs: Vec<PathBuf>,
    binds: Vec<(PathBuf, PathBuf)>,
    run_as: Option<(u32, u32)>,
}

impl Report {
    fn explain(&self, error: io::Error) -> io::Error {
        let mut message = [0_u8; 2];
        let step = match read(&self.reader, &mut message) {
            Ok(2) => Step::from_code(message[0]),
            // Nothing said: the exec itself failed.
            Ok(_) | Err(_) => None,
        };
        let index = usize::from(message[1]);
        let names = &self.names;
        match step {
            None => error,
            Some(Step::JoinCgroup) => {
                setup("join cgroup", indexed(&names.cgroup_procs, index, |path| path_text(path)), error)
            }
            Some(Step::EnterNetns) => setup("enter namespace", path_text(&names.netns), error),
            Some(Step::Unshare) => setup("make mount and UTS namespaces for", path_text(&names.netns), error),
            Some(Step::Slave) => setup("detach mounts for", path_text(&names.netns), error),
            Some(Step::Bind) => {
                let describe = |(source, target): &(PathBuf, PathBuf)| {
                    format!("{} on {}", source.display(), target.display())
                };
                setup("bind", indexed(&names.binds, index, describe), error)
            }
            Some(Step::Hostname) => setup("set host name", names.hostname.clone(), error),
            Some(Step::GiveUpRights) => {
                let (user, group) = names.run_as.unwrap_or_default();
                setup("become", format!("user {user} of group {group}"), error)
            }
            Some(Step::Session) => setup("start a session for", path_text(&names.netns), error),
        }
    }
}

fn indexed<T>(items: &[T], index: usize, describe: impl Fn(&T) -> String) -> String {
    items.get(index).map(describe).unwrap_or_default()
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

fn setup(step: &'static str, object: String, source: io::Error) -> io::Error {
    io::Error::other(SetupError { step, object, source })
}

/// A descriptor of a process: readable (`POLLIN`) when it ends, never reused for another.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    sys::pidfd::open(pid)
}

/// Sends a signal to the process behind a descriptor; `ESRCH` if it has ended.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    sys::pidfd::send_signal(pidfd, signal)
}
