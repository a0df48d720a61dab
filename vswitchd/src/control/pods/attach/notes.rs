//! What plugins that found no daemon left to be detached: files in `<run_dir>/detach`.
//!
//! All are taken up before anything is attached: a runtime that was told its container is detached may
//! attach the same one again at once, and that must stay.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use protocol::attachment::{AttachmentKey, MAX_NOTE_BYTES, NOTES_DIRECTORY};

use super::super::super::node::Control;
use super::detach;

/// A note that is being written has a name with this before it for a moment; one that is older stays so.
const UNFINISHED: char = '.';
const UNFINISHED_LIMIT: Duration = Duration::from_secs(60);

/// Does what the notes say. One that cannot be followed now is kept for later.
pub(crate) fn take_up(control: &Control) {
    let directory = control.config.run_dir.join(NOTES_DIRECTORY);
    let _one_at_a_time = control.notes.lock();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::error!("notes in {}: {error}", directory.display());
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove_unfinished(&path);
            continue;
        }
        match read(&path) {
            Ok(key) => match detach(control, &key) {
                Ok(()) => {
                    tracing::info!(%key, "detached, as was asked while vswitchd was away");
                    remove(&path);
                }
                Err(error) => tracing::error!(%key, "{error}"),
            },
            Err(error) => {
                tracing::warn!("note {} cannot be read and is removed: {error}", path.display());
                remove(&path);
            }
        }
    }
}

fn read(path: &Path) -> io::Result<AttachmentKey> {
    let file: File =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut text = Vec::new();
    file.take(MAX_NOTE_BYTES).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn remove_unfinished(path: &Path) {
    let age = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
    if matches!(age, Ok(Ok(age)) if age > UNFINISHED_LIMIT) {
        remove(path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::error!("note {}: {error}", path.display());
    }
}
