//! Connections across an orderly restart: both processes end, and what the memory of connections holds waits in a file.
//!
//! The memory itself cannot have a name: only a file without one can be sealed against being cut off, which would be the end of
//! whoever reads it. So it is copied, as far as it is used, into the run directory when the datapath has ended, and into new memory
//! when the next one starts. Times in it are of the machine's monotonic clock, so the file is good until the
//! machine restarts, which its first line tells; it is used once. What it holds is checked entry by entry where it is
//! used (`datapath::conntrack`).

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use datapath::{Limits, Shared};
use netdev::SharedMemory;

/// In the run directory.
const FILE: &str = "connections";
/// Another one for every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const WORD_BYTES: usize = size_of::<u64>();

/// Where they wait.
pub(crate) fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE)
}

/// Keeps the connections of a datapath that has ended.
pub(super) fn save(run_dir: &Path, memory: OwnedFd) {
    if let Err(error) = try_save(run_dir, memory) {
        tracing::warn!("connections to services end with the daemon: {}: {error}", path(run_dir).display());
        let _ = fs::remove_file(path(run_dir));
    }
}

fn try_save(run_dir: &Path, memory: OwnedFd) -> io::Result<()> {
    let memory = SharedMemory::from_fd(memory).map_err(io::Error::other)?;
    let words = memory.words();
    let used = words.get(..Shared::used_words(words)).unwrap_or_default();
    let path = path(run_dir);
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&partial)?;
    let mut out = BufWriter::new(file);
    out.write_all(fs::read_to_string(BOOT_ID)?.as_bytes())?;
    for word in used {
        out.write_all(&word.load(Ordering::Relaxed).to_ne_bytes())?;
    }
    out.flush()?;
    fs::rename(&partial, &path)
}

/// The connections that wait, in new memory; they wait no longer.
pub(super) fn take(run_dir: &Path) -> Option<OwnedFd> {
    let path = path(run_dir);
    let taken = try_take(&path);
    let _ = fs::remove_file(&path);
    match taken {
        Ok(memory) => memory,
        Err(error) => {
            tracing::warn!("connections to services begin anew: {}: {error}", path.display());
            None
        }
    }
}

fn try_take(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is not ours alone"));
    }
    let mut input = BufReader::new(file);
    let boot_id = fs::read_to_string(BOOT_ID)?;
    let mut its = vec![0; boot_id.len()];
    input.read_exact(&mut its)?;
    if its != boot_id.as_bytes() {
        // The machine was restarted: so was everybody who had a connection.
        return Ok(None);
    }
    let words = Shared::connection_words(&Limits::default());
    let memory = SharedMemory::create("vswitchd-connections", words).map_err(io::Error::other)?;
    let mut bytes = [0; WORD_BYTES];
    for word in memory.words() {
        match input.read_exact(&mut bytes) {
            Ok(()) => word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(memory.into_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn memory() -> SharedMemory {
        let words = Shared::connection_words(&Limits::default());
        let memory = SharedMemory::create("saved-test", words).unwrap();
        // A table over it writes its header.
        let _ = Shared::new(memory.words(), 1, &Limits::default());
        memory
    }

    #[test]
    fn what_is_saved_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(take(dir.path()).is_none());
        let memory = memory();
        let header: Vec<u64> = memory.words()[..16].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        save(dir.path(), memory.as_fd().try_clone_to_owned().unwrap());
        let taken = SharedMemory::from_fd(take(dir.path()).unwrap()).unwrap();
        assert_eq!(taken.words().len(), memory.words().len());
        let again: Vec<u64> = taken.words()[..16].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        assert_eq!(again, header);
        assert!(take(dir.path()).is_none(), "it is used once");
    }

    #[test]
    fn files_of_others_and_of_other_boots_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path());
        save(dir.path(), memory().into_fd());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(take(dir.path()).is_none() && !file.exists());
        save(dir.path(), memory().into_fd());
        let mut bytes = fs::read(&file).unwrap();
        bytes[0] = bytes[0].wrapping_add(1);
        fs::write(&file, bytes).unwrap();
        assert!(take(dir.path()).is_none() && !file.exists());
        fs::write(&file, "short").unwrap();
        assert!(take(dir.path()).is_none());
    }
}
