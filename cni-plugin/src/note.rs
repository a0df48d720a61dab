//! What DEL leaves when there is no daemon: a note beside its socket, taken up when it comes.
//!
//! The directory is root's alone, a note is complete when it appears under its name, and the name is made of a hash, so that
//! nothing of what a runtime says leads anywhere. The same DEL again finds its note there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::attachment::{AttachmentKey, MAX_NOTE_BYTES, NOTES_DIRECTORY};

/// Keys of one hash that may wait at the same time; 64 bits meet by accident once in a lifetime of machines.
const SAME_HASH: usize = 8;

/// Leaves a note that `key` is to be detached. False if there is nothing to leave it for: where the daemon's directory is not, it has
/// not run since the machine started, and no namespace is as old as that.
pub fn leave(socket: &Path, key: &AttachmentKey) -> io::Result<bool> {
    let Some(run_dir) = socket.parent().filter(|parent| parent.is_dir()) else { return Ok(false) };
    let directory = run_dir.join(NOTES_DIRECTORY);
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let text = serde_json::to_vec(key).map_err(io::Error::other)?;
    let hash = fnv1a(&text);
    for attempt in 0..SAME_HASH {
        let path = directory.join(format!("{hash:016x}-{attempt}"));
        match read(&path)? {
            None => {
                write(&directory, &path, &text)?;
                return Ok(true);
            }
            Some(other) if other == text => return Ok(true),
            Some(_) => {}
        }
    }
    Err(io::Error::other(format!("{} is full", directory.display())))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_NOTE_BYTES).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Whole or not at all, and there after a loss of power.
fn write(directory: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unfinished: PathBuf = directory.join(format!(".{}-{now}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    match written.and_then(|()| fs::rename(&unfinished, path)) {
        Ok(()) => File::open(directory)?.sync_all(),
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container: &str) -> AttachmentKey {
        AttachmentKey {
            network: "pods".parse_as(),
            container: container.parse_as(),
            interface: "eth0".parse_as(),
        }
    }

    trait ParseAs {
        fn parse_as<T: TryFrom<String, Error: std::fmt::Debug>>(&self) -> T;
    }

    impl ParseAs for str {
        fn parse_as<T: TryFrom<String, Error: std::fmt::Debug>>(&self) -> T {
            T::try_from(self.to_owned()).unwrap()
        }
    }

    fn notes(run_dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(run_dir.join(NOTES_DIRECTORY)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_note_is_left_once_for_a_key_and_says_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        assert!(leave(&socket, &key("a")).unwrap() && leave(&socket, &key("a")).unwrap());
        let [note] = notes(dir.path()).try_into().unwrap();
        assert_eq!(serde_json::from_slice::<AttachmentKey>(&fs::read(&note).unwrap()).unwrap(), key("a"));
        assert!(leave(&socket, &key("b")).unwrap());
        assert_eq!(notes(dir.path()).len(), 2);
    }

    #[test]
    fn keys_of_one_hash_have_a_note_each() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        leave(&socket, &key("a")).unwrap();
        let [note] = notes(dir.path()).try_into().unwrap();
        fs::write(&note, "another key").unwrap();
        leave(&socket, &key("a")).unwrap();
        assert_eq!(notes(dir.path()).len(), 2);
    }

    #[test]
    fn a_machine_on_which_the_daemon_never_ran_has_nothing_to_detach() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("absent/admin.sock");
        assert!(!leave(&socket, &key("a")).unwrap());
        assert!(!dir.path().join("absent").exists());
    }

    #[test]
    fn a_link_in_place_of_a_note_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        leave(&socket, &key("a")).unwrap();
        let [note] = notes(dir.path()).try_into().unwrap();
        fs::remove_file(&note).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &note).unwrap();
        assert!(leave(&socket, &key("a")).is_err());
    }
}
