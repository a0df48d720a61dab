//! The PROXY protocol, versions 1 and 2 (haproxy's `proxy-protocol.txt`): whose connection it is,
//! said by a load balancer in front.
//!
//! Parsing is a pure function of the bytes so far. A header is only ever looked for from sources
//! that are trusted to send one, and from those it is required: a header that may be missing could
//! be forged by anybody who reaches the balancer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is accepted: version 2 with addresses of IPv6 and room for extensions.
pub(crate) const MAX_BYTES: usize = 536;
/// Longest line of version 1, with its line end (§2.1).
const MAX_LINE_BYTES: usize = 107;
/// What version 2 begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole header.
    Header {
        /// How many bytes it takes.
        len: usize,
        /// The client; `None` where the balancer speaks for itself (`LOCAL`, `UNKNOWN`).
        client: Option<SocketAddr>,
    },
    /// More is needed.
    Partial,
    /// This is none.
    Invalid,
}

/// Looks at what a connection begins with.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, SIGNATURE) {
        return parse_v2(bytes);
    }
    if begins(bytes, b"PROXY ") { parse_v1(bytes) } else { Parsed::Invalid }
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(a, b)| a == b)
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(2).take(MAX_LINE_BYTES - 1).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_LINE_BYTES { Parsed::Partial } else { Parsed::Invalid };
    };
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let len = end + 2;
    let fields: Vec<&str> = line.split(' ').collect();
    match fields.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Parsed::Header { len, client: None },
        ["PROXY", family, source, _destination, source_port, _destination_port] => {
            let address = match *family {
                "TCP4" => source.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                "TCP6" => source.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                _ => None,
            };
            match (address, source_port.parse()) {
                (Some(address), Ok(port)) => {
                    Parsed::Header { len, client: Some(SocketAddr::new(address, port)) }
                }
                _ => Parsed::Invalid,
            }
        }
        _ => Parsed::Invalid,
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some(&[version, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED_BYTES) else {
        return Parsed::Partial;
    };
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_BYTES || version >> 4 != 2 {
        return Parsed::Invalid;
    }
    let Some(body) = bytes.get(FIXED_BYTES..len) else { return Parsed::Partial };
    match version & 0x0f {
        0 => Parsed::Header { len, client: None },
        1 => match source_v2(family, body) {
            Ok(client) => Parsed::Header { len, client },
            Err(()) => Parsed::Invalid,
        },
        _ => Parsed::Invalid,
    }
}

/// The source address of a `PROXY` command.
fn source_v2(family: u8, body: &[u8]) -> Result<Option<SocketAddr>, ()> {
    match family {
        // TCP over IPv4
        0x11 => match body {
            [a, b, c, d, _, _, _, _, high, low, _, _, ..] => Ok(Some(SocketAddr::new(
                Ipv4Addr::new(*a, *b, *c, *d).into(),
                u16::from_be_bytes([*high, *low]),
            ))),
            _ => Err(()),
        },
        // TCP over IPv6
        0x21 => {
            let source: [u8; 16] = body.get(..16).and_then(|b| b.try_into().ok()).ok_or(())?;
            let port: [u8; 2] = body.get(32..34).and_then(|b| b.try_into().ok()).ok_or(())?;
            Ok(Some(SocketAddr::new(Ipv6Addr::from(source).into(), u16::from_be_bytes(port))))
        }
        // unspecified, or another transport: the connection's own address it is
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn headers_name_the_client() {
        let body4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb];
        let mut body6 = Ipv6Addr::LOCALHOST.octets().to_vec();
        body6.extend(Ipv6Addr::LOCALHOST.octets());
        body6.extend([0x1f, 0x90, 0, 80]);
        let cases: Vec<(Vec<u8>, Option<&str>)> = vec![
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(), Some("192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n".to_vec(), Some("[2001:db8::1]:56324")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(1, 0x11, &body4), Some("192.0.2.1:56324")),
            (v2(1, 0x21, &body6), Some("[::1]:8080")),
            (v2(0, 0, &[]), None),
            (v2(1, 0, &[]), None),
        ];
        for (header, client) in cases {
            let client = client.map(|c| c.parse().unwrap());
            let mut bytes = header.clone();
            bytes.extend(b"GET / HTTP/1.1\r\n");
            assert_eq!(parse(&bytes), Parsed::Header { len: header.len(), client });
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Parsed::Partial, "{cut} of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY TCP4 {} 10.0.0.1 1 2\r\n", "1".repeat(120));
        let mut version1 = v2(1, 0x11, &[0; 12]);
        version1[12] = 0x11;
        let cases: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n".to_vec(),
            b"PROXY TCP4 ::1 10.0.0.1 56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 99999 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 10.0.0.1 1 443\r\n".to_vec(),
            long.into_bytes(),
            v2(1, 0x11, &[0; 11]),
            v2(2, 0x11, &[0; 12]),
            v2(1, 0x11, &[0; 600]),
            version1,
        ];
        for bytes in cases {
            assert_eq!(parse(&bytes), Parsed::Invalid, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Parsed::Header { len, .. } = parse(&bytes) {
                prop_assert!(len <= bytes.len());
            }
            let mut with = SIGNATURE.to_vec();
            with.extend(&bytes);
            if let Parsed::Header { len, .. } = parse(&with) {
                prop_assert!(len <= with.len() && len <= MAX_BYTES);
            }
        }
    }
}
