//! Annotations of an Ingress: what the specification has no field for.
//!
//! Each is read by our own prefix and, so that manifests can be carried over, by that of the NGINX controller; ours wins. A wrong
//! value is an error when the object is applied. One of the NGINX controller's that is not read is a warning in `describe`: what it would do
//! does not happen.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use protocol::problem::Problem;

use crate::check::words;
use crate::policy::{
    BackendProtocol, Balance, Cors, HashKey, Policy, RateLimit, Retry, SessionCookie, Timeouts,
};

/// Ours.
pub(crate) const PREFIX: &str = "ingress.vpod.io/";
/// The NGINX controller's.
pub(crate) const NGINX: &str = "nginx.ingress.kubernetes.io/";
/// The NGINX controller's `limit-burst-multiplier`.
const BURST_FACTOR: u32 = 5;

/// All that are read, by what follows the prefix.
const KNOWN: [&str; 40] = [
    "affinity",
    "backend-protocol",
    "canary",
    "canary-by-cookie",
    "canary-by-header",
    "canary-by-header-value",
    "canary-weight",
    "canary-weight-total",
    "cors-allow-credentials",
    "cors-allow-headers",
    "cors-allow-methods",
    "cors-allow-origin",
    "cors-expose-headers",
    "cors-max-age",
    "denylist-source-range",
    "enable-cors",
    "force-ssl-redirect",
    "limit-burst-multiplier",
    "limit-connections",
    "limit-rpm",
    "limit-rps",
    "load-balance",
    "proxy-body-size",
    "proxy-connect-timeout",
    "proxy-next-upstream-tries",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "request-timeout",
    "retry-codes",
    "rewrite-prefix",
    "rewrite-target",
    "session-cookie-domain",
    "session-cookie-max-age",
    "session-cookie-name",
    "session-cookie-path",
    "session-cookie-samesite",
    "session-cookie-secure",
    "ssl-redirect",
    "upstream-hash-by",
    "upstream-vhost",
];
/// And one that has another name here and there.
const WHITELIST: [&str; 2] = ["whitelist-source-range", "allowlist-source-range"];

/// What they say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Annotations {
    pub(crate) policy: Policy,
    /// Where there is TLS; true without.
    pub(crate) ssl_redirect: Option<bool>,
    /// Also where there is none.
    pub(crate) force_ssl_redirect: bool,
    pub(crate) rewrite_target: Option<String>,
    pub(crate) rewrite_prefix: Option<String>,
    pub(crate) upstream_host: Option<String>,
    pub(crate) canary: Option<CanaryAnnotations>,
}

/// The object adds to the rules of another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CanaryAnnotations {
    pub(crate) header: Option<(String, Option<String>)>,
    pub(crate) cookie: Option<String>,
    pub(crate) weight: u32,
    pub(crate) weight_total: u32,
}

type All = BTreeMap<String, String>;

pub(crate) fn check(all: Option<&All>, problems: &mut Vec<Problem>) {
    if let Some(all) = all {
        read(all, problems);
    }
}

/// Those of the prefixes that nobody reads.
pub(crate) fn unknown(all: &All) -> impl Iterator<Item = &str> {
    let is_unknown = |key: &&str| {
        let suffix = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(NGINX));
        suffix.is_some_and(|suffix| !KNOWN.contains(&suffix) && !WHITELIST.contains(&suffix))
    };
    all.keys().map(String::as_str).filter(is_unknown)
}

pub(crate) fn read(all: &All, problems: &mut Vec<Problem>) -> Annotations {
    let mut reader = Reader { all, problems };
    let timeouts = Timeouts {
        connect: reader.seconds("proxy-connect-timeout"),
        read: reader.seconds("proxy-read-timeout"),
        send: reader.seconds("proxy-send-timeout"),
        request: reader.seconds("request-timeout"),
        backend_request: None,
    };
    let policy = Policy {
        protocol: reader.protocol(),
        balance: reader.balance(),
        affinity: reader.affinity(),
        max_body_bytes: reader.parsed("proxy-body-size", "must be a size such as 8m; 0 is no limit", size),
        rate: reader.rate(),
        max_concurrent: reader.number("limit-connections").filter(|limit| *limit > 0),
        timeouts,
        retry: reader.retry(),
        cors: reader.cors(),
        allow_from: WHITELIST.iter().flat_map(|key| reader.ranges(key)).collect(),
        deny_from: reader.ranges("denylist-source-range"),
    };
    Annotations {
        policy,
        ssl_redirect: reader.switch("ssl-redirect"),
        force_ssl_redirect: reader.switch("force-ssl-redirect").unwrap_or(false),
        rewrite_target: reader.parsed(
            "rewrite-target",
            "must be a path; parts of a regular expression such as $1 are not supported",
            path,
        ),
        rewrite_prefix: reader.parsed("rewrite-prefix", "must be a path", path),
        upstream_host: reader.parsed("upstream-vhost", "must be a host", |text| {
            words::is_subdomain(text).then(|| text.to_owned())
        }),
        canary: reader.canary(),
    }
}

