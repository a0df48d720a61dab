//! Clients: HTTP/1.1 byte by byte, over TCP or TLS, and HTTP/2 from the library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::PATIENCE;

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// A header field as the endpoint got it.
    pub fn told(&self, name: &str) -> Option<String> {
        let headers = self.json()["headers"].as_array().unwrap().clone();
        let found = headers.iter().find(|pair| pair[0] == name)?;
        Some(found[1].as_str().unwrap().to_owned())
    }
}

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection that says what it is told to say.
pub struct Raw {
    pub stream: BufReader<Box<dyn Stream>>,
    pub tcp: TcpStream,
    /// What the server showed, over TLS.
    pub certificate: Option<Vec<u8>>,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let tcp = tcp(address);
        let stream: Box<dyn Stream> = Box::new(tcp.try_clone().unwrap());
        Self { stream: BufReader::new(stream), tcp, certificate: None }
    }

    /// Over TLS, asking for this name.
    pub fn tls(address: SocketAddr, name: &str) -> Self {
        Self::tls_version(address, name, &[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    pub fn tls_version(
        address: SocketAddr,
        name: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let tcp = tcp(address);
        let seen = Arc::new(Seen::default());
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let session =
            ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, tcp.try_clone().unwrap());
        stream.flush().unwrap();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        let certificate = seen.0.lock().unwrap().clone();
        let stream: Box<dyn Stream> = Box::new(stream);
        Self { stream: BufReader::new(stream), tcp, certificate }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())?;
        self.stream.get_mut().flush()
    }

    pub fn get(&mut self, host: &str, path: &str) -> Reply {
        self.request("GET", host, path, &[], b"")
    }

    pub fn request(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.try_request(method, host, path, headers, body).unwrap()
    }

    pub fn try_request(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.try_send([head.as_bytes(), body].concat())?;
        self.try_reply(method == "HEAD")
    }

    pub fn reply(&mut self) -> Reply {
        self.try_reply(false).unwrap()
    }

    pub fn try_reply(&mut self, head_only: bool) -> std::io::Result<Reply> {
        let (status, headers) = self.head()?;
        let mut reply = Reply { status, headers, body: Vec::new() };
        if head_only || matches!(status, 101 | 204 | 304) {
            return Ok(reply);
        }
        if reply.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            while let Some(mut chunk) = self.chunk()? {
                reply.body.append(&mut chunk);
            }
        } else if let Some(len) = reply.header("content-length") {
            reply.body = vec![0; len.parse().unwrap()];
            self.stream.read_exact(&mut reply.body)?;
        } else {
            self.stream.read_to_end(&mut reply.body)?;
        }
        Ok(reply)
    }

    /// Status and fields.
    pub fn head(&mut self) -> std::io::Result<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok((status, headers)) };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// A chunk of a body; `None` after the last.
    pub fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let len = usize::from_str_radix(&self.line()?, 16).map_err(std::io::Error::other)?;
        let mut chunk = vec![0; len + 2];
        if len == 0 {
            while !self.line()?.is_empty() {}
            return Ok(None);
        }
        self.stream.read_exact(&mut chunk)?;
        chunk.truncate(len);
        Ok(Some(chunk))
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Whether the server closes now, without another byte.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(len) => len == 0,
            Err(error) => {
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        }
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, host: &str, path: &str) -> Reply {
    Raw::connect(address).get(host, path)
}

/// Takes whatever certificate comes, and remembers it.
#[derive(Debug, Default)]
pub struct Seen(pub Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(certificate.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
