//! What a child does between fork and exec.
//!
//! Another thread may have held any lock at the time of the fork, so nothing here allocates,
//! locks or panics: only system calls on memory prepared before (`signal-safety(7)`).

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid, write};

/// Signals are numbered up to this (`_NSIG`).
const LAST_SIGNAL: c_int = 64;
/// `linux/mount.h`, the same on all architectures; libc has them for Android only.
const OPEN_TREE_CLONE: c_int = 1;
const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;
/// What a new `/sys` would hide.
const CGROUP_ROOT: &CStr = c"/sys/fs/cgroup";

/// Everything the child needs, made before the fork.
pub(crate) struct ChildPlan {
    pub(crate) netns: OwnedFd,
    pub(crate) cgroups: Vec<OwnedFd>,
    pub(crate) binds: Vec<(CString, CString)>,
    pub(crate) hostname: Option<String>,
    pub(crate) new_session: bool,
    pub(crate) run_as: Option<(u32, u32)>,
    pub(crate) reset_signals: bool,
    /// Gets the [`Step`] that failed and the index of its object.
    pub(crate) report: OwnedFd,
}

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    JoinCgroup = 1,
    EnterNetns,
    Unshare,
    Slave,
    Bind,
    Hostname,
    Session,
    GiveUpRights,
}

impl Step {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        const ALL: [Step; 8] = [
            Step::JoinCgroup,
            Step::EnterNetns,
            Step::Unshare,
            Step::Slave,
            Step::Bind,
            Step::Hostname,
            Step::Session,
            Step::GiveUpRights,
        ];
        ALL.into_iter().find(|step| *step as u8 == code)
    }
}

/// Makes `command` carry out `plan` in the child.
pub(crate) fn before_exec(command: &mut Command, plan: ChildPlan) {
    // SAFETY: the closure must be fit to run after a fork of a process with threads: `run` makes
    // system calls only, on memory that `plan` already owns, and allocates, locks and frees nothing.
    unsafe { command.pre_exec(move || plan.run()) };
}

impl ChildPlan {
    fn run(&self) -> io::Result<()> {
        self.carry_out().map_err(|(step, index, errno)| {
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            // If this fails too, the errno still arrives; only the name of the step is lost.
            let _ = write(&self.report, &[step as u8, index]);
            io::Error::from(errno)
        })
    }

    fn carry_out(&self) -> Result<(), (Step, usize, Errno)> {
        for (index, procs) in self.cgroups.iter().enumerate() {
            // "0" is whoever writes (cgroup v1 and v2).
            write(procs, b"0").map_err(|errno| (Step::JoinCgroup, index, errno))?;
        }
        setns(self.netns.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| (Step::EnterNetns, 0, errno))?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .map_err(|errno| (Step::Unshare, 0, errno))?;
        mount_simple(None, c"/", None, MsFlags::MS_SLAVE | MsFlags::MS_REC)
            .map_err(|errno| (Step::Slave, 0, errno))?;
        remount_sysfs();
        for (index, (source, target)) in self.binds.iter().enumerate() {
            mount_simple(Some(source), target, None, MsFlags::MS_BIND)
                .map_err(|errno| (Step::Bind, index, errno))?;
        }
        if let Some(hostname) = &self.hostname {
            nix::unistd::sethostname(hostname).map_err(|errno| (Step::Hostname, 0, errno))?;
        }
        if self.new_session {
            setsid().map_err(|errno| (Step::Session, 0, errno))?;
        }
        if self.reset_signals {
            reset_signals();
        }
        close_inherited();
        if let Some((user, group)) = self.run_as {
            give_up_rights(user, group).map_err(|errno| (Step::GiveUpRights, 0, errno))?;
        }
        Ok(())
    }
}

/// Capabilities are numbered below this (`CAP_LAST_CAP` is 40 in Linux 6.18; a number that is none is refused).
const CAPABILITIES: c_int = 64;

/// Becomes a user without any capability, who cannot get one by a program's set-uid bit or file capabilities either. The bounding
/// set goes first, which takes a right that a change of user takes away with all others.
fn give_up_rights(user: u32, group: u32) -> nix::Result<()> {
    for capability in 0..CAPABILITIES {
        // SAFETY: integers only. EINVAL past the last capability leaves things as they were.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    nix::sys::prctl::set_no_new_privs()
}

fn mount_simple(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: MsFlags,
) -> nix::Result<()> {
    mount(source, target, kind, flags, None::<&CStr>)
}

/// Mounts a sysfs of this network namespace over the node's, so that `/sys/class/net` lists the
/// pod's interfaces, and brings the cgroup hierarchies along. Where that is not allowed (a
/// container with a read-only `/sys`) the program still runs, with the node's `/sys`.
fn remount_sysfs() {
    let cgroups = clone_mounts(CGROUP_ROOT);
    let sysfs = |flags| mount_simple(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags);
    let mounted = sysfs(MsFlags::empty()).or_else(|_| sysfs(MsFlags::MS_RDONLY));
    if let (Ok(()), Ok(cgroups)) = (mounted, cgroups) {
        let _ = attach_mounts(&cgroups, CGROUP_ROOT);
    }
}

/// `open_tree(2)`: a detached copy of the mounts at and below `path` (Linux 5.2).
fn clone_mounts(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_RECURSIVE;
    // SAFETY: reads a terminated string that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = Errno::result(result)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: a result that is no error is a new descriptor nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `move_mount(2)`: attaches what [`clone_mounts`] made at `path`.
fn attach_mounts(tree: &OwnedFd, path: &CStr) -> nix::Result<()> {
    // SAFETY: reads two terminated strings that outlive the call; the descriptor is open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

/// Dispositions and mask survive an exec; a daemon's must not leak into a container.
fn reset_signals() {
    // The kernel's `struct sigaction` (handler, flags, restorer, 64-bit mask), not the C library's,
    // whose `sigaction()` refuses the two signals it uses itself: somebody may have ignored them
    // before us. All zeroes is SIG_DFL.
    const DEFAULT_ACTION: [u64; 4] = [0; 4];
    const MASK_BYTES: usize = 8;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: reads one kernel `sigaction`, which the constant is at least as long as, and
        // writes nothing (null old action). SIGKILL and SIGSTOP are EINVAL, which changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT_ACTION.as_ptr(),
                ptr::null_mut::<u64>(),
                MASK_BYTES,
            )
        };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Every descriptor of ours is close-on-exec already; this covers those of libraries.
fn close_inherited() {
    // SAFETY: integers only. Marking (rather than closing) keeps the pipe by which `Command`
    // reports a failed exec. ENOSYS before Linux 5.11 leaves things as they were.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}
