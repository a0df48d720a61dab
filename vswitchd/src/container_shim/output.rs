//! Keeps what a container prints.
//!
//! The container writes into a pipe, not into the file, so that the file can be cut: two files of
//! [`MAX_LOG_BYTES`] hold the latest output of a run, however much it prints. A full disk loses
//! output and never blocks the container.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::dir::ContainerDir;

/// Where `log` becomes `log.1`; Kubernetes' default `containerLogMaxSize` is 10 MiB.
const MAX_LOG_BYTES: u64 = 10 << 20;

/// How long output may go on after the end of its container.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// Copies `pipe` into the container's log until every writer has closed it.
pub(super) fn spawn_copier(dir: ContainerDir, mut pipe: PipeReader) -> Copier {
    let thread = thread::spawn(move || {
        let mut log = Log::open(dir);
        let mut buffer = [0; 16 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => log.append(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    Copier(thread)
}

/// The thread that writes a run's log.
pub(super) struct Copier(JoinHandle<()>);

impl Copier {
    /// Waits until all output of a container that has ended is in the log. Not for ever: what it left
    /// running in the background may hold the pipe.
    pub(super) fn finish(self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        while !self.0.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The output of a run that has ended becomes the previous one.
pub(super) fn start_new_run(dir: &ContainerDir) {
    // A missing file is the ordinary case, and any other failure only costs old output.
    let _ = fs::rename(dir.log(), dir.log_previous());
    let _ = fs::remove_file(dir.log_older());
}

struct Log {
    dir: ContainerDir,
    file: Option<File>,
    len: u64,
}

impl Log {
    fn open(dir: ContainerDir) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(dir.log()).ok();
        let len = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Self { dir, file, len }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.len >= MAX_LOG_BYTES {
            let _ = fs::rename(self.dir.log(), self.dir.log_older());
            *self = Self::open(self.dir.clone());
        }
        let Some(file) = &mut self.file else { return };
        if file.write_all(bytes).is_ok() {
            self.len += bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded_and_the_latest_part_is_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = ContainerDir::new(temporary.path().to_owned());
        let (reader, mut writer) = io::pipe().unwrap();
        let copier = spawn_copier(dir.clone(), reader);
        let line = [b'x'; 1 << 16];
        for _ in 0..(3 * MAX_LOG_BYTES / line.len() as u64) {
            writer.write_all(&line).unwrap();
        }
        writer.write_all(b"the end\n").unwrap();
        drop(writer);
        copier.0.join().unwrap();
        let (new, old) = (fs::read(dir.log()).unwrap(), fs::metadata(dir.log_older()).unwrap().len());
        assert!(new.ends_with(b"the end\n"));
        let slack = line.len() as u64;
        assert!(new.len() as u64 <= MAX_LOG_BYTES + slack && old <= MAX_LOG_BYTES + slack);
    }
}
