//! A UDP server's edge: receives what waits in one call, and answers it in one.
//!
//! [`Datagrams`] owns the buffers of both directions. A round is [`Datagrams::receive`], then for each message either an answer
//! written with [`Datagrams::answer`] or nothing, then [`Datagrams::send`].

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::sys::datagrams as sys;
pub use crate::sys::datagrams::Source;

/// Buffers for a round of datagrams; see the module's text.
pub struct Datagrams {
    buffers: Vec<Vec<u8>>,
    received: [(usize, Source); sys::MAX_DATAGRAMS],
    count: usize,
    answers: Vec<Vec<u8>>,
    to: Vec<Source>,
}

impl Datagrams {
    /// Room for messages of `message_bytes`; longer ones are seen empty.
    #[must_use]
    pub fn new(message_bytes: usize) -> Self {
        Self {
            buffers: (0..sys::MAX_DATAGRAMS).map(|_| vec![0; message_bytes]).collect(),
            received: [(0, Source::NONE); sys::MAX_DATAGRAMS],
            count: 0,
            answers: (0..sys::MAX_DATAGRAMS).map(|_| Vec::new()).collect(),
            to: Vec::with_capacity(sys::MAX_DATAGRAMS),
        }
    }

    /// Waits for a datagram, as long as the socket's timeout says, and takes what else is there; says how many.
    ///
    /// # Errors
    /// What the kernel said; `WouldBlock` if nothing came in time.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.to.clear();
        self.count = 0;
        let mut rest = self.buffers.iter_mut();
        let mut slices: [IoSliceMut<'_>; sys::MAX_DATAGRAMS] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().map_or(&mut [], |buffer| &mut buffer[..])));
        self.count = sys::receive(socket.as_fd(), &mut slices, &mut self.received)?;
        Ok(self.count)
    }

    /// Whether the last round took as many datagrams as it could: there may be more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == sys::MAX_DATAGRAMS
    }

    /// Message `index` of this round, and the buffer for an answer to it.
    pub fn exchange(&mut self, index: usize) -> Option<(&[u8], Source, &mut Vec<u8>)> {
        let (len, source) = self.received.get(..self.count)?.get(index)?;
        let message = self.buffers.get(index)?.get(..*len)?;
        Some((message, *source, self.answers.get_mut(self.to.len())?))
    }

    /// The buffer that [`Datagrams::exchange`] gave last is an answer to `source`.
    pub fn answer(&mut self, source: Source) {
        if self.to.len() < self.answers.len() {
            self.to.push(source);
        }
    }

    /// Sends the answers; says how many were not. One that the kernel refuses holds no other back.
    ///
    /// # Errors
    /// Never for a single answer; only if the socket is gone.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut rest: Vec<(IoSlice<'_>, Source)> =
            self.answers.iter().zip(&self.to).map(|(answer, to)| (IoSlice::new(answer), *to)).collect();
        let mut lost = 0;
        while !rest.is_empty() {
            let sent = match sys::send(socket.as_fd(), &rest) {
                Ok(sent) => sent.max(1),
                Err(Errno::EINTR) => 0,
                Err(Errno::EBADF | Errno::ENOTSOCK) => return Err(Errno::EBADF.into()),
                // A full buffer, an unreachable client: the first one is lost, as datagrams may be.
                Err(_) => {
                    lost += 1;
                    1
                }
            };
            rest.drain(..sent.min(rest.len()));
        }
        self.to.clear();
        Ok(lost)
    }
}

/// What waits in the kernel to be received from `socket`, and how much may, in bytes as the kernel counts them.
///
/// # Errors
/// What the kernel said.
pub fn queued(socket: &UdpSocket) -> io::Result<(usize, usize)> {
    let (queued, limit) = sys::queued(socket.as_fd())?;
    let bytes = |count| usize::try_from(count).unwrap_or(usize::MAX);
    Ok((bytes(queued), bytes(limit)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round(address: &str) {
        let server = UdpSocket::bind(address).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let clients: Vec<_> = (0..3).map(|_| UdpSocket::bind(address).unwrap()).collect();
        for (index, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.send_to(&[u8::try_from(index).unwrap(); 40], server.local_addr().unwrap()).unwrap();
        }
        clients[0].send_to(&[7; 200], server.local_addr().unwrap()).unwrap();
        let mut datagrams = Datagrams::new(100);
        let (mut seen, mut long) = (0, 0);
        while seen < 4 {
            let count = datagrams.receive(&server).unwrap();
            for index in 0..count {
                let (message, source, answer) = datagrams.exchange(index).unwrap();
                if message.is_empty() {
                    long += 1;
                    continue;
                }
                let client = &clients[usize::from(message[0])];
                assert_eq!(source.address(), Some(client.local_addr().unwrap()));
                answer.clear();
                answer.extend_from_slice(&message[..2]);
                datagrams.answer(source);
            }
            assert_eq!(datagrams.send(&server).unwrap(), 0);
            seen += count;
        }
        assert_eq!(long, 1, "what is longer than its buffer is seen empty");
        for (index, client) in clients.iter().enumerate() {
            let mut buffer = [0; 10];
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..len], from),
                (&[u8::try_from(index).unwrap(); 2][..], server.local_addr().unwrap())
            );
        }
    }

    #[test]
    fn everyone_gets_an_own_answer() {
        round("127.0.0.1:0");
        round("[::1]:0");
    }

    #[test]
    fn what_waits_in_the_kernel_is_known() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (before, limit) = queued(&server).unwrap();
        assert!(before == 0 && limit > 0);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            client.send_to(&[0; 40], server.local_addr().unwrap()).unwrap();
        }
        assert!(queued(&server).unwrap().0 >= 400);
    }

    #[test]
    fn an_answer_to_nowhere_holds_no_other_back() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        let mut datagrams = Datagrams::new(100);
        assert_eq!(datagrams.receive(&server).unwrap(), 1);
        for to in [Source::NONE, datagrams.exchange(0).unwrap().1] {
            datagrams.exchange(0).unwrap().2.extend_from_slice(b"y");
            datagrams.answer(to);
        }
        assert_eq!(datagrams.send(&server).unwrap(), 1);
        let mut buffer = [0; 10];
        assert_eq!(client.recv(&mut buffer).unwrap(), 1);
    }
}
