//! Frames and virtio headers as pods and hostile pods make them, and a decoder that is not ours.

use datapath::VNET_HDR_LEN;
use etherparse::PacketBuilder;
use protocol::Mac;

use super::{GATEWAY_IP, gateway_mac, pod_mac, router_mac};

/// `struct virtio_net_hdr_v1`, any contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Vnet {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    pub(crate) hdr_len: u16,
    pub(crate) gso_size: u16,
    pub(crate) csum_start: u16,
    pub(crate) csum_offset: u16,
    pub(crate) num_buffers: u16,
}

pub(crate) const NEEDS_CSUM: u8 = 1;
pub(crate) const DATA_VALID: u8 = 2;
pub(crate) const GSO_TCPV4: u8 = 1;
pub(crate) const GSO_UDP_L4: u8 = 5;

impl Vnet {
    pub(crate) fn bytes(&self) -> [u8; VNET_HDR_LEN] {
        let mut bytes = [0; VNET_HDR_LEN];
        (bytes[0], bytes[1]) = (self.flags, self.gso_type);
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        for (place, word) in bytes[2..].chunks_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    pub(crate) fn of(frame: &[u8]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([frame[at], frame[at + 1]]);
        Self {
            flags: frame[0],
            gso_type: frame[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            num_buffers: word(10),
        }
    }

    /// As Linux sends a TCP or UDP frame whose checksum it left to the device.
    pub(crate) fn partial(offset: u16) -> Self {
        Self { flags: NEEDS_CSUM, csum_start: 34, csum_offset: offset, ..Self::default() }
    }
}

/// The Ethernet frame of what was written.
pub(crate) fn ethernet(frame: &[u8]) -> &[u8] {
    &frame[VNET_HDR_LEN..]
}

/// From whom to whom a packet goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) from_mac: Mac,
    pub(crate) to_mac: Mac,
    pub(crate) from: [u8; 4],
    pub(crate) to: [u8; 4],
    pub(crate) ttl: u8,
}

/// From one pod to another, at layer 2.
pub(crate) fn direct(from: [u8; 4], to: [u8; 4]) -> Path {
    Path { from_mac: pod_mac(from), to_mac: pod_mac(to), from, to, ttl: 64 }
}

/// From a pod to anybody, by the router.
pub(crate) fn routed(from: [u8; 4], to: [u8; 4]) -> Path {
    Path { to_mac: router_mac(), ..direct(from, to) }
}

/// From the node to a pod, as its kernel sends.
pub(crate) fn from_node(to: [u8; 4]) -> Path {
    Path { from_mac: gateway_mac(), to_mac: pod_mac(to), from: GATEWAY_IP, to, ttl: 64 }
}

pub(crate) fn udp(path: Path, source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .udp(source_port, destination_port);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).unwrap();
    frame
}

pub(crate) fn tcp(path: Path, source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .tcp(source_port, destination_port, 1_000, 2_000)
        .ack(7);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).unwrap();
    frame
}

pub(crate) fn echo_request(path: Path, identifier: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .icmpv4_echo_request(identifier, 1);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// Any IPv4 packet.
pub(crate) fn ipv4(path: Path, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let header = etherparse::Ipv4Header::new(length, path.ttl, protocol.into(), path.from, path.to).unwrap();
    ipv4_with(path, header, payload)
}

/// The packet in a frame, if it is one, without "don't fragment".
pub(crate) fn may_be_cut(mut frame: Vec<u8>) -> Vec<u8> {
    let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
    header.dont_fragment = false;
    header.header_checksum = header.calc_header_checksum();
    let bytes = header.to_bytes();
    frame[14..14 + bytes.len()].copy_from_slice(&bytes);
    frame
}

/// Any IPv4 packet with this header; lengths and checksum are set here.
pub(crate) fn ipv4_with(path: Path, mut header: etherparse::Ipv4Header, payload: &[u8]) -> Vec<u8> {
    header.set_payload_len(payload.len()).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut frame = ethernet_header(path.to_mac, path.from_mac, 0x0800);
    header.write(&mut frame).unwrap();
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn ethernet_header(destination: Mac, source: Mac, ether_type: u16) -> Vec<u8> {
    [&destination.0[..], &source.0[..], &ether_type.to_be_bytes()[..]].concat()
}

/// An ARP packet (RFC 826).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArpFrame {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) operation: u16,
    pub(crate) sender_mac: Mac,
    pub(crate) sender_ip: [u8; 4],
    pub(crate) target_mac: Mac,
    pub(crate) target_ip: [u8; 4],
}

impl ArpFrame {
    pub(crate) fn request(mac: Mac, sender_ip: [u8; 4], target_ip: [u8; 4]) -> Self {
        Self {
            destination: Mac::BROADCAST,
            source: mac,
            operation: 1,
            sender_mac: mac,
            sender_ip,
            target_mac: Mac([0; 6]),
            target_ip,
        }
    }

    pub(crate) fn reply(mac: Mac, sender_ip: [u8; 4], to: Mac, target_ip: [u8; 4]) -> Self {
        Self {
            destination: to,
            source: mac,
            operation: 2,
            sender_mac: mac,
            sender_ip,
            target_mac: to,
            target_ip,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = ethernet_header(self.destination, self.source, 0x0806);
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
        frame.extend_from_slice(&self.operation.to_be_bytes());
        frame.extend_from_slice(&self.sender_mac.0);
        frame.extend_from_slice(&self.sender_ip);
        frame.extend_from_slice(&self.target_mac.0);
        frame.extend_from_slice(&self.target_ip);
        frame
    }
}

/// Puts the pseudo-header's sum into the checksum field, as a sender that leaves it to the device.
pub(crate) fn make_partial(frame: &mut [u8], offset: usize) {
    let l4_len = u16::try_from(frame.len() - 34).unwrap();
    let mut sum = u32::from(frame[23]) + u32::from(l4_len);
    sum += frame[26..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(sum).unwrap();
    frame[34 + offset..36 + offset].copy_from_slice(&sum.to_be_bytes());
}

/// Decodes an Ethernet frame with etherparse's full parser and checks every checksum in it.
#[track_caller]
pub(crate) fn decode(frame: &[u8]) -> etherparse::PacketHeaders<'_> {
    let packet = etherparse::PacketHeaders::from_ethernet_slice(frame).unwrap();
    if let Some(etherparse::NetHeaders::Ipv4(ip, _)) = &packet.net {
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
        let payload = packet.payload.slice();
        match &packet.transport {
            Some(etherparse::TransportHeader::Tcp(tcp)) => {
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).unwrap(), "TCP checksum");
            }
            Some(etherparse::TransportHeader::Udp(udp)) if udp.checksum != 0 => {
                let wanted = udp.calc_checksum_ipv4(ip, payload).unwrap();
                assert_eq!(udp.checksum, wanted, "UDP checksum");
            }
            Some(etherparse::TransportHeader::Icmpv4(icmp)) => {
                let wanted = icmp.icmp_type.calc_checksum(payload);
                assert_eq!(icmp.checksum, wanted, "ICMP checksum");
            }
            Some(_) | None => {}
        }
    }
    packet
}

#[track_caller]
pub(crate) fn ipv4_of<'a>(packet: &'a etherparse::PacketHeaders<'_>) -> &'a etherparse::Ipv4Header {
    match &packet.net {
        Some(etherparse::NetHeaders::Ipv4(ip, _)) => ip,
        other => panic!("not IPv4: {other:?}"),
    }
}
