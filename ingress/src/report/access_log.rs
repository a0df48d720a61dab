//! The access log: one JSON object a line, for each request that was answered.
//!
//! A thread of its own writes. The queue to it is bounded, and a request never waits for it: a line that finds
//! it full is dropped and counted.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use serde::Serialize;

/// Lines that wait to be written.
const QUEUE_LINES: usize = 8192;

/// One request.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) request_id: &'a str,
    pub(crate) client: std::net::IpAddr,
    pub(crate) method: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) status: u16,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<std::net::SocketAddr>,
    pub(crate) tries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<&'a str>,
    /// The response was cut short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) aborted: bool,
}

/// Where lines go.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog(SyncSender<Vec<u8>>);

impl AccessLog {
    /// Appends to a file; `-` is standard output.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(OpenOptions::new().create(true).append(true).open(path)?)
        };
        let (lines, queue) = sync_channel(QUEUE_LINES);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_lines(&queue, out))?;
        Ok(Self(lines))
    }

    /// Queues a line. False if it was dropped.
    pub(crate) fn write(&self, line: &Line<'_>) -> bool {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return false };
        bytes.push(b'\n');
        self.0.try_send(bytes).is_ok()
    }
}

/// Writes what comes, and flushes when nothing waits.
fn write_lines(queue: &Receiver<Vec<u8>>, out: Box<dyn Write + Send>) {
    let mut out = BufWriter::new(out);
    loop {
        let line = match queue.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                let _ = out.flush();
                match queue.recv() {
                    Ok(line) => line,
                    Err(_) => break,
                }
            }
        };
        // A full disk must not stop requests; there is nobody to tell but the log itself.
        let _ = out.write_all(&line);
    }
    let _ = out.flush();
}
