//! TCP frames by hand, so that making one costs little beside what is measured.

use datapath::VNET_HDR_LEN;
use protocol::Mac;

/// Bytes of a frame without payload, virtio header first.
const LEN: usize = VNET_HDR_LEN + 14 + 20 + 20;

/// Frames of many flows between two stations.
#[derive(Debug, Clone)]
pub(crate) struct Packets {
    template: [u8; LEN],
}

impl Packets {
    /// From host `from` of 10.244.0.0/24 to host `to`.
    pub(crate) fn new(from_mac: Mac, to_mac: Mac, from: u8, to: u8) -> Self {
        let mut template = [0; LEN];
        let frame = &mut template[VNET_HDR_LEN..];
        frame[..6].copy_from_slice(&to_mac.0);
        frame[6..12].copy_from_slice(&from_mac.0);
        frame[12..14].copy_from_slice(&[8, 0]);
        let ip = &mut frame[14..34];
        ip.copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 244, 0, from, 10, 244, 0, to]);
        let sum = checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        // Data offset, ACK, window.
        frame[46..50].copy_from_slice(&[0x50, 0x10, 0xff, 0xff]);
        Self { template }
    }

    /// The same to a station behind the router, whatever its address.
    #[allow(dead_code, reason = "not every benchmark translates")]
    pub(crate) fn to(self, destination: std::net::Ipv4Addr) -> Self {
        let mut template = self.template;
        let ip = &mut template[VNET_HDR_LEN + 14..VNET_HDR_LEN + 34];
        ip[16..20].copy_from_slice(&destination.octets());
        ip[10..12].fill(0);
        let sum = checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        Self { template }
    }

    /// Writes a frame with these ports and flags; gives its length.
    #[allow(dead_code, reason = "not every benchmark has connections")]
    pub(crate) fn write_segment(&self, ports: [u16; 2], flags: u8, area: &mut [u8]) -> usize {
        let [source, destination] = ports;
        let len = self.write(u32::from(source) << 16 | u32::from(destination), area);
        area[VNET_HDR_LEN + 47] = flags;
        len
    }

    /// Writes a frame of flow number `flow`; gives its length.
    pub(crate) fn write(&self, flow: u32, area: &mut [u8]) -> usize {
        area[..LEN].copy_from_slice(&self.template);
        // Source and destination port.
        area[VNET_HDR_LEN + 34..VNET_HDR_LEN + 38].copy_from_slice(&flow.to_be_bytes());
        LEN
    }
}

/// Of an IPv4 header whose own is zero.
fn checksum(ip: &[u8]) -> u16 {
    let sum: u32 = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("one carry")
}
