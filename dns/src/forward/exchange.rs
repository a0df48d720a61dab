//! One question to one server.
//!
//! What a stranger would have to guess to be believed: the port (a socket of its own per question, connected, so that nobody else's datagrams
//! arrive), the number (16 random bits) and the case of every letter (0x20). A wrong answer does not end the wait; a server
//! that does not keep the case, or that sends many wrong ones, is asked over TCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Question;
use crate::wire::record::{CLASS_IN, kind};
use crate::wire::{HEADER_BYTES, MAX_UDP_BYTES};

/// Larger than what we say we take: servers that send more are not lost.
const BUFFER_BYTES: usize = 4096;
/// Wrong answers after which somebody is guessing.
const MAX_WRONG: usize = 16;

/// A question as bytes.
struct Asked {
    message: Vec<u8>,
    question_end: usize,
}

/// How an answer fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It is the answer.
    Answer,
    /// It is, but cut off.
    Truncated,
    /// It would be, but for the case.
    OtherCase,
    /// It is not.
    Wrong,
}

/// Asks; gives the answer's bytes, of which nothing is known but that they answer the question.
///
/// # Errors
/// What the kernel said. There is no limit of time in here.
pub(super) async fn ask(server: SocketAddr, question: &Question) -> io::Result<Vec<u8>> {
    let asked = Asked::new(question);
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&asked.message).await?;
    let mut answer = vec![0; BUFFER_BYTES];
    for _ in 0..MAX_WRONG {
        let len = socket.recv(&mut answer).await?;
        let bytes = answer.get(..len).unwrap_or_default();
        match asked.fit(bytes) {
            Fit::Answer => {
                answer.truncate(len);
                return Ok(answer);
            }
            Fit::Truncated | Fit::OtherCase => break,
            Fit::Wrong => {}
        }
    }
    drop(socket);
    ask_stream(server, &asked).await
}

async fn ask_stream(server: SocketAddr, asked: &Asked) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(asked.message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], &asked.message].concat()).await?;
    let mut len = [0; 2];
    stream.read_exact(&mut len).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).await?;
    // Nobody else can have written here: the case does not matter.
    match asked.fit(&answer) {
        Fit::Answer | Fit::OtherCase => Ok(answer),
        Fit::Truncated | Fit::Wrong => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Asked {
    fn new(question: &Question) -> Self {
        let [id0, id1] = rand::random::<u16>().to_be_bytes();
        let checking = if question.checking_disabled { 0x10 } else { 0 };
        let mut message = vec![id0, id1, 1, checking, 0, 1, 0, 0, 0, 0, 0, 1];
        let coins: [u8; 32] = rand::random();
        for (at, byte) in question.name.as_wire().iter().enumerate() {
            let coin = coins.get(at / 8).is_some_and(|coins| coins >> (at % 8) & 1 == 1);
            // Lengths are below 64 and so never letters.
            message.push(if coin { byte.to_ascii_uppercase() } else { *byte });
        }
        message.extend_from_slice(&question.kind.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        let question_end = message.len();
        let [k0, k1] = kind::OPT.to_be_bytes();
        let [s0, s1] = MAX_UDP_BYTES.to_be_bytes();
        message.extend_from_slice(&[0, k0, k1, s0, s1, 0, 0, u8::from(question.dnssec_ok) << 7, 0, 0, 0]);
        Self { message, question_end }
    }

    fn fit(&self, answer: &[u8]) -> Fit {
        let ours = self.message.get(HEADER_BYTES..self.question_end).unwrap_or_default();
        let header = answer.get(..HEADER_BYTES).unwrap_or_default();
        let [id0, id1, high, _, 0, 1, ..] = header else { return Fit::Wrong };
        // An answer (QR) to a query (opcode 0) with our number.
        if self.message.get(..2) != Some(&[*id0, *id1]) || high & 0xf8 != 0x80 {
            return Fit::Wrong;
        }
        let Some(theirs) = answer.get(HEADER_BYTES..self.question_end) else { return Fit::Wrong };
        match (theirs == ours, theirs.eq_ignore_ascii_case(ours), high & 2 != 0) {
            (true, _, false) => Fit::Answer,
            (true, _, true) => Fit::Truncated,
            (false, true, _) => Fit::OtherCase,
            (false, false, _) => Fit::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::name::Name;

    fn asked() -> Asked {
        let name = Name::from_text("some.long.name.example").unwrap();
        Asked::new(&Question { name, kind: kind::A, dnssec_ok: false, checking_disabled: false })
    }

    #[test]
    fn only_the_answer_to_the_question_fits() {
        let asked = asked();
        let mut good = asked.message.clone();
        good[2] |= 0x80;
        assert_eq!(asked.fit(&good), Fit::Answer);
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            asked.fit(&bytes)
        };
        assert_eq!(with(0, good[0] ^ 1), Fit::Wrong, "another number");
        assert_eq!(with(2, good[2] & 0x7f), Fit::Wrong, "a question");
        assert_eq!(with(2, good[2] | 2), Fit::Truncated);
        assert_eq!(with(2, good[2] | 0x20), Fit::Wrong, "another opcode");
        assert_eq!(with(5, 0), Fit::Wrong, "no question");
        assert_eq!(with(13, good[13] ^ 0x20), Fit::OtherCase);
        assert_eq!(with(13, b'x'), Fit::Wrong, "another name");
        assert_eq!(with(asked.question_end - 3, 28), Fit::Wrong, "another type");
        for len in 0..asked.question_end {
            assert_eq!(asked.fit(&good[..len]), Fit::Wrong);
        }
    }

    #[test]
    fn numbers_and_cases_are_not_the_same_twice() {
        let all: std::collections::HashSet<_> = (0..64).map(|_| asked().message).collect();
        assert!(all.len() > 60);
    }
}
