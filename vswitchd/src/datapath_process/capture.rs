//! Captures: copies of a port's frames as a pcapng stream.
//!
//! A capture must neither slow the port down nor grow. Its socket is non-blocking; what the socket
//! does not take of a block is kept, and until that is gone, frames are counted as missed instead
//! of written. A reader that keeps up sees every frame; a reader that hangs up ends the capture.
//!
//! A port's frames come in at the worker that reads it and go out from any, so all workers share the
//! captures, under a lock that none of them touches for a port that is not captured. The worker that
//! reads the port starts and ends its capture; its poll has the socket.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netdev::pcap::{self, Packet};
use parking_lot::Mutex;
use protocol::PortId;
use protocol::link::PortConfig;

pub(super) use netdev::pcap::Direction;

/// Captures' tokens start behind those of ports.
const FIRST_TOKEN: usize = 1 << 20;
/// The longest block: a whole superframe and what is around it.
const MAX_BLOCK_BYTES: usize = 68 * 1024;

/// All captures; usually none.
pub(super) struct Captures {
    /// By port number: a hint that spares the lock.
    captured: Box<[AtomicBool]>,
    active: Mutex<Vec<Capture>>,
}

/// One capture.
struct Capture {
    port: PortId,
    name: String,
    stream: UnixStream,
    snaplen: u32,
    /// INVARIANT: at most one block, of which `block[sent..]` is still to be written.
    block: Vec<u8>,
    sent: usize,
    missed: u64,
}

/// The port whose capture has this token.
pub(super) fn port_of(token: Token) -> Option<PortId> {
    let number = token.0.checked_sub(FIRST_TOKEN)?;
    u32::try_from(number).ok().filter(|number| *number < PortId::MAX_PORTS).map(PortId)
}

impl Captures {
    pub(super) fn new() -> Self {
        let captured = (0..PortId::MAX_PORTS).map(|_| AtomicBool::new(false)).collect();
        Self { captured, active: Mutex::default() }
    }

    /// Whether frames of `port` are captured.
    pub(super) fn wants(&self, port: PortId) -> bool {
        // Nothing depends on the order: a frame more or less at either end of a capture.
        self.captured.get(port.index()).is_some_and(|captured| captured.load(Ordering::Relaxed))
    }

    /// Starts a capture in place of one on the same port.
    pub(super) fn start(
        &self,
        registry: &Registry,
        port: &PortConfig,
        snaplen: u32,
        stream: OwnedFd,
    ) -> io::Result<()> {
        self.remove(registry, port.id);
        let stream = UnixStream::from(stream);
        let mut block = Vec::with_capacity(MAX_BLOCK_BYTES);
        pcap::section_header(&mut block);
        pcap::interface_description(&mut block, &port.name, snaplen);
        let token = Token(FIRST_TOKEN + port.id.index());
        registry.register(
            &mut SourceFd(&stream.as_raw_fd()),
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let name = port.name.clone();
        let capture = Capture { port: port.id, name, stream, snaplen, block, sent: 0, missed: 0 };
        self.active.lock().push(capture);
        self.set_captured(port.id, true);
        self.flush(registry, port.id);
        Ok(())
    }

    /// Ends the capture on `port`, if there is one.
    pub(super) fn remove(&self, registry: &Registry, port: PortId) {
        let mut active = self.active.lock();
        if let Some(at) = active.iter().position(|capture| capture.port == port) {
            self.set_captured(port, false);
            let capture = active.swap_remove(at);
            let _ = registry.deregister(&mut SourceFd(&capture.stream.as_raw_fd()));
            tracing::info!(%port, name = capture.name, missed = capture.missed, "capture ended");
        }
    }

    /// The socket of `port`'s capture became writable, or its reader hung up.
    pub(super) fn on_event(&self, registry: &Registry, port: PortId, hung_up: bool) {
        if hung_up {
            self.remove(registry, port);
        } else {
            self.flush(registry, port);
        }
    }

    /// Copies a frame, virtio header first, to `port`'s capture.
    pub(super) fn on_frame(&self, port: PortId, frame: &[u8], direction: Direction) {
        if !self.wants(port) {
            return;
        }
        // A failed write shows as a hang-up event, which ends the capture.
        if let Some(capture) = self.active.lock().iter_mut().find(|capture| capture.port == port) {
            let _ = capture.on_frame(frame, direction);
        }
    }

    fn flush(&self, registry: &Registry, port: PortId) {
        let mut active = self.active.lock();
        let capture = active.iter_mut().find(|capture| capture.port == port);
        let failed = capture.is_some_and(|capture| capture.flush().is_err());
        drop(active);
        if failed {
            self.remove(registry, port);
        }
    }

    fn set_captured(&self, port: PortId, captured: bool) {
        if let Some(hint) = self.captured.get(port.index()) {
            hint.store(captured, Ordering::Relaxed);
        }
    }
}

impl Capture {
    fn on_frame(&mut self, frame: &[u8], direction: Direction) -> io::Result<()> {
        if !self.flush()? {
            self.missed += 1;
            return Ok(());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let packet = Packet {
            interface: 0,
            timestamp_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            direction: Some(direction),
            comment: None,
            frame,
            snaplen: self.snaplen,
        };
        pcap::enhanced_packet(&mut self.block, &packet);
        self.flush().map(drop)
    }

    /// Writes what is left of the block; true if nothing is left.
    fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.block.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.block.clear();
        self.sent = 0;
        Ok(true)
    }
}
