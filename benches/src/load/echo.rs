//! Sends every datagram back.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Result;

use super::serve_until_stdin_ends;

pub(super) fn run(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    serve_until_stdin_ends(|| std::process::exit(0));
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        // An answer that cannot be sent is a lost one, and counted as such where it is missed.
        let _ = socket.send_to(&buffer[..len], from);
    }
}
