//! Answers TCP requests with themselves, one connection at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

use super::serve_until_stdin_ends;
use crate::host::pin_self;

#[derive(clap::Args)]
pub(crate) struct Serve {
    address: SocketAddr,
    /// Bytes of a request and of its answer.
    #[arg(long)]
    size: usize,
    /// Close each connection after its first answer.
    #[arg(long)]
    close: bool,
    /// Run on this core only.
    #[arg(long)]
    core: Option<usize>,
}

impl Serve {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(core) = self.core {
            pin_self(core)?;
        }
        let listener = TcpListener::bind(self.address)?;
        serve_until_stdin_ends(|| std::process::exit(0));
        let mut request = vec![0; self.size];
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            // A client that goes away ends its connection, not the server.
            while self.answer(&mut stream, &mut request).is_ok() && !self.close {}
        }
    }

    fn answer(&self, stream: &mut TcpStream, request: &mut [u8]) -> std::io::Result<()> {
        stream.read_exact(request)?;
        stream.write_all(request)
    }
}
