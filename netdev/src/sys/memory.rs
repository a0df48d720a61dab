//! Mapping a memory file for the life of the process.

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::fstat;

/// Maps the first `words` words of a memory file, shared, and never unmaps them.
///
/// `EPERM` if the file could shrink later, `EOVERFLOW` if it is too short now: an access behind its end would
/// be a SIGBUS.
pub(crate) fn map_sealed(file: BorrowedFd<'_>, words: NonZeroUsize) -> nix::Result<&'static [AtomicU64]> {
    let bytes = words.get().checked_mul(size_of::<AtomicU64>()).and_then(NonZeroUsize::new);
    let bytes = bytes.ok_or(Errno::EOVERFLOW)?;
    let seals = SealFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SealFlag::F_SEAL_SHRINK) {
        return Err(Errno::EPERM);
    }
    if usize::try_from(fstat(file)?.st_size).is_ok_and(|size| size < bytes.get()) {
        return Err(Errno::EOVERFLOW);
    }
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the kernel chooses the address, so no mapping there is replaced. The descriptor is borrowed, so it is open.
    let start = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, file, 0) }?;
    let start: NonNull<AtomicU64> = start.cast();
    // SAFETY: `start` is the page-aligned beginning of `bytes` readable and writable bytes, all of them in the
    // file, which was just seen to be long enough and sealed against shrinking. They are never unmapped, as
    // nothing else knows the address. Any bytes are a valid `AtomicU64`. Other processes may write them, which
    // is what atomics are for: nobody here has a plain reference to them.
    Ok(unsafe { slice::from_raw_parts(start.as_ptr(), words.get()) })
}