struct Reader<'a> {
    all: &'a All,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn find(&self, suffix: &str) -> Option<(String, &'a str)> {
        let found = |prefix: &str| {
            let key = format!("{prefix}{suffix}");
            let value = self.all.get(&key)?;
            Some((key, value.trim()))
        };
        found(PREFIX).or_else(|| found(NGINX))
    }

    fn parsed<T>(&mut self, suffix: &str, why: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (key, text) = self.find(suffix)?;
        let value = parse(text);
        if value.is_none() {
            self.problems.push(Problem::invalid(
                format!("metadata.annotations[{key}]"),
                text.escape_debug(),
                why,
            ));
        }
        value
    }

    fn number(&mut self, suffix: &str) -> Option<u32> {
        self.parsed(suffix, "must be a number", |text| text.parse().ok())
    }

    fn switch(&mut self, suffix: &str) -> Option<bool> {
        self.parsed(suffix, "must be \"true\" or \"false\"", |text| text.parse().ok())
    }

    fn seconds(&mut self, suffix: &str) -> Option<Duration> {
        self.parsed(suffix, "must be a number of seconds, or a duration such as 500ms", |text| {
            text.parse()
                .ok()
                .map(|seconds: u32| Duration::from_secs(seconds.into()))
                .or_else(|| words::duration(text))
        })
    }

    fn ranges(&mut self, suffix: &str) -> Vec<IpNet> {
        let read = |text: &str| {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let range = |part: &str| {
                let address = || Some(IpNet::from(part.parse::<std::net::IpAddr>().ok()?));
                part.parse::<IpNet>().ok().map(|range| range.trunc()).or_else(address)
            };
            parts.map(range).collect::<Option<Vec<_>>>().filter(|ranges| ranges.len() <= 256)
        };
        self.parsed(suffix, "must be CIDRs such as 192.0.2.0/24, at most 256", read).unwrap_or_default()
    }

    fn protocol(&mut self) -> BackendProtocol {
        let read = |text: &str| match text.to_ascii_uppercase().as_str() {
            "AUTO" => Some(BackendProtocol::OfPort),
            "HTTP" | "HTTP1" => Some(BackendProtocol::Http1),
            "H2C" | "HTTP2" => Some(BackendProtocol::H2c),
            "GRPC" => Some(BackendProtocol::Grpc),
            _ => None,
        };
        self.parsed("backend-protocol", "must be HTTP, H2C, GRPC or AUTO", read).unwrap_or_default()
    }

    fn balance(&mut self) -> Balance {
        if let Some(key) = self.parsed("upstream-hash-by", HASH_KEYS, hash_key) {
            return Balance::Hash(key);
        }
        let read = |text: &str| match text {
            "round_robin" | "round-robin" => Some(Balance::RoundRobin),
            "least_conn" | "ewma" | "least-outstanding" => Some(Balance::LeastOutstanding),
            "ip_hash" => Some(Balance::Hash(HashKey::Client)),
            _ => None,
        };
        self.parsed("load-balance", "must be round_robin, ewma, least-outstanding or ip_hash", read)
            .unwrap_or_default()
    }

    fn affinity(&mut self) -> Option<SessionCookie> {
        self.parsed("affinity", "must be \"cookie\"", |text| (text == "cookie").then_some(()))?;
        let token = |text: &str| words::is_field_name(text).then(|| text.to_owned());
        let name = self.parsed("session-cookie-name", "must be the name of a cookie", token);
        let path = self
            .parsed("session-cookie-path", "must be a path", |text| path(text).filter(|p| !p.contains(';')));
        let host = |text: &str| words::is_subdomain(text.trim_start_matches('.')).then(|| text.to_owned());
        let same_site = |text: &str| ["None", "Lax", "Strict"].contains(&text).then(|| text.to_owned());
        Some(SessionCookie {
            name: name.unwrap_or_else(|| "INGRESSCOOKIE".to_owned()),
            path,
            domain: self.parsed("session-cookie-domain", "must be a domain", host),
            max_age_seconds: self.number("session-cookie-max-age").map(Into::into),
            secure: self.switch("session-cookie-secure"),
            same_site: self.parsed("session-cookie-samesite", "must be None, Lax or Strict", same_site),
        })
    }

    fn rate(&mut self) -> Option<RateLimit> {
        let per_second = self.number("limit-rps").map(|requests| (requests, Duration::from_secs(1)));
        let per_minute = self.number("limit-rpm").map(|requests| (requests, Duration::from_secs(60)));
        let factor = self.number("limit-burst-multiplier").unwrap_or(BURST_FACTOR);
        let (requests, per) = per_second.or(per_minute).filter(|(requests, _)| *requests > 0)?;
        Some(RateLimit { requests, per, burst: requests.saturating_mul(factor) })
    }

    fn retry(&mut self) -> Option<Retry> {
        let tries = self.number("proxy-next-upstream-tries");
        let read =
            |text: &str| text.split([',', ' ']).filter(|part| !part.is_empty()).map(retry_code).collect();
        let codes: Option<Vec<u16>> =
            self.parsed("retry-codes", "must be codes among 500, 502, 503 and 504", read);
        if tries.is_none() && codes.is_none() {
            return None;
        }
        let attempts = tries.map_or(2, |tries| tries.saturating_sub(1).min(10));
        Some(Retry { attempts, codes: codes.unwrap_or_default(), backoff: Duration::ZERO })
    }

    fn cors(&mut self) -> Option<Cors> {
        let is_enabled = self.switch("enable-cors")?;
        let tokens = |text: &str| {
            let all: Vec<String> = listed(text).collect();
            all.iter().all(|one| one == "*" || words::is_field_name(one)).then_some(all)
        };
        let origins = |text: &str| {
            let all: Vec<String> = listed(text).collect();
            all.iter().all(|one| crate::check::is_origin(one)).then_some(all)
        };
        let words = |text: &str| listed(text).collect::<Vec<_>>();
        let why = "must be names joined by commas";
        let cors = Cors {
            origins: self
                .parsed("cors-allow-origin", "must be * or origins such as https://foo.com", origins)
                .unwrap_or_else(|| words("*")),
            methods: self
                .parsed("cors-allow-methods", why, tokens)
                .unwrap_or_else(|| words("GET, PUT, POST, DELETE, PATCH, OPTIONS")),
            headers: self.parsed("cors-allow-headers", why, tokens).unwrap_or_else(|| words(CORS_HEADERS)),
            expose: self.parsed("cors-expose-headers", why, tokens).unwrap_or_default(),
            credentials: self.switch("cors-allow-credentials").unwrap_or(true),
            max_age_seconds: Some(self.number("cors-max-age").unwrap_or(1_728_000).into()),
        };
        is_enabled.then_some(cors)
    }

    fn canary(&mut self) -> Option<CanaryAnnotations> {
        let is_canary = self.switch("canary").unwrap_or(false);
        let token = |text: &str| words::is_field_name(text).then(|| text.to_owned());
        let header = self.parsed("canary-by-header", "must be the name of a header field", token);
        let value = self.parsed("canary-by-header-value", "must be a value of a header field", |text| {
            words::is_field_value(text).then(|| text.to_owned())
        });
        let cookie = self.parsed("canary-by-cookie", "must be the name of a cookie", token);
        let weight_total = self.number("canary-weight-total").unwrap_or(100).max(1);
        let why = "must be a number that is not more than canary-weight-total, which is 100 without";
        let weight = self
            .parsed("canary-weight", why, |text| text.parse().ok().filter(|weight| *weight <= weight_total));
        is_canary.then(|| CanaryAnnotations {
            header: header.map(|name| (name.to_ascii_lowercase(), value)),
            cookie,
            weight: weight.unwrap_or(0),
            weight_total,
        })
    }
}

