//! Network namespaces with names, laid out as `ip netns` does, so that its commands see ours and
//! we see its.
//!
//! A name is a file in `/run/netns` with the namespace bind-mounted on it. `/run/netns` is a
//! shared mount of its own, so that names made or deleted later reach the mount namespaces of
//! programs already running. Creation and deletion hold a lock on the directory; a file without a
//! mount on it is what a crash left behind, and is replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Where `ip netns` keeps its names.
pub const NETNS_DIR: &str = "/run/netns";
/// The calling thread's own namespace.
const OWN_NETNS: &str = "/proc/thread-self/ns/net";
/// A path component of Linux (`NAME_MAX`).
const NAME_MAX_BYTES: usize = 255;
/// A name is normally mounted once; a crash between two mounts can stack a second.
const MAX_STACKED_MOUNTS: usize = 8;

/// Why a namespace operation failed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Not a file name.
    #[error("\"{name}\" is not a namespace name: want 1 to 255 bytes without '/'")]
    BadName {
        /// What was given.
        name: String,
    },
    /// The name is taken.
    #[error("network namespace {name} exists already")]
    Exists {
        /// The name.
        name: String,
    },
    /// Nothing there.
    #[error("there is no network namespace {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// Where.
        path: PathBuf,
    },
    /// The kernel said no.
    #[error("cannot {step} {}", path.display())]
    Kernel {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A reference to a namespace, which keeps it alive.
#[derive(Debug)]
pub struct Netns(OwnedFd);

impl Netns {
    /// The calling thread's namespace.
    pub fn current() -> Result<Self, NetnsError> {
        open_path(Path::new(OWN_NETNS))
    }

    /// Runs `work` on a thread of its own inside the namespace, and waits for it.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, NetnsError> {
        let entered = on_own_thread(|| {
            setns(self.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        match entered {
            Ok(result) => result.map_err(|errno: Errno| self.failure("enter", errno.into())),
            Err(source) => Err(self.failure("start a thread in", source)),
        }
    }

    /// Both are the same namespace.
    pub fn same_as(&self, other: &Self) -> Result<bool, NetnsError> {
        Ok(self.identity()? == other.identity()?)
    }

    /// Device and inode of the namespace file, which identify a namespace while it lives.
    pub fn identity(&self) -> Result<(u64, u64), NetnsError> {
        let fail = |source| self.failure("inspect", source);
        let file = File::from(self.0.try_clone().map_err(fail)?);
        let metadata = file.metadata().map_err(fail)?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Another reference.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    fn failure(&self, step: &'static str, source: io::Error) -> NetnsError {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        let path = fs::read_link(&path).unwrap_or(path);
        NetnsError::Kernel { step, path, source }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Netns {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.0
    }
}

/// Makes a new namespace and names it. Everything in it is down, `lo` too.
pub fn create(name: &str) -> Result<Netns, NetnsError> {
    check_name(name)?;
    let path = path_of(name);
    let _lock = prepare_directory()?;
    reserve(name, &path)?;
    let made = on_own_thread(|| unshare_onto(&path))
        .unwrap_or_else(|source| Err(kernel("start a thread for", &path, source)));
    if made.is_err() {
        // The file is ours and nothing is mounted on it; the error worth reporting is `made`'s.
        let _ = fs::remove_file(&path);
    }
    made
}

/// Opens the namespace of that name.
pub fn open(name: &str) -> Result<Netns, NetnsError> {
    check_name(name)?;
    open_path(&path_of(name))
}

/// Opens the namespace a path leads to, such as `/proc/<pid>/ns/net`.
pub fn open_path(path: &Path) -> Result<Netns, NetnsError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NetnsError::NotFound { path: path.to_owned() },
        _ => kernel("open", path, source),
    })?;
    if !is_namespace(&file).map_err(|source| kernel("inspect", path, source))? {
        return Err(NetnsError::NotANamespace { path: path.to_owned() });
    }
    Ok(Netns(file.into()))
}

/// Takes the name away. The namespace itself lives until its last process and descriptor go.
pub fn delete(name: &str) -> Result<(), NetnsError> {
    check_name(name)?;
    let path = path_of(name);
    if !path.exists() {
        return Err(NetnsError::NotFound { path });
    }
    let _lock = prepare_directory()?;
    for _ in 0..MAX_STACKED_MOUNTS {
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            // Not a mount point (any more).
            Err(Errno::EINVAL) => break,
            Err(Errno::ENOENT) => return Err(NetnsError::NotFound { path }),
            Err(errno) => return Err(kernel("unmount", &path, errno.into())),
        }
    }
    match fs::remove_file(&path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(NetnsError::NotFound { path }),
        Err(source) => Err(kernel("remove", &path, source)),
        Ok(()) => Ok(()),
    }
}

/// All names, sorted; leftovers without a namespace are among them, as with `ip netns list`.
pub fn list() -> Result<Vec<String>, NetnsError> {
    let directory = Path::new(NETNS_DIR);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(kernel("list", directory, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| kernel("list", directory, source))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// There is a namespace of that name.
#[must_use]
pub fn exists(name: &str) -> bool {
    open(name).is_ok()
}

/// The file that stands for `name`.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Runs `work` on a thread that ends with it, and with it whatever namespace the thread entered.
/// An error is that of starting the thread; a panic goes on here.
fn on_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name(String::from("netns")).spawn_scoped(scope, work)?;
        worker.join().map_or_else(|panic| panic::resume_unwind(panic), Ok)
    })
}

