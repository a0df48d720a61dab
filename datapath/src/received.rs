//! The first step of every frame: read once, agreed with its virtio header, put in canonical form.
//!
//! Canonical form: no Ethernet padding, a virtio header that says exactly what is left to do, and a
//! partial checksum that holds the right pseudo-header sum. Every frame the switch writes starts
//! from it, so a hostile header or trailing garbage never reaches another pod's kernel.

use zerocopy::{FromBytes, IntoBytes};

use crate::frame::{ETHERNET_HDR_LEN, Frame, VNET_HDR_LEN};
use crate::offload::{checksum, gso};
use crate::verdict::{DropReason, Verdict};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::l4::L4;
use crate::wire::vnet::{Checksum, Offload, Segments, VnetHeader};
use crate::wire::{Body, Packet};

/// What is known about a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) packet: Packet,
    pub(crate) offload: Offload,
}

impl Received {
    /// Reads a frame and rewrites it in canonical form.
    pub(crate) fn read(frame: &mut Frame) -> Verdict<Self> {
        let (header, ethernet) =
            VnetHeader::read_from_prefix(frame.bytes()).map_err(|_| DropReason::FrameTooShort)?;
        let packet = Packet::parse(ethernet)?;
        let mut offload = Offload::validate(&header, &packet, ethernet.len())?;

        frame.truncate(VNET_HDR_LEN + packet.frame_len());
        if let Body::Ipv4(ip) = &packet.body {
            let ethernet = frame.ethernet_mut();
            match offload.checksum {
                Checksum::Complete => {}
                Checksum::Partial => checksum::store_pseudo_header(ethernet, ip),
                Checksum::Inner { start, field } => {
                    checksum::complete_inner(ethernet, start, field, ip.end());
                    offload.checksum = Checksum::Complete;
                }
            }
        }
        write_header(frame.bytes_mut(), &packet, offload);
        Ok(Self { packet, offload })
    }

    /// Makes the headers describe the superframe that the frame has become, payload having been
    /// added behind its own: lengths, a partial checksum, the virtio header.
    pub(crate) fn grow(&mut self, frame: &mut Frame, segments: Segments) {
        let (Body::Ipv4(ip), Ok(total_len)) =
            (&mut self.packet.body, u16::try_from(frame.ethernet_len().saturating_sub(ETHERNET_HDR_LEN)))
        else {
            return;
        };
        ip.grow(total_len);
        let ethernet = frame.ethernet_mut();
        if let Some(header) = Ipv4Header::in_frame(ethernet) {
            header.set_total_len(total_len);
        }
        if let L4::Udp { .. } = ip.l4 {
            gso::set_udp_len(ethernet, ip);
        }
        checksum::store_pseudo_header(ethernet, ip);
        self.offload = Offload { checksum: Checksum::Partial, segments: Some(segments) };
        write_header(frame.bytes_mut(), &self.packet, self.offload);
    }

    /// Writes the virtio header for a frame that was filled with the packet.
    pub(crate) fn describe(&self, frame: &mut Frame) {
        write_header(frame.bytes_mut(), &self.packet, self.offload);
    }

    /// Completes the checksum of a packet that is not to be split: the segments get their own.
    pub(crate) fn complete_checksum_if_whole(&mut self, frame: &mut Frame) {
        if self.offload.segments.is_none() {
            self.complete_checksum(frame);
        }
    }

    /// Completes the checksum, for a device that does not.
    pub(crate) fn complete_checksum(&mut self, frame: &mut Frame) {
        if let (Body::Ipv4(ip), Checksum::Partial) = (&self.packet.body, self.offload.checksum) {
            checksum::complete(frame.ethernet_mut(), ip);
            self.offload.checksum = Checksum::Complete;
            write_header(frame.bytes_mut(), &self.packet, self.offload);
        }
    }
}

fn write_header(bytes: &mut [u8], packet: &Packet, offload: Offload) {
    if let Ok((place, _)) = VnetHeader::mut_from_prefix(bytes) {
        let header = offload.header(packet);
        place.as_mut_bytes().copy_from_slice(header.as_bytes());
    }
}
