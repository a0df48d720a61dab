//! Memory that outlives a process: a file without a name (`memfd_create(2)`), as atomic words.
//!
//! Whoever has a descriptor of it sees the same words, so a process that takes over from another finds what
//! that one left. The file is sealed against any change of its size (`F_SEAL_SHRINK`, `F_SEAL_GROW`): a length
//! that was checked once holds for ever, and no other holder of the descriptor can make an access fail. Pages that
//! were never written take no memory.
//!
//! The mapping is deliberately never undone: tables made of it are shared by threads that end in no particular order, there
//! are one or two in a process, and `&'static` says so to the compiler.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::sys;

const WORD_BYTES: usize = size_of::<AtomicU64>();

/// See the module.
pub struct SharedMemory {
    file: OwnedFd,
    words: &'static [AtomicU64],
}

/// Why there is no such memory.
#[derive(Debug, thiserror::Error)]
pub enum SharedMemoryError {
    /// The kernel said no.
    #[error("cannot {step} shared memory {name}")]
    Kernel {
        /// What was tried.
        step: &'static str,
        /// Its name, or its descriptor's number.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A name with a zero in it, or one word too many for this machine, or none at all.
    #[error("shared memory {name} cannot have {words} words")]
    BadRequest {
        /// What was asked for.
        name: String,
        /// How many.
        words: usize,
    },
    /// Another holder could cut it off, and an access behind its end would end this process.
    #[error("shared memory {name} is not sealed against changes of its size")]
    NotSealed {
        /// Its descriptor's number.
        name: String,
    },
    /// Smaller than one word, or no whole number of them.
    #[error("shared memory {name} has {bytes} bytes, which is not a number of {WORD_BYTES}-byte words")]
    BadSize {
        /// Its descriptor's number.
        name: String,
        /// What it has.
        bytes: i64,
    },
}

impl SharedMemory {
    /// New memory of zeroes. The name is what `/proc/PID/maps` shows.
    pub fn create(name: &str, words: usize) -> Result<Self, SharedMemoryError> {
        let bad = || SharedMemoryError::BadRequest { name: name.to_owned(), words };
        let failed = |step| move |errno| kernel(step, name.to_owned(), errno);
        let c_name = CString::new(name).map_err(|_| bad())?;
        let bytes =
            words.checked_mul(WORD_BYTES).and_then(|bytes| i64::try_from(bytes).ok()).ok_or_else(bad)?;
        let words = NonZeroUsize::new(words).ok_or_else(bad)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(c_name.as_c_str(), flags).map_err(failed("create"))?;
        ftruncate(&file, bytes).map_err(failed("size"))?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(size_seals() | SealFlag::F_SEAL_SEAL)).map_err(failed("seal"))?;
        Self::map(file, words).map_err(failed("map"))
    }

    /// What another process made.
    pub fn from_fd(file: OwnedFd) -> Result<Self, SharedMemoryError> {
        let name = format!("of descriptor {}", file.as_raw_fd());
        // A descriptor that knows no seals at all (EINVAL) has none.
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or_default();
        if !SealFlag::from_bits_truncate(seals).contains(size_seals()) {
            return Err(SharedMemoryError::NotSealed { name });
        }
        let bytes = fstat(&file).map_err(|errno| kernel("measure", name.clone(), errno))?.st_size;
        let words = usize::try_from(bytes).ok().filter(|bytes| bytes % WORD_BYTES == 0);
        let Some(words) = words.and_then(|bytes| NonZeroUsize::new(bytes / WORD_BYTES)) else {
            return Err(SharedMemoryError::BadSize { name, bytes });
        };
        Self::map(file, words).map_err(|errno| kernel("map", name, errno))
    }

    fn map(file: OwnedFd, words: NonZeroUsize) -> nix::Result<Self> {
        let words = sys::memory::map_sealed(file.as_fd(), words)?;
        Ok(Self { file, words })
    }

    /// Its words; they stay when this value goes.
    #[must_use]
    pub const fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// Keeps the descriptor alone, to pass it on.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.file
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for SharedMemory {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Debug for SharedMemory {
    // Not the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("file", &self.file).field("words", &self.words.len()).finish()
    }
}

fn size_seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW
}

fn kernel(step: &'static str, name: String, errno: nix::errno::Errno) -> SharedMemoryError {
    SharedMemoryError::Kernel { step, name, source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn two_mappings_of_one_file_see_each_others_writes() {
        let first = SharedMemory::create("two-mappings", 1024).unwrap();
        let fd = first.as_fd().try_clone_to_owned().unwrap();
        first.words()[7].store(70, Relaxed);
        let second = SharedMemory::from_fd(fd).unwrap();
        assert_eq!(second.words().len(), 1024);
        assert_ne!(first.words().as_ptr(), second.words().as_ptr());
        assert_eq!(second.words()[7].load(Relaxed), 70);
        second.words()[1023].store(5, Relaxed);
        let words = first.words();
        drop(first.into_fd());
        assert_eq!(words[1023].load(Relaxed), 5, "words stay when the descriptor is closed");
    }

    #[test]
    fn size_of_memory_cannot_be_changed() {
        let memory = SharedMemory::create("sealed", 512).unwrap();
        assert_eq!(ftruncate(&memory, 8), Err(nix::errno::Errno::EPERM));
        assert_eq!(ftruncate(&memory, 1 << 20), Err(nix::errno::Errno::EPERM));
    }

    #[test]
    fn what_is_not_sealed_is_refused() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(c"open", flags).unwrap();
        ftruncate(&file, 4096).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
        assert!(matches!(SharedMemory::from_fd(file), Err(SharedMemoryError::NotSealed { .. })));
        let other = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(SharedMemory::from_fd(other.into()), Err(SharedMemoryError::NotSealed { .. })));
    }

    #[test]
    fn sizes_that_are_no_words_are_refused() {
        for bytes in [0, 7, 4097] {
            let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
            let file = memfd_create(c"odd", flags).unwrap();
            ftruncate(&file, bytes).unwrap();
            fcntl(&file, FcntlArg::F_ADD_SEALS(size_seals())).unwrap();
            let error = SharedMemory::from_fd(file).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with(&format!("has {bytes} bytes, which is not a number of 8-byte words"))
            );
        }
        for (name, words) in [("none", 0), ("all", usize::MAX), ("a\0b", 1)] {
            let error = SharedMemory::create(name, words).unwrap_err();
            assert!(matches!(error, SharedMemoryError::BadRequest { .. }), "{error}");
        }
    }
}
