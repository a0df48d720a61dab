//! UDP: a thread and a socket of its own (`SO_REUSEPORT`) per processor, batches in and out.
//!
//! # How it works
//! A round waits for a datagram, takes what else is there (32 at most), answers what can be answered from the zone or the cache into
//! buffers that are used again, and sends all answers in one call. What has to wait is handed to the tasks over a bounded queue;
//! if that is full, the client is told so at once. The kernel gives all datagrams of one client socket to one thread, so a client's A and
//! AAAA do not overtake each other. After a full round it is asked how much the kernel holds: see [`super::crowd`].

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use netdev::Datagrams;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc;

use super::Shared;
use super::crowd::Crowd;
use super::later::{Job, log, observation};
use super::respond::{Outcome, refused, respond};
use crate::metrics::{Counters, Protocol};

/// The largest query that is read; clients send 60 bytes, signed ones some hundred.
pub(super) const MAX_QUERY_BYTES: usize = 4096;
/// Between looks at whether to stop.
const WAIT: Duration = Duration::from_millis(200);
/// What the kernel may hold for a socket while its thread is busy: thousands of queries.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// Opens a socket that shares its address with others of this process.
///
/// # Errors
/// If the address is taken or not ours.
pub fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        // So that `0.0.0.0` and `[::]` can be listened at beside each other.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    // The kernel gives what it allows.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.set_read_timeout(Some(WAIT))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers at `socket` until told to stop; blocks.
pub fn run(shared: &Shared, counters: &Counters, socket: UdpSocket, jobs: &mpsc::Sender<Job>) {
    let socket = Arc::new(socket);
    let mut worker = Worker {
        shared,
        counters,
        jobs,
        datagrams: Datagrams::new(MAX_QUERY_BYTES),
        crowd: Crowd::default(),
        turn: 0,
    };
    while !shared.stop.load(Ordering::Relaxed) {
        if let Err(error) = worker.round(&socket) {
            tracing::error!(%error, "a UDP socket failed; trying again");
            std::thread::sleep(WAIT);
        }
    }
}

struct Worker<'s> {
    shared: &'s Shared,
    counters: &'s Counters,
    jobs: &'s mpsc::Sender<Job>,
    datagrams: Datagrams,
    crowd: Crowd,
    turn: usize,
}

impl Worker<'_> {
    fn round(&mut self, socket: &Arc<UdpSocket>) -> io::Result<()> {
        let count = match self.datagrams.receive(socket) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let begun = Instant::now();
        self.look(socket);
        let names = self.shared.names.load();
        let is_logged = self.shared.log_queries.load(Ordering::Relaxed);
        let mut answers = [0; 2];
        for index in 0..count {
            let Some((message, source, out)) = self.datagrams.exchange(index) else { continue };
            let Some(client) = source.address() else { continue };
            if !self.crowd.admits(client.ip()) {
                self.counters.dropped();
                continue;
            }
            self.turn = self.turn.wrapping_add(1);
            let outcome = respond(self.shared, names.as_deref(), message, false, self.turn, out);
            let summary = match outcome {
                Outcome::Silence => continue,
                Outcome::Answer(summary) => summary,
                Outcome::Later => {
                    let job = |place| Job::new(message.to_vec(), client, Arc::clone(socket), begun, place);
                    let place = self.shared.waiting.take(client.ip());
                    if place.is_some_and(|place| self.jobs.try_send(job(place)).is_ok()) {
                        continue;
                    }
                    let Some(summary) = refused(message, out) else { continue };
                    summary
                }
            };
            let seen = observation(&summary, Protocol::Udp, &client, message.len(), out.len());
            if is_logged {
                log(message, &client, &seen);
            }
            self.counters.observe(&seen);
            self.datagrams.answer(source);
            let [outside, ours] = &mut answers;
            *if seen.ours { ours } else { outside } += 1;
        }
        self.datagrams.send(socket)?;
        self.counters.took(begun.elapsed(), answers);
        Ok(())
    }

    /// How long the kernel's queue is; asked only if there may be one.
    fn look(&mut self, socket: &UdpSocket) {
        if !self.datagrams.is_full() && !self.crowd.is_pressed() {
            return;
        }
        if let Ok((queued, limit)) = netdev::datagrams::queued(socket) {
            self.crowd.look(queued, limit);
        }
    }
}