const CORS_HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const HASH_KEYS: &str = "must be $remote_addr, $request_uri, $host, $http_<field> or $cookie_<name>; others and combinations are not supported";

fn hash_key(text: &str) -> Option<HashKey> {
    match text {
        "$remote_addr" | "$binary_remote_addr" => Some(HashKey::Client),
        "$request_uri" | "$uri" => Some(HashKey::Uri),
        "$host" | "$http_host" => Some(HashKey::Host),
        other => {
            let name = |name: &str| words::is_field_name(name).then(|| name.to_owned());
            let header = other.strip_prefix("$http_").and_then(|field| name(&field.replace('_', "-")));
            let cookie = || other.strip_prefix("$cookie_").and_then(name).map(HashKey::Cookie);
            header.map(HashKey::Header).or_else(cookie)
        }
    }
}

fn listed(text: &str) -> impl Iterator<Item = String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
}

/// The Gateway API has these as core.
fn retry_code(text: &str) -> Option<u16> {
    text.parse().ok().filter(|code| [500, 502, 503, 504].contains(code))
}

fn path(text: &str) -> Option<String> {
    let is_path = text.starts_with('/') && text.len() <= 1024;
    (is_path && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'$' | b'?' | b'#')))
        .then(|| text.to_owned())
}

/// `8m`, `1g`, `512k`, `100`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
