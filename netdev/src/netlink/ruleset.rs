//! Whether somebody has changed the node's packet filter (`NFNL_SUBSYS_NFTABLES`).

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::{NetlinkError, Request, receive_datagram, retry};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 10 << 8 | 16;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
const GENERATION: u16 = 10 << 8 | 15;
/// `NFTA_GEN_ID`.
const GENERATION_ID: u16 = 1;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 20;

const REQUEST: Request<'_> = Request { operation: "read", object: "the generation of nftables' rules" };

/// A number that changes with every change of the nftables rules of the calling thread's namespace, whoever makes it. Asking
/// costs two system calls, so one may ask often.
pub fn ruleset_generation() -> Result<u32, NetlinkError> {
    let answer = ask().map_err(|source| REQUEST.kernel(source))?;
    generation(&answer).ok_or_else(|| REQUEST.answer("no generation"))
}

fn ask() -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = [0; HEADERS];
    let fields: [(usize, &[u8]); 3] = [
        (0, &20u32.to_ne_bytes()),
        (4, &GET_GENERATION.to_ne_bytes()),
        // NLM_F_REQUEST.
        (6, &1u16.to_ne_bytes()),
    ];
    for (at, bytes) in fields {
        request[at..at + bytes.len()].copy_from_slice(bytes);
    }
    retry(|| socket.send(&request, 0))?;
    let mut answer = Vec::new();
    receive_datagram(&socket, &mut answer)?;
    Ok(answer)
}

fn generation(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let mut rest = answer.get(HEADERS..).filter(|_| kind == GENERATION)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if kind == GENERATION_ID {
            return Some(u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?));
        }
        // Attributes are padded to four bytes, and never empty.
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_of_an_answer_is_understood_or_not() {
        let mut answer = vec![0; HEADERS];
        answer[4..6].copy_from_slice(&GENERATION.to_ne_bytes());
        for attribute in [[8, 0, 2, 0, 0, 0, 0, 9], [8, 0, 1, 0, 0, 0, 1, 2]] {
            answer.extend(attribute);
        }
        if cfg!(target_endian = "little") {
            assert_eq!(generation(&answer), Some(258));
        }
        for len in 0..answer.len() {
            assert_eq!(generation(&answer[..len]), None, "{len} bytes");
        }
    }
}
