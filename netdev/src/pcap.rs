//! pcapng, as far as a capture needs it: section header, interface descriptions and enhanced
//! packets (draft-ietf-opsawg-pcapng, "PCAP Next Generation (pcapng) Capture File Format").
//!
//! Blocks are appended to a byte vector, so that a caller with a non-blocking stream decides
//! itself when a block goes out; [`Writer`] is for callers that may block, [`PcapDevice`] wraps a
//! device. Times are nanoseconds since 1970. The virtio-net header is left out: a superframe
//! appears as the one large frame it is, its checksum as far as the sender filled it in.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Offloads;

use crate::device::{Device, DeviceError, Sent, VNET_HDR_LEN};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Tells the reader our byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// The section is as long as it gets.
const UNKNOWN_LENGTH: u64 = u64::MAX;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// Resolution 10⁻⁹ s.
const NANOSECONDS: u8 = 9;

/// Which way a frame went, seen from the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device to the switch.
    Inbound,
    /// From the switch to the device.
    Outbound,
}

/// A frame to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Number of the interface, in the order of their descriptions.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// Shown beside it, such as why it was dropped.
    pub comment: Option<&'a str>,
    /// Virtio-net header and Ethernet frame.
    pub frame: &'a [u8],
    /// Bytes of the Ethernet frame to keep; 0 is all.
    pub snaplen: u32,
}

/// Starts a file or stream.
pub fn section_header(out: &mut Vec<u8>) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_ne_bytes());
        // Format version 1.0.
        out.extend_from_slice(&1_u16.to_ne_bytes());
        out.extend_from_slice(&0_u16.to_ne_bytes());
        out.extend_from_slice(&UNKNOWN_LENGTH.to_ne_bytes());
        option(out, SHB_USERAPPL, b"vpod");
        option(out, OPT_END, &[]);
    });
}

/// Describes the next interface; the first one is number 0.
pub fn interface_description(out: &mut Vec<u8>, name: &str, snaplen: u32) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&ETHERNET.to_ne_bytes());
        out.extend_from_slice(&0_u16.to_ne_bytes());
        out.extend_from_slice(&snaplen.to_ne_bytes());
        option(out, IF_NAME, name.as_bytes());
        option(out, IF_TSRESOL, &[NANOSECONDS]);
        option(out, OPT_END, &[]);
    });
}

/// Records a frame.
pub fn enhanced_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let ethernet = packet.frame.get(VNET_HDR_LEN..).unwrap_or_default();
    let keep = match packet.snaplen {
        0 => ethernet.len(),
        snaplen => ethernet.len().min(usize::try_from(snaplen).unwrap_or(usize::MAX)),
    };
    let kept = &ethernet[..keep];
    block(out, ENHANCED_PACKET, |out| {
        let [high, low] = [packet.timestamp_ns >> 32, packet.timestamp_ns & u64::from(u32::MAX)];
        out.extend_from_slice(&packet.interface.to_ne_bytes());
        out.extend_from_slice(&length(high).to_ne_bytes());
        out.extend_from_slice(&length(low).to_ne_bytes());
        out.extend_from_slice(&length(kept.len()).to_ne_bytes());
        out.extend_from_slice(&length(ethernet.len()).to_ne_bytes());
        padded(out, kept);
        if let Some(direction) = packet.direction {
            let flags: u32 = match direction {
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            };
            option(out, EPB_FLAGS, &flags.to_ne_bytes());
        }
        if let Some(comment) = packet.comment {
            option(out, OPT_COMMENT, comment.as_bytes());
        }
        if packet.direction.is_some() || packet.comment.is_some() {
            option(out, OPT_END, &[]);
        }
    });
}

/// Type, length, body, length again; the length counts all four.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let total = length(out.len() - start + 4).to_ne_bytes();
    out.extend_from_slice(&total);
    out[start + 4..start + 8].copy_from_slice(&total);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_ne_bytes());
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    padded(out, value);
}

/// Everything is aligned to 32 bits.
fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A length field; frames are far below 4 GiB.
fn length(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}

/// Writes a capture to something that may block.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    snaplen: u32,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a capture that keeps `snaplen` bytes of each frame; 0 is all.
    pub fn new(out: W, snaplen: u32) -> io::Result<Self> {
        let mut writer = Self { out, snaplen, interfaces: 0, block: Vec::new() };
        section_header(&mut writer.block);
        writer.write_block()?;
        Ok(writer)
    }

    /// Adds an interface and gives its number.
    pub fn add_interface(&mut self, name: &str) -> io::Result<u32> {
        let number = self.interfaces;
        interface_description(&mut self.block, name, self.snaplen);
        self.write_block()?;
        self.interfaces += 1;
        Ok(number)
    }

    /// Records a frame that starts with its virtio-net header.
    pub fn packet(
        &mut self,
        interface: u32,
        timestamp_ns: u64,
        direction: Direction,
        frame: &[u8],
    ) -> io::Result<()> {
        let packet = Packet {
            interface,
            timestamp_ns,
            direction: Some(direction),
            comment: None,
            frame,
            snaplen: self.snaplen,
        };
        enhanced_packet(&mut self.block, &packet);
        self.write_block()
    }

    /// Gives the underlying writer back.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write_block(&mut self) -> io::Result<()> {
        let result = self.out.write_all(&self.block);
        self.block.clear();
        result
    }
}

/// A device that records what passes through it. A capture that cannot be written ends and leaves
/// the device working; [`PcapDevice::error`] says why.
#[derive(Debug)]
pub struct PcapDevice<D, W> {
    inner: D,
    capture: Option<Writer<W>>,
    error: Option<io::Error>,
}

impl<D: Device, W: Write> PcapDevice<D, W> {
    /// Records to `out`, naming the interface `name`.
    pub fn new(inner: D, out: W, name: &str, snaplen: u32) -> io::Result<Self> {
        let mut capture = Writer::new(out, snaplen)?;
        capture.add_interface(name)?;
        Ok(Self { inner, capture: Some(capture), error: None })
    }

    /// Why the capture ended, if it did.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// The device, and the capture unless it failed.
    pub fn into_parts(self) -> (D, Option<W>) {
        (self.inner, self.capture.map(Writer::into_inner))
    }

    fn record(&mut self, direction: Direction, frame: &[u8]) {
        let Some(capture) = &mut self.capture else { return };
        if let Err(error) = capture.packet(0, now_ns(), direction, frame) {
            self.capture = None;
            self.error = Some(error);
        }
    }
}

impl<D: Device, W: Write> Device for PcapDevice<D, W> {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        let received = self.inner.recv(buf)?;
        if let Some(len) = received {
            self.record(Direction::Inbound, &buf[..len]);
        }
        Ok(received)
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        let sent = self.inner.send(frame)?;
        if sent == Sent::Sent {
            self.record(Direction::Outbound, frame);
        }
        Ok(sent)
    }

    fn offloads(&self) -> Offloads {
        self.inner.offloads()
    }
}

/// Wall clock, because captures of several machines are compared; 0 before 1970.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
