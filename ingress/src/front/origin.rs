//! Who a request comes from, and what endpoints are told about it.
//!
//! A peer inside `trusted_proxies` is believed what it says in `X-Forwarded-*` and `Forwarded`: the client is the last
//! address in the list that is not itself trusted. From anybody else those fields are replaced.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// Addresses of a list that are looked at; more would be work for nothing.
const MAX_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What is the same for all requests of a connection.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) peer: IpAddr,
    pub(crate) trusted: bool,
    pub(crate) https: bool,
    peer_text: HeaderValue,
    port_text: HeaderValue,
}

impl Origin {
    pub(crate) fn new(client: SocketAddr, port: u16, https: bool, trusted_proxies: &[IpNet]) -> Self {
        let peer = client.ip().to_canonical();
        let text = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            peer,
            trusted: trusted_proxies.iter().any(|net| net.contains(&peer)),
            https,
            peer_text: text(peer.to_string()),
            port_text: text(port.to_string()),
        }
    }

    /// Whom the request is from.
    pub(crate) fn client(&self, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
        if !self.trusted {
            return self.peer;
        }
        let hops = forwarded_for(headers);
        let trusted = |ip: &IpAddr| trusted_proxies.iter().any(|net| net.contains(ip));
        hops.iter().rev().find(|ip| !trusted(ip)).or(hops.first()).copied().unwrap_or(self.peer)
    }

    /// Whether the client came by HTTPS, to us or to a trusted proxy.
    pub(crate) fn is_https(&self, headers: &HeaderMap) -> bool {
        match headers.get(X_FORWARDED_PROTO) {
            Some(proto) if self.trusted => proto.as_bytes().eq_ignore_ascii_case(b"https"),
            _ => self.https,
        }
    }

    /// Tells the endpoint.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, client: IpAddr) {
        if self.trusted {
            self.tell_more(headers, client);
            return;
        }
        headers.remove(FORWARDED);
        headers.insert(X_FORWARDED_FOR, self.peer_text.clone());
        headers.insert(X_REAL_IP, self.peer_text.clone());
        headers.insert(X_FORWARDED_PROTO, self.proto());
        headers.insert(X_FORWARDED_PORT, self.port_text.clone());
        match headers.get(HOST).cloned() {
            Some(host) => headers.insert(X_FORWARDED_HOST, host),
            None => headers.remove(X_FORWARDED_HOST),
        };
    }

    /// Adds this hop to what a trusted proxy has said.
    fn tell_more(&self, headers: &mut HeaderMap, client: IpAddr) {
        let before: Vec<&str> =
            headers.get_all(X_FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()).collect();
        let list = match before.is_empty() {
            true => self.peer.to_string(),
            false => format!("{}, {}", before.join(", "), self.peer),
        };
        if let Ok(list) = HeaderValue::try_from(list) {
            headers.insert(X_FORWARDED_FOR, list);
        }
        if let Ok(client) = HeaderValue::try_from(client.to_string()) {
            headers.insert(X_REAL_IP, client);
        }
        let host = headers.get(HOST).cloned();
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| self.proto());
        headers.entry(X_FORWARDED_PORT).or_insert_with(|| self.port_text.clone());
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
    }

    fn proto(&self) -> HeaderValue {
        HeaderValue::from_static(if self.https { "https" } else { "http" })
    }
}

/// The addresses that proxies have listed, the nearest last. `Forwarded` counts where the older field is missing.
fn forwarded_for(headers: &HeaderMap) -> Vec<IpAddr> {
    let values = |name: &HeaderName| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|value| value.trim().to_owned())
            .collect()
    };
    let mut listed = values(&X_FORWARDED_FOR);
    if listed.is_empty() {
        listed = values(&FORWARDED).iter().filter_map(|element| forwarded_element(element)).collect();
    }
    let skip = listed.len().saturating_sub(MAX_HOPS);
    listed.iter().skip(skip).filter_map(|text| address(text)).collect()
}

/// `for` of an element as in `for="[2001:db8::1]:4711";proto=https` (RFC 7239 §4).
fn forwarded_element(element: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| value.trim_matches('"').to_owned())
    })
}

/// An address, with or without port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()))
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>());
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn origin(peer: &str, trusted: &[IpNet]) -> Origin {
        Origin::new(peer.parse().unwrap(), 443, true, trusted)
    }

    #[test]
    fn only_trusted_peers_say_who_the_client_is() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        type Case<'a> = (&'a str, &'a [(&'static str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            ("192.0.2.1:5", &[("x-forwarded-for", "198.51.100.7")], "192.0.2.1"),
            ("10.0.0.1:5", &[("x-forwarded-for", "198.51.100.7")], "198.51.100.7"),
            ("10.0.0.1:5", &[("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.1.1.1")], "198.51.100.7"),
            ("10.0.0.1:5", &[("x-forwarded-for", "10.2.2.2, 10.1.1.1")], "10.2.2.2"),
            ("10.0.0.1:5", &[("x-forwarded-for", "rubbish")], "10.0.0.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            (
                "10.0.0.1:5",
                &[("forwarded", "for=\"[2001:db8::1]:4711\";proto=https, for=10.3.3.3")],
                "2001:db8::1",
            ),
            ("[::ffff:10.0.0.1]:5", &[("x-forwarded-for", "::ffff:198.51.100.7")], "198.51.100.7"),
        ];
        for (peer, fields, client) in cases {
            let found = origin(peer, &trusted).client(&headers(fields), &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {fields:?}");
        }
    }

    #[test]
    fn endpoints_are_told_the_truth() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let said = [
            ("host", "a"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let mut from_stranger = headers(&said);
        origin("192.0.2.1:5", &trusted).tell(&mut from_stranger, "192.0.2.1".parse().unwrap());
        let get = |h: &HeaderMap, name: &str| h.get(name).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(get(&from_stranger, "x-forwarded-for").unwrap(), "192.0.2.1");
        assert_eq!(get(&from_stranger, "x-real-ip").unwrap(), "192.0.2.1");
        assert_eq!(get(&from_stranger, "x-forwarded-proto").unwrap(), "https");
        assert_eq!(get(&from_stranger, "x-forwarded-host").unwrap(), "a");
        assert_eq!(get(&from_stranger, "x-forwarded-port").unwrap(), "443");
        assert_eq!(get(&from_stranger, "forwarded"), None);
        let mut from_proxy = headers(&said);
        origin("10.0.0.1:5", &trusted).tell(&mut from_proxy, "198.51.100.7".parse().unwrap());
        assert_eq!(get(&from_proxy, "x-forwarded-for").unwrap(), "198.51.100.7, 10.0.0.1");
        assert_eq!(get(&from_proxy, "x-real-ip").unwrap(), "198.51.100.7");
        assert_eq!(get(&from_proxy, "x-forwarded-proto").unwrap(), "http");
        assert!(get(&from_proxy, "forwarded").is_some());
    }
}
