//! Where a pod's network namespace is: under a name of ours, or where a container runtime has it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use netdev::Netns;
use netdev::netns::{self, NetnsError};
use store::record::PodRecord;

use super::network::DEVICE;

/// The namespace is a container runtime's, so that it and what else is in it are not ours to remove.
pub(crate) const fn is_foreign(record: &PodRecord) -> bool {
    record.attachment.is_some()
}

/// The file that stands for the namespace.
pub(crate) fn path(record: &PodRecord) -> PathBuf {
    match &record.attachment {
        Some(attachment) => PathBuf::from(attachment.netns.as_str()),
        None => netns::path_of(&record.netns),
    }
}

/// The pod's interface.
pub(crate) fn device(record: &PodRecord) -> &str {
    record.attachment.as_ref().map_or(DEVICE, |attachment| attachment.key.interface.as_str())
}

/// Opens the namespace; `None` if it is gone, or another one is where a runtime's was.
pub(crate) fn open(record: &PodRecord) -> Result<Option<Netns>, NetnsError> {
    let netns = match netns::open_path(&path(record)) {
        Ok(netns) => netns,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(other) => return Err(other),
    };
    let expected = record.attachment.as_ref().map(|attachment| attachment.netns_identity);
    let is_it = expected.is_none_or(|expected| netns.identity().is_ok_and(|found| found == expected));
    Ok(is_it.then_some(netns))
}

/// A path below a process's directory is gone with the process.
pub(crate) fn is_gone(error: &NetnsError) -> bool {
    match error {
        NetnsError::NotFound { .. } | NetnsError::NotANamespace { .. } => true,
        NetnsError::Kernel { source, .. } => source.raw_os_error() == Some(libc::ESRCH),
        NetnsError::BadName { .. } | NetnsError::Exists { .. } => false,
    }
}

/// What the namespace at a path is identified by now.
pub(crate) fn identity_at(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
