//! What connections cost a proxy that have asked once and then say nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::READY_WITHIN;
use super::proxies::{HTTP, HTTPS, Proxy, Site, local};
use crate::host::resident_bytes;

/// A connection that stays open until it is dropped.
trait Open: Read + Write {}
impl<T: Read + Write> Open for T {}

/// How much the proxy grows by each of so many connections.
pub(super) fn bytes(site: &Site, proxy: &Proxy, count: usize, tls: bool) -> Result<f64> {
    let config = Arc::new(client_config(site.certificate()?)?);
    let before = resident_bytes(proxy.pid())?;
    let mut open: Vec<Box<dyn Open>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream: Box<dyn Open> = if tls {
            let name = ServerName::try_from("bench.example")?;
            let session = ClientConnection::new(Arc::clone(&config), name)?;
            Box::new(StreamOwned::new(session, connect(local(proxy.port + HTTPS))?))
        } else {
            Box::new(connect(local(proxy.port + HTTP))?)
        };
        ask(&mut stream)?;
        open.push(stream);
    }
    let after = resident_bytes(proxy.pid())?;
    #[expect(clippy::cast_precision_loss, reason = "memory is below 2^52 bytes")]
    let each = after.saturating_sub(before) as f64 / count as f64;
    Ok(each)
}

pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READY_WITHIN))?;
    Ok(stream)
}

/// Asks once, and returns the status.
pub(super) fn ask(stream: &mut (impl Read + Write)) -> Result<String> {
    stream.write_all(b"GET /1024 HTTP/1.1\r\nHost: bench.example\r\n\r\n")?;
    stream.flush()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned())
}

/// The site's certificate is the only one that is believed.
fn client_config(certificate: CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no TLS versions")?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
