//! One question of one server, asked in a network namespace.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use netdev::netns;

use crate::error::CliError;

const DNS_PORT: u16 = 53;
/// As resolvers wait, each of their tries.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// A datagram without EDNS has less.
const MAX_BYTES: usize = 4096;

/// What was said.
#[derive(Debug)]
pub(super) struct Answer {
    code: ResponseCode,
    /// Each as in a zone file.
    pub(super) records: Vec<String>,
    is_authoritative: bool,
    was_truncated: bool,
}

impl Answer {
    /// The name does not exist, or has no such record.
    pub(super) fn is_negative(&self) -> bool {
        self.records.is_empty() && matches!(self.code, ResponseCode::NoError | ResponseCode::NXDomain)
    }

    /// In a few words.
    pub(super) fn summary(&self) -> String {
        let mut text = match (self.code, self.records.len()) {
            (ResponseCode::NoError, 0) => "NODATA: it exists, without such a record".to_owned(),
            (ResponseCode::NoError, 1) => "1 record".to_owned(),
            (ResponseCode::NoError, count) => format!("{count} records"),
            (ResponseCode::NXDomain, _) => "NXDOMAIN: it does not exist".to_owned(),
            (other, _) => format!("{other}"),
        };
        if self.is_authoritative {
            text += ", from the cluster's own names";
        }
        if self.was_truncated {
            text += ", over TCP";
        }
        text
    }
}

/// Asks over UDP, and over TCP for what is too long.
pub(super) fn ask(netns: &str, server: IpAddr, name: &Name, kind: RecordType) -> Result<Answer, CliError> {
    let fail = |why: String| CliError::Ask { server, name: name.to_string(), why };
    let namespace = netns::open_path(Path::new(netns)).map_err(|error| fail(error.to_string()))?;
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let bytes = query.to_vec().map_err(|error| fail(error.to_string()))?;
    let at = SocketAddr::new(server, DNS_PORT);
    let exchanged = namespace.run(|| exchange(at, &bytes, query.metadata.id));
    let (message, was_truncated) = exchanged.map_err(|error| fail(error.to_string()))?.map_err(fail)?;
    Ok(Answer {
        code: message.metadata.response_code,
        records: message.answers.iter().map(ToString::to_string).collect(),
        is_authoritative: message.metadata.authoritative,
        was_truncated,
    })
}

fn exchange(at: SocketAddr, query: &[u8], id: u16) -> Result<(Message, bool), String> {
    let mut problem = String::new();
    for _ in 0..TRIES {
        match by_datagram(at, query, id) {
            Ok(message) if message.metadata.truncation => return Ok((by_stream(at, query)?, true)),
            Ok(message) => return Ok((message, false)),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn by_datagram(at: SocketAddr, query: &[u8], id: u16) -> Result<Message, String> {
    let any: SocketAddr = if at.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let text = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => format!("no answer within {} s", PATIENCE.as_secs()),
        _ => error.to_string(),
    };
    let socket = UdpSocket::bind(any).map_err(text)?;
    socket.connect(at).map_err(text)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    socket.send(query).map_err(text)?;
    let mut buffer = [0; MAX_BYTES];
    let count = socket.recv(&mut buffer).map_err(text)?;
    let message = decode(buffer.get(..count).unwrap_or_default())?;
    if message.metadata.id == id { Ok(message) } else { Err("an answer to another question".to_owned()) }
}

fn by_stream(at: SocketAddr, query: &[u8]) -> Result<Message, String> {
    let text = |error: std::io::Error| format!("over TCP: {error}");
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    // A name has 255 bytes at most, so a query is short.
    let len = u16::try_from(query.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&len, query].concat()).map_err(text)?;
    let mut len = [0; 2];
    stream.read_exact(&mut len).map_err(text)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).map_err(text)?;
    decode(&answer)
}

fn decode(bytes: &[u8]) -> Result<Message, String> {
    Message::from_vec(bytes).map_err(|error| format!("an answer that is no DNS message: {error}"))
}
