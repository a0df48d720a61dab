//! `logs`: a container's output, from the files its supervisor writes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::ObjectName;
use protocol::codec::CodecError;
use protocol::message::{ApiError, ErrorCode, PodRef, Response};

use super::node::Control;
use super::pods::{containers, not_found};
use super::server::Client;

const CHUNK_BYTES: usize = 64 << 10;
/// How often a followed log is looked at.
const FOLLOW_MILLIS: u16 = 100;

/// Which part of which output.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) container: Option<ObjectName>,
    pub(crate) follow: bool,
    pub(crate) tail: Option<u32>,
    pub(crate) previous: bool,
}

/// Output to be sent.
#[derive(Debug)]
pub(crate) struct Logs {
    /// Oldest first; the last one grows.
    files: Vec<PathBuf>,
    follow: bool,
    tail: Option<u32>,
}

/// Finds the output of a container of `pod`.
pub(crate) fn open(control: &Control, pod: &PodRef, wanted: &Wanted) -> Result<Logs, ApiError> {
    let record = control.inventory.lock().get(pod).map(|e| e.record.clone()).ok_or_else(|| not_found(pod))?;
    let names = || record.spec.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing = |text: String| Err(ApiError::new(ErrorCode::NotFound, text));
    let container = match &wanted.container {
        None => record.spec.containers.first(),
        Some(name) => record.spec.containers.iter().find(|c| c.name == *name),
    };
    let Some(container) = container else {
        return missing(match &wanted.container {
            Some(name) => format!("pod {pod} has no container {name}; it has: {}", names()),
            None => format!("pod {pod} has no containers, so there is no output"),
        });
    };
    let dir = containers::dir(control, &record, &container.name);
    if wanted.previous {
        if !dir.log_previous().exists() {
            return missing(format!("container {} of pod {pod} has no previous run", container.name));
        }
        return Ok(Logs { files: vec![dir.log_previous()], follow: false, tail: wanted.tail });
    }
    Ok(Logs { files: vec![dir.log_older(), dir.log()], follow: wanted.follow, tail: wanted.tail })
}

impl Logs {
    /// Sends what there is, and what comes if it is to be followed.
    pub(crate) fn send(self, client: &mut Client) -> Result<(), CodecError> {
        let mut skip = match self.tail {
            None => vec![0; self.files.len()],
            Some(lines) => tail_offsets(&self.files, lines)?,
        };
        let mut current = None;
        for (path, skip) in self.files.iter().zip(skip.drain(..)) {
            let Some(mut file) = open_existing(path)? else { continue };
            file.seek(SeekFrom::Start(skip))?;
            pass_on(&mut file, client)?;
            current = Some(file);
        }
        if self.follow
            && let Some(path) = self.files.last()
        {
            follow(path, current, client)?;
        }
        client.send(&Response::Done)
    }
}

/// Passes on what is appended, across rotation, until the client hangs up or the container's
/// directory is removed.
fn follow(path: &Path, mut current: Option<File>, client: &mut Client) -> Result<(), CodecError> {
    while !client_left(&client.stream)? {
        if let Some(file) = &mut current {
            pass_on(file, client)?;
        }
        let inode = |m: &std::fs::Metadata| (m.dev(), m.ino());
        let here = match std::fs::metadata(path) {
            Ok(metadata) => inode(&metadata),
            Err(_) if !path.parent().is_some_and(Path::exists) => return Ok(()),
            Err(_) => continue,
        };
        let open = current.as_ref().and_then(|file| file.metadata().ok()).map(|m| inode(&m));
        if open != Some(here) {
            // What was written between the last look and the rotation is still in the old file.
            if let Some(file) = &mut current {
                pass_on(file, client)?;
            }
            current = open_existing(path)?;
        }
    }
    Ok(())
}

fn pass_on(file: &mut File, client: &mut Client) -> Result<(), CodecError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => client.send(&Response::Bytes(buffer[..count].to_vec()))?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn client_left(client: &UnixStream) -> Result<bool, CodecError> {
    let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(FOLLOW_MILLIS)) {
        Ok(_) => Ok(fds[0].any().unwrap_or(true)),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}

/// Where in each file the last `lines` lines of them together begin.
fn tail_offsets(files: &[PathBuf], lines: u32) -> io::Result<Vec<u64>> {
    let mut left = u64::from(lines);
    let mut offsets = vec![0; files.len()];
    for (path, offset) in files.iter().zip(&mut offsets).rev() {
        let Some(mut file) = open_existing(path)? else { continue };
        *offset = tail_offset(&mut file, &mut left)?;
    }
    Ok(offsets)
}

/// Walks a file backwards over at most `left` lines.
fn tail_offset(file: &mut File, left: &mut u64) -> io::Result<u64> {
    let len = file.seek(SeekFrom::End(0))?;
    if *left == 0 {
        return Ok(len);
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut end = len;
    while end > 0 {
        let size = end.min(CHUNK_BYTES as u64);
        let start = end - size;
        let chunk = &mut buffer[..usize::try_from(size).unwrap_or(CHUNK_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        for (index, byte) in chunk.iter().enumerate().rev() {
            let position = start + index as u64;
            // The line end that closes the last line does not begin another one.
            if *byte == b'\n' && position + 1 < len {
                *left -= 1;
                if *left == 0 {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    if len > 0 {
        *left -= 1;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(parts: [&str; 2], lines: u32) -> String {
        let dir = tempfile::tempdir().unwrap();
        let files = vec![dir.path().join("log.1"), dir.path().join("log")];
        for (path, text) in files.iter().zip(parts) {
            std::fs::write(path, text).unwrap();
        }
        let offsets = tail_offsets(&files, lines).unwrap();
        let mut all = String::new();
        for (path, offset) in files.iter().zip(offsets) {
            let text = std::fs::read_to_string(path).unwrap();
            all.push_str(&text[usize::try_from(offset).unwrap()..]);
        }
        all
    }

    #[test]
    fn tail_counts_lines_across_rotated_files() {
        assert_eq!(tail(["", "a\nb\nc\n"], 2), "b\nc\n");
        assert_eq!(tail(["", "a\nb\nc"], 1), "c");
        assert_eq!(tail(["1\n2\n", "3\n"], 2), "2\n3\n");
        assert_eq!(tail(["1\n2\n", "3\n4\n"], 2), "3\n4\n");
        assert_eq!(tail(["1\n2\n", "3\n"], 9), "1\n2\n3\n");
        assert_eq!(tail(["1\n2\n", "3\n"], 0), "");
        assert_eq!(tail(["", ""], 3), "");
    }
}
