//! How much the station behind a port may send and receive.
//!
//! What it sends is limited by not reading it: its frames wait in its device's queue, so TCP is slowed and loses nothing. What
//! comes to it was read already, whoever sent it, and waits in a short queue of the port; what does not fit there is dropped by name.
//!
//! Both count IP packets as they are on the wire, of a superframe those of all its segments. A frame passes when the bucket holds
//! anything at all, and may overdraw it; so a superframe larger than the burst passes too, and what follows waits for longer.

mod backlog;
mod meter;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub(crate) use meter::{Bucket, Buckets};
pub(crate) use receive::{Delayed, Leaving, Shaper};
pub use send::MayRead;

use crate::received::Received;
use crate::wire::Body;

/// Bytes of the IP packets that the frame is on the wire; of what is no IP, those behind its Ethernet header.
pub(crate) fn wire_bytes(received: &Received, ethernet_len: usize) -> usize {
    let Body::Ipv4(ip) = &received.packet.body else {
        return ethernet_len.saturating_sub(crate::frame::ETHERNET_HDR_LEN);
    };
    let Some(segments) = received.offload.segments else { return ip.total_len() };
    let payload = ip.end().saturating_sub(ip.payload_offset());
    let headers = ip.header_len() + ip.l4.header_len();
    payload + headers * payload.div_ceil(usize::from(segments.size).max(1))
}
