//! Receiving: what waits, in one `recvmmsg`, trains whole (`UDP_GRO`).

use std::io::{self, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;

use super::UdpTunnel;
use crate::device::DeviceError;
use crate::sys::udp::{Incoming, receive_many};

/// The longest train is one IP packet's worth.
const BUFFER_BYTES: usize = 64 * 1024;

/// A datagram, or a train of datagrams of one length with a shorter last one.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Who sent it, by its outer header.
    pub source: SocketAddrV4,
    /// Type of service of its outer header.
    pub tos: u8,
    /// Bytes of each datagram but the last; all of `bytes` where there is one.
    pub segment_size: usize,
    /// One after the other.
    pub bytes: &'a mut [u8],
}

/// Buffers to receive into, used from the first on, so that few of them are ever touched.
pub struct Inbox {
    buffers: Box<[u8]>,
    received: Vec<Incoming>,
    count: usize,
}

impl Inbox {
    /// Buffers for `datagrams` datagrams or trains at a time, at most 64.
    #[must_use]
    pub fn new(datagrams: usize) -> Self {
        let datagrams = datagrams.clamp(1, crate::sys::udp::MAX_MESSAGES);
        Self {
            buffers: vec![0; datagrams * BUFFER_BYTES].into_boxed_slice(),
            received: vec![Incoming::NONE; datagrams],
            count: 0,
        }
    }

    /// How many it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Nothing was received.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As many as it has buffers for: there may be more to receive.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == self.received.len()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.received.iter().take(self.count).map(|incoming| incoming.len).sum()
    }

    /// What was received, in order.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let buffers = self.buffers.chunks_exact_mut(BUFFER_BYTES);
        buffers.zip(&self.received).take(self.count).map(|(buffer, incoming)| {
            let len = incoming.len.min(buffer.len());
            Datagram {
                source: incoming.source,
                tos: incoming.tos,
                segment_size: incoming.segment_size.map_or(len, usize::from).max(1),
                bytes: buffer.get_mut(..len).unwrap_or_default(),
            }
        })
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("count", &self.count).finish_non_exhaustive()
    }
}

impl UdpTunnel {
    /// Replaces what is in `inbox` by what waits, at most `limit` datagrams or trains. Never blocks.
    ///
    /// # Errors
    /// What is not "nothing there".
    pub fn receive(&self, inbox: &mut Inbox, limit: usize) -> Result<(), DeviceError> {
        inbox.count = 0;
        let mut buffers: [IoSliceMut<'_>; crate::sys::udp::MAX_MESSAGES] =
            std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let count = inbox.received.len().min(limit).max(1);
        for (place, buffer) in
            buffers.iter_mut().zip(inbox.buffers.chunks_exact_mut(BUFFER_BYTES)).take(count)
        {
            *place = IoSliceMut::new(buffer);
        }
        let buffers = buffers.get_mut(..count).unwrap_or_default();
        loop {
            match receive_many(self.receiver.as_fd(), buffers, &mut inbox.received) {
                Ok(received) => {
                    inbox.count = received;
                    return Ok(());
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    let source = io::Error::from(errno);
                    return Err(DeviceError::Io { device: Arc::clone(&self.name), source });
                }
            }
        }
    }
}
