//! What this process may do, taken away in two steps before the first frame.
//!
//! 1. [`drop_privileges`]: another user, no capability in any set, no way to gain one, no core
//!    file, not traceable by its new user. While there is one thread only.
//! 2. [`apply_seccomp`]: once all threads run, a list of allowed system calls; any other kills the
//!    process. Nothing on the list opens a file, makes a socket, starts a program or a thread, or
//!    configures a device: this process works with the descriptors it is given.
//!
//! Left out: an empty root file system and Landlock. Without `open*` there is no path to resolve.

use std::collections::BTreeMap;
use std::io;

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Why the sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// A system call failed.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Capabilities could not be cleared.
    #[error("clearing the {set} capability set: {source}")]
    Capabilities {
        /// Which set.
        set: &'static str,
        /// What the kernel said.
        source: caps::errors::CapsError,
    },
    /// The filter was not accepted.
    #[error("seccomp filter: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The filter could not be built.
    #[error("seccomp filter: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

/// Becomes `uid`/`gid` without any capability.
///
/// Without the right to change user (a daemon that does not run as root), the user stays and the
/// rest is done all the same.
pub(super) fn drop_privileges(uid: u32, gid: u32) -> Result<(), SandboxError> {
    let failed = |step| move |e: nix::Error| SandboxError::System { step, source: e.into() };
    // Clearing the bounding set is itself a privilege, so it goes first.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        clear_capabilities(CapSet::Bounding, "bounding")?;
    }
    if nix::unistd::geteuid().is_root() {
        setgroups(&[]).map_err(failed("dropping supplementary groups"))?;
        setgid(Gid::from_raw(gid)).map_err(failed("changing group"))?;
        setuid(Uid::from_raw(uid)).map_err(failed("changing user"))?;
    }
    for (set, name) in [
        (CapSet::Ambient, "ambient"),
        (CapSet::Inheritable, "inheritable"),
        (CapSet::Effective, "effective"),
        (CapSet::Permitted, "permitted"),
    ] {
        clear_capabilities(set, name)?;
    }
    prctl::set_no_new_privs().map_err(failed("setting no_new_privs"))?;
    prctl::set_dumpable(false).map_err(failed("clearing the dumpable flag"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("limiting core files"))
}

fn clear_capabilities(set: CapSet, name: &'static str) -> Result<(), SandboxError> {
    caps::clear(None, set).map_err(|source| SandboxError::Capabilities { set: name, source })
}

/// Allows all threads of this process the listed system calls only, from now on.
pub(super) fn apply_seccomp() -> Result<(), SandboxError> {
    // Of two filters the stricter answer counts, so the list below can let pass what this one refuses;
    // it goes first, because the list does not allow another filter.
    for filter in [refused()?, filter()?] {
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter_all_threads(&program)?;
    }
    Ok(())
}

/// Opening a file fails, but does not kill: the allocator looks at `/proc/sys/vm/overcommit_memory`
/// when it gives back a thread's memory, and does without if it may not (glibc's
/// `check_may_shrink_heap`).
fn refused() -> Result<SeccompFilter, SandboxError> {
    let rules = BTreeMap::from([(libc::SYS_openat, Vec::new())]);
    let errno = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, errno, std::env::consts::ARCH.try_into()?)?)
}

fn filter() -> Result<SeccompFilter, SandboxError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Memory is never executable: the third argument of both calls is the protection.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let no_exec = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())),
            0,
        )?;
        rules.insert(call, vec![SeccompRule::new(vec![no_exec])?]);
    }
    // A device received by its descriptor is asked for its name, and nothing else.
    let get_name = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, TUNGETIFF)?;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![get_name])?]);
    // See `refused`.
    rules.insert(libc::SYS_openat, Vec::new());
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?)
}

/// `_IOR('T', 210, unsigned int)` of `linux/if_tun.h`.
const TUNGETIFF: u64 = 0x8004_54d2;

/// Every call is here because something below needs it; `mmap`, `mprotect` and `ioctl` come with a
/// condition.
const ALLOWED: &[i64] = &[
    // Frames: TAPs and the uplink are read and written one frame at a time.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    // The tunnel: trains of datagrams, and, when its sockets and the uplink's come, what they are bound to.
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockname,
    // Poll loop: mio waits and registers ports; an empty poll gives way to others.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    // A rest, and `/proc/loadavg` (opened before) on whether to have one.
    libc::SYS_clock_nanosleep,
    libc::SYS_pread64,
    // Link: wait for control, take its connection, check who it is, talk, pass descriptors.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // A capture's stream, through the standard library.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // Descriptors: duplicates for ExportPorts (`F_DUPFD_CLOEXEC`), and closing.
    libc::SYS_fcntl,
    libc::SYS_close,
    // Threads talking to each other.
    libc::SYS_futex,
    // The allocator.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    // Ends: return from `run`, a thread's end, and abort() from the panic hook, whose report is
    // one `pwrite64`.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_pwrite64,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_for_this_machine() {
        let program: BpfProgram = filter().unwrap().try_into().unwrap();
        assert!(!program.is_empty());
    }

    #[test]
    fn nothing_that_opens_starts_or_configures_is_allowed() {
        for denied in [
            libc::SYS_openat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_execve,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_ioctl,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_kill,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
        ] {
            assert!(!ALLOWED.contains(&denied), "system call {denied}");
        }
    }
}
