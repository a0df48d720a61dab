//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use etherparse::{ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType};
use protocol::Mac;
use zerocopy::byteorder::{BigEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet::EthernetHeader;
use crate::frame::ETHERNET_HDR_LEN;
use crate::verdict::{DropReason, Verdict};

/// Bytes of such a packet.
pub(crate) const LEN: usize = 28;

/// What an ARP packet says. The target's MAC is left out: it means nothing in a request, and in a
/// reply it is the frame's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) operation: Operation,
    pub(crate) sender_mac: Mac,
    pub(crate) sender_ip: Ipv4Addr,
    pub(crate) target_ip: Ipv4Addr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Request,
    Reply,
}

impl Arp {
    /// Reads what follows the Ethernet header.
    pub(crate) fn parse(payload: &[u8]) -> Verdict<Self> {
        let malformed = DropReason::ArpMalformed;
        let arp = ArpPacketSlice::from_slice(payload).map_err(|_| malformed)?;
        if arp.hw_addr_type() != ArpHardwareId::ETHERNET || arp.proto_addr_type() != EtherType::IPV4 {
            return Err(malformed);
        }
        let operation = match arp.operation() {
            ArpOperation::REQUEST => Operation::Request,
            ArpOperation::REPLY => Operation::Reply,
            _ => return Err(malformed),
        };
        // The lengths of the addresses are the packet's own claim: converting checks them.
        let mac = |bytes: &[u8]| bytes.try_into().map(Mac).map_err(|_| malformed);
        let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).map_err(|_| malformed);
        Ok(Self {
            operation,
            sender_mac: mac(arp.sender_hw_addr())?,
            sender_ip: ip(arp.sender_protocol_addr())?,
            target_ip: ip(arp.target_protocol_addr())?,
        })
    }

    /// A probe asks who has an address without claiming one (RFC 5227 §1.1).
    pub(crate) fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender_ip.is_unspecified()
    }
}

/// The packet after the Ethernet header, for rewriting.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ArpPacket {
    hardware: U16<BigEndian>,
    protocol: U16<BigEndian>,
    hardware_len: u8,
    protocol_len: u8,
    operation: U16<BigEndian>,
    sender_mac: [u8; 6],
    sender_ip: [u8; 4],
    target_mac: [u8; 6],
    target_ip: [u8; 4],
}

/// Writes the request of `mac`, which has `sender_ip`, who has `target_ip`, to an Ethernet frame of the right length.
pub(crate) fn write_request(
    frame: &mut [u8],
    mac: Mac,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
    destination: Mac,
) {
    let Ok((header, payload)) = EthernetHeader::mut_from_prefix(frame) else { return };
    *header =
        EthernetHeader { destination: destination.0, source: mac.0, ether_type: EtherType::ARP.0.into() };
    if let Ok((packet, _)) = ArpPacket::mut_from_prefix(payload) {
        *packet = ArpPacket {
            hardware: ArpHardwareId::ETHERNET.0.into(),
            protocol: EtherType::IPV4.0.into(),
            hardware_len: 6,
            protocol_len: 4,
            operation: ArpOperation::REQUEST.0.into(),
            sender_mac: mac.0,
            sender_ip: sender_ip.octets(),
            target_mac: [0; 6],
            target_ip: target_ip.octets(),
        };
    }
}

/// Turns the request `arp` in `frame` into the reply "`target_ip` is at `mac`", addressed to who
/// asked. Every field of the reply is written; nothing of the request's target MAC survives.
pub(crate) fn answer(frame: &mut [u8], arp: &Arp, mac: Mac) {
    super::ethernet::readdress(frame, arp.sender_mac, mac);
    let payload = frame.get_mut(ETHERNET_HDR_LEN..).unwrap_or_default();
    if let Ok((packet, _)) = ArpPacket::mut_from_prefix(payload) {
        packet.operation = ArpOperation::REPLY.0.into();
        packet.sender_mac = mac.0;
        packet.sender_ip = arp.target_ip.octets();
        packet.target_mac = arp.sender_mac.0;
        packet.target_ip = arp.sender_ip.octets();
    }
}