fn check_name(name: &str) -> Result<(), NetnsError> {
    let valid = !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| byte == b'/' || byte == 0);
    if valid { Ok(()) } else { Err(NetnsError::BadName { name: name.to_owned() }) }
}

/// Makes `/run/netns` a shared mount and locks it, as iproute2's `netns_add` does.
fn prepare_directory() -> Result<File, NetnsError> {
    let directory = Path::new(NETNS_DIR);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|source| kernel("create", directory, source))?;
    let lock = File::open(directory).map_err(|source| kernel("open", directory, source))?;
    lock.lock().map_err(|source| kernel("lock", directory, source))?;

    let share =
        || mount(None::<&str>, directory, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Ok(()) => return Ok(lock),
        // Not a mount point yet.
        Err(Errno::EINVAL) => {}
        Err(errno) => return Err(kernel("share", directory, errno.into())),
    }
    mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| kernel("bind", directory, errno.into()))?;
    share().map_err(|errno| kernel("share", directory, errno.into()))?;
    Ok(lock)
}

/// Creates the file to mount on, in place of a leftover if there is one.
fn reserve(name: &str, path: &Path) -> Result<(), NetnsError> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o444).open(path).map(drop);
    match create() {
        Ok(()) => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(kernel("create", path, source)),
    }
    match open_path(path) {
        Err(NetnsError::NotANamespace { .. }) => {}
        Ok(_) | Err(_) => return Err(NetnsError::Exists { name: name.to_owned() }),
    }
    // The lock is ours, so whoever made this file did not get as far as the mount.
    fs::remove_file(path).map_err(|source| kernel("remove", path, source))?;
    create().map_err(|source| kernel("create", path, source))
}

/// Gives the calling thread a new namespace and binds it to `path`. The thread must end after.
fn unshare_onto(path: &Path) -> Result<Netns, NetnsError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| kernel("make a network namespace for", path, errno.into()))?;
    let netns = Netns::current()?;
    mount(Some(OWN_NETNS), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| kernel("mount a network namespace on", path, errno.into()))?;
    Ok(netns)
}

fn is_namespace(file: &File) -> io::Result<bool> {
    Ok(fstatfs(file)?.filesystem_type() == NSFS_MAGIC)
}

fn kernel(step: &'static str, path: &Path, source: io::Error) -> NetnsError {
    NetnsError::Kernel { step, path: path.to_owned(), source }
}
