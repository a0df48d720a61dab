//! What the program is told by its configuration file (`vpod-ingress --config FILE`).
//!
//! TOML; unknown keys are errors, every key but none is required: the defaults are those that users
//! of an ingress controller are used to (`keep-alive 75 s; connect 5 s, read 60 s, send 60 s`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// Everything.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Settings {
    /// The daemon's read-only socket. Without, routes come from nowhere: only tests do that.
    pub socket: Option<PathBuf>,
    /// The node's name, for logs.
    pub node: String,
    /// Where cleartext HTTP is served.
    #[serde(deserialize_with = "one_or_many")]
    pub http: Vec<SocketAddr>,
    /// Where HTTPS is served.
    #[serde(deserialize_with = "one_or_many")]
    pub https: Vec<SocketAddr>,
    /// Answers `/health`: the process runs.
    pub health: Option<SocketAddr>,
    /// Answers `/ready`: routes have been learned, and it does not drain.
    pub ready: Option<SocketAddr>,
    /// Answers `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// The class, of Ingresses and of Gateways, that is served without an object that says so.
    pub class: String,
    /// Addresses whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Addresses whose connections begin with a PROXY protocol header, version 1 or 2.
    pub proxy_protocol: Vec<IpNet>,
    /// Socket on which a successor is given the listeners.
    pub handover: Option<PathBuf>,
    /// Where the access log goes; `-` is standard output. Off without.
    pub access_log: Option<PathBuf>,
    /// Threads that serve; as many as processors when 0.
    pub workers: usize,
    /// Limits of time and size.
    pub options: Options,
}

/// Limits of time and size.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Options {
    /// Longest time for a client to send a request's head, or to finish the TLS handshake.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// Longest time that a connection may be idle between requests.
    #[serde(deserialize_with = "duration")]
    pub keep_alive: Duration,
    /// Longest time to connect to an endpoint.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// Longest time between two reads from an endpoint.
    #[serde(deserialize_with = "duration")]
    pub read_timeout: Duration,
    /// Longest time between two writes, to either side, and between two reads of a request's body.
    #[serde(deserialize_with = "duration")]
    pub send_timeout: Duration,
    /// Longest time that connections may last when the process ends.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// Longest time that a connection to an endpoint is kept idle.
    #[serde(deserialize_with = "duration")]
    pub upstream_idle: Duration,
    /// Idle connections kept per endpoint and worker.
    pub upstream_idle_connections: usize,
    /// Tries of a request in all, where another may help.
    pub tries: u32,
    /// Largest request body in bytes; 0 is no limit.
    pub max_body_bytes: u64,
    /// Largest head of a request in bytes.
    pub max_header_bytes: usize,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// Streams that a client may have open on one HTTP/2 connection.
    pub max_streams: u32,
    /// Client connections in all.
    pub max_connections: u32,
    /// Client connections from one address.
    pub max_connections_per_client: u32,
    /// Failures in a row after which an endpoint is left alone for a while; 0 is never.
    pub eject_after: u32,
    /// For how long, at first; doubled up to six times as long.
    #[serde(deserialize_with = "duration")]
    pub eject_for: Duration,
    /// Value of `Strict-Transport-Security` on HTTPS; empty is none.
    pub hsts: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: None,
            node: String::new(),
            http: Vec::new(),
            https: Vec::new(),
            health: None,
            ready: None,
            metrics: None,
            class: "vpod".to_owned(),
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            handover: None,
            access_log: None,
            workers: 0,
            options: Options::default(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(240),
            upstream_idle: Duration::from_secs(60),
            upstream_idle_connections: 320,
            tries: 3,
            max_body_bytes: 1 << 20,
            max_header_bytes: 32 << 10,
            max_headers: 100,
            max_streams: 128,
            max_connections: 16_384,
            max_connections_per_client: 12_000,
            eject_after: 3,
            eject_for: Duration::from_secs(10),
            hsts: String::new(),
        }
    }
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It says something that is not understood.
    #[error("{} is not a configuration of vpod-ingress", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or says something unknown.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| SettingsError::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    /// Threads that serve.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// A duration as in `75s` or `1m 30s`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

/// One address, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(SocketAddr),
        Many(Vec<SocketAddr>),
    }
    Ok(match Form::deserialize(from)? {
        Form::One(address) => vec![address],
        Form::Many(addresses) => addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_differs_from_the_defaults() {
        let text = r#"
            socket = "/run/vswitchd/ro.sock"
            http = "0.0.0.0:80"
            https = ["0.0.0.0:443", "[::]:443"]
            trusted_proxies = ["10.0.0.0/8"]
            [options]
            keep_alive = "1m 15s"
            max_body_bytes = 0
        "#;
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.http.len(), 1);
        assert_eq!(settings.https.len(), 2);
        assert_eq!(settings.options.keep_alive, Duration::from_secs(75));
        assert_eq!(settings.options.max_body_bytes, 0);
        assert_eq!(settings.options.connect_timeout, Duration::from_secs(5));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for text in ["htpt = \"0.0.0.0:80\"", "[options]\nkeepalive = \"75s\"", "http = \"nowhere\""] {
            assert!(toml::from_str::<Settings>(text).is_err(), "{text}");
        }
    }
}
