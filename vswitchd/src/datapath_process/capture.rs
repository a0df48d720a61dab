//! Captures: copies of a port's frames as a pcapng stream.
//!
//! A capture must neither slow the port down nor grow. Its socket is non-blocking; what the socket
//! does not take of a block is kept, and until that is gone, frames are counted as missed instead
//! of written. A reader that keeps up sees every frame; a reader that hangs up ends the capture.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netdev::pcap::{self, Packet};
use protocol::PortId;
use protocol::link::PortConfig;

pub(super) use netdev::pcap::Direction;

/// Captures' tokens start behind those of ports.
const FIRST_TOKEN: usize = 1 << 20;
/// The longest block: a whole superframe and what is around it.
const MAX_BLOCK_BYTES: usize = 68 * 1024;

/// All captures of a worker; usually none.
pub(super) struct Captures {
    active: Vec<Capture>,
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
    pub(super) const fn new() -> Self {
        Self { active: Vec::new() }
    }

    /// Whether frames of `port` are captured.
    pub(super) fn wants(&self, port: PortId) -> bool {
        // One comparison, as long as there is no capture at all.
        self.active.iter().any(|capture| capture.port == port)
    }

    /// Starts a capture in place of one on the same port.
    pub(super) fn start(
        &mut self,
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
        self.active.push(Capture { port: port.id, name, stream, snaplen, block, sent: 0, missed: 0 });
        self.flush(registry, port.id);
        Ok(())
    }

    /// Ends the capture on `port`, if there is one.
    pub(super) fn remove(&mut self, registry: &Registry, port: PortId) {
        if let Some(at) = self.active.iter().position(|capture| capture.port == port) {
            let capture = self.active.swap_remove(at);
            let _ = registry.deregister(&mut SourceFd(&capture.stream.as_raw_fd()));
            tracing::info!(%port, name = capture.name, missed = capture.missed, "capture ended");
        }
    }

    /// The socket of `port`'s capture became writable, or its reader hung up.
    pub(super) fn on_event(&mut self, registry: &Registry, port: PortId, hung_up: bool) {
        if hung_up {
            self.remove(registry, port);
        } else {
            self.flush(registry, port);
        }
    }

    /// Copies a frame, virtio header first, to `port`'s capture.
    pub(super) fn on_frame(&mut self, port: PortId, frame: &[u8], direction: Direction) {
        // A failed write shows as a hang-up event, which ends the capture.
        if let Some(capture) = self.active.iter_mut().find(|capture| capture.port == port) {
            let _ = capture.on_frame(frame, direction);
        }
    }

    fn flush(&mut self, registry: &Registry, port: PortId) {
        let capture = self.active.iter_mut().find(|capture| capture.port == port);
        if let Some(Err(_)) = capture.map(Capture::flush) {
            self.remove(registry, port);
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
