//! `capture`: the frames of a pod's port, as a pcapng file.
//!
//! The daemon sends the file as a stream. Three parties take part here: a thread that reads the
//! stream, one that waits for Ctrl-C, and the main one, which owns the file and hears from both.
//! Only whole pcapng blocks are written, so the file is valid at whatever moment this ends.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use protocol::message::{AdminRequest, Response};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::Target;
use crate::cli::args::CaptureArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;

/// Pieces of the stream that may wait for the disk before the daemon has to.
const QUEUE_LEN: usize = 64;
/// How long a block may wait in memory before readers of the file (`tshark -i -`) see it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// What the main thread hears.
enum Event {
    Bytes(Vec<u8>),
    /// The daemon ended it, in peace or not.
    End(Result<(), CliError>),
    /// Ctrl-C, or a polite kill.
    Stop,
}

pub(crate) fn run(target: &Target, args: &CaptureArgs) -> Result<(), CliError> {
    let mut daemon = Connection::admin(target, "capture")?;
    // A wrong name should not truncate a file, and a wrong path should not start anything.
    daemon.pod(args.pod.reference())?;
    daemon.wait_for_ever()?;
    let mut file = Output::create(&args.write)?;
    let (events, inbox) = mpsc::sync_channel(QUEUE_LEN);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(CliError::Signals)?;
    let on_signal = events.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = on_signal.send(Event::Stop);
        }
    });
    daemon.send(&AdminRequest::Capture { pod: args.pod.reference(), snaplen: args.snaplen })?;
    thread::spawn(move || read_stream(&mut daemon, &events));
    let deadline = args.duration.map(|duration| Instant::now() + duration);
    let ended = record(&inbox, &mut file, deadline);
    let flushed = file.flush();
    if ended.is_ok() || file.blocks.frames > 0 {
        eprintln!("{} frames captured to {}", file.blocks.frames, args.write.display());
    }
    ended.and(flushed)
}

fn read_stream(daemon: &mut Connection, events: &SyncSender<Event>) {
    let end = loop {
        match daemon.receive() {
            Ok(Response::Bytes(bytes)) => {
                if events.send(Event::Bytes(bytes)).is_err() {
                    return;
                }
            }
            Ok(Response::Done) => break Ok(()),
            Ok(other) => break Err(unexpected(&other)),
            Err(error) => break Err(error),
        }
    };
    let _ = events.send(Event::End(end));
}

fn record(inbox: &Receiver<Event>, file: &mut Output, deadline: Option<Instant>) -> Result<(), CliError> {
    let mut unflushed_since: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(());
        }
        if unflushed_since.is_some_and(|since| now >= since + FLUSH_INTERVAL) {
            file.flush()?;
            unflushed_since = None;
        }
        let wakes = [deadline, unflushed_since.map(|since| since + FLUSH_INTERVAL)];
        let event = match wakes.into_iter().flatten().min() {
            Some(wake) => inbox.recv_timeout(wake.saturating_duration_since(now)),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::Bytes(bytes)) => {
                file.write(&bytes)?;
                unflushed_since.get_or_insert(now);
            }
            Ok(Event::End(end)) => return end,
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// The file, or standard output.
struct Output {
    path: PathBuf,
    to: Box<dyn Write>,
    blocks: Blocks,
    /// Whole blocks that are not written yet.
    waiting: Vec<u8>,
}

impl Output {
    fn create(path: &Path) -> Result<Self, CliError> {
        let to: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let failed = |source| CliError::File { path: path.to_owned(), source };
            Box::new(File::create(path).map_err(failed)?)
        };
        Ok(Self { path: path.to_owned(), to, blocks: Blocks::default(), waiting: Vec::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.blocks.push(bytes, &mut self.waiting);
        if self.waiting.len() >= 1 << 20 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        let written = self.to.write_all(&self.waiting).and_then(|()| self.to.flush());
        self.waiting.clear();
        written.map_err(|source| {
            if self.path == Path::new("-") {
                CliError::Stdout(source)
            } else {
                CliError::File { path: self.path.clone(), source }
            }
        })
    }
}

/// Cuts a pcapng stream at its blocks (a type, a total length, content, the length again).
#[derive(Default)]
struct Blocks {
    partial: Vec<u8>,
    frames: u64,
}

impl Blocks {
    const ENHANCED_PACKET: u32 = 6;

    /// Appends to `out` every block that `bytes` completes.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        while let Some((kind, block, after)) = split_block(rest) {
            self.frames += u64::from(kind == Self::ENHANCED_PACKET);
            out.extend_from_slice(block);
            rest = after;
        }
        let left = rest.len();
        self.partial.drain(..self.partial.len() - left);
    }
}

/// The first block's type, the block, and what follows; `None` if it is not all there.
fn split_block(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first_chunk::<4>()?;
    let (len, _) = rest.split_first_chunk::<4>()?;
    // A length that cannot be (the writer's byte order is ours) must not stop the stream: take all.
    let len = match u32::from_ne_bytes(*len) as usize {
        len @ 12.. => len,
        _ => bytes.len(),
    };
    let (block, after) = bytes.split_at_checked(len)?;
    Some((u32::from_ne_bytes(*kind), block, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, content: usize) -> Vec<u8> {
        let len = u32::try_from(12 + content).unwrap();
        [&kind.to_ne_bytes()[..], &len.to_ne_bytes(), &vec![0xab; content], &len.to_ne_bytes()].concat()
    }

    #[test]
    fn only_whole_blocks_are_written_however_the_stream_is_cut() {
        let stream = [block(0x0a0d_0d0a, 16), block(1, 8), block(6, 100), block(6, 4)].concat();
        for step in 1..stream.len() {
            let (mut blocks, mut out) = (Blocks::default(), Vec::new());
            for piece in stream.chunks(step) {
                blocks.push(piece, &mut out);
                let ends = [0, 28, 48, 160, 176];
                assert!(ends.contains(&out.len()), "cut inside a block at {}", out.len());
            }
            assert_eq!((out.as_slice(), blocks.frames), (stream.as_slice(), 2));
        }
    }

    #[test]
    fn a_block_that_never_ends_is_never_written() {
        let (mut blocks, mut out) = (Blocks::default(), Vec::new());
        let whole = block(6, 40);
        blocks.push(&whole[..whole.len() - 1], &mut out);
        assert_eq!((out.len(), blocks.frames), (0, 0));
    }
}
