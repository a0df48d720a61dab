//! What happens on a connection before the first request: PROXY header, TLS handshake, and which HTTP is spoken.

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::connection::{Activity, TlsFacts};
use super::io::Transport;
use super::proxy_protocol::{self, Parsed};
use super::rewound::Rewound;

/// What HTTP/2 without TLS begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection on which HTTP can begin.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) transport: Transport,
    /// Whose it is.
    pub(super) client: SocketAddr,
    pub(super) tls: Option<TlsFacts>,
    pub(super) h2: bool,
}

/// Waits for all that. `None` if the client said nothing.
pub(super) async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    with_proxy_header: bool,
    activity: &Activity,
) -> io::Result<Option<Greeted>> {
    let mut stream = Rewound::new(stream);
    let client = if with_proxy_header { read_proxy_header(&mut stream).await?.unwrap_or(peer) } else { peer };
    let Some(acceptor) = tls else {
        if with_proxy_header && stream.first().is_empty() {
            activity.rest();
        }
        let Some(h2) = is_h2(&mut stream, activity).await? else { return Ok(None) };
        return Ok(Some(Greeted { transport: Transport::Plain(stream), client, tls: None, h2 }));
    };
    // Boxed: its state is large, and gone when the first request comes.
    let stream = Box::pin(acceptor.accept(stream)).await?;
    activity.rest();
    let (_, session) = stream.get_ref();
    let facts = TlsFacts { server_name: session.server_name().map(str::to_ascii_lowercase) };
    let h2 = session.alpn_protocol() == Some(b"h2");
    Ok(Some(Greeted { transport: Transport::Tls(Box::new(stream)), client, tls: Some(facts), h2 }))
}

/// Whether connections from an address begin with a PROXY header.
pub(super) fn sends_proxy_header(nets: &[IpNet], peer: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

/// Takes the PROXY header off a connection, and not a byte more.
async fn read_proxy_header(stream: &mut Rewound) -> io::Result<Option<SocketAddr>> {
    loop {
        if !stream.read_ahead().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match proxy_protocol::parse(stream.first()) {
            Parsed::Header { len, client } => {
                stream.skip(len);
                return Ok(client);
            }
            Parsed::Invalid => return Err(io::ErrorKind::InvalidData.into()),
            Parsed::Partial => {}
        }
    }
}

/// Whether a cleartext connection begins with HTTP/2's preface; `None` if it ends before it says anything.
async fn is_h2(stream: &mut Rewound, activity: &Activity) -> io::Result<Option<bool>> {
    loop {
        let so_far = stream.first();
        let len = so_far.len().min(PREFACE.len());
        if so_far.get(..len) != PREFACE.get(..len) {
            return Ok(Some(false));
        }
        if len == PREFACE.len() {
            return Ok(Some(true));
        }
        if len > 0 {
            activity.on_bytes();
        }
        if !stream.read_ahead().await? {
            return Ok((len > 0).then_some(false));
        }
    }
}
