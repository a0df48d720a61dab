//! Sends every datagram back.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Result;

use super::{serve_all, serve_until_stdin_ends};

pub(super) fn run(addresses: &[SocketAddr]) -> Result<()> {
    let sockets = addresses.iter().map(UdpSocket::bind).collect::<Result<Vec<_>, _>>()?;
    serve_until_stdin_ends(|| std::process::exit(0));
    serve_all(sockets, echo)
}

fn echo(socket: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        // An answer that cannot be sent is a lost one, and counted as such where it is missed.
        let _ = socket.send_to(&buffer[..len], from);
    }
}
