//! Answers TCP requests with themselves, one connection of each address at a time.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Result, ensure};

use super::{serve_all, serve_until_stdin_ends};
use crate::host::pin_self;

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Where to listen.
    #[arg(required = true)]
    addresses: Vec<SocketAddr>,
    /// Bytes of a request and of its answer.
    #[arg(long)]
    size: usize,
    /// Close each connection after its first answer.
    #[arg(long)]
    close: bool,
    /// Run on this core only.
    #[arg(long)]
    core: Option<usize>,
    /// Fail when a client has another address.
    #[arg(long)]
    only_from: Option<IpAddr>,
}

impl Serve {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(core) = self.core {
            pin_self(core)?;
        }
        let listeners = self.addresses.iter().map(TcpListener::bind).collect::<Result<Vec<_>, _>>()?;
        serve_until_stdin_ends(|| std::process::exit(0));
        serve_all(listeners, |listener| self.serve(listener))
    }

    fn serve(&self, listener: &TcpListener) -> Result<()> {
        let mut request = vec![0; self.size];
        loop {
            let (mut stream, from) = listener.accept()?;
            let expected = self.only_from.is_none_or(|address| address == from.ip());
            ensure!(expected, "a client has the address {}", from.ip());
            // A client that goes away ends its connection, not the server.
            let _ = stream.set_nodelay(true);
            while self.answer(&mut stream, &mut request).is_ok() && !self.close {}
        }
    }

    fn answer(&self, stream: &mut TcpStream, request: &mut [u8]) -> std::io::Result<()> {
        stream.read_exact(request)?;
        stream.write_all(request)
    }
}
