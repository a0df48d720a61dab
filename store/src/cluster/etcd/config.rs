//! Where the store is, and how it is spoken to.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use super::failure::EtcdFailure;

/// Longest attempt to reach one endpoint, its TLS handshake and login included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// HTTP/2 pings while a request or watch is open. Servers refuse pings more often than every 5 s
/// (`--grpc-keepalive-min-time`); silence is noticed sooner by [`EtcdConfig::probe`].
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the store is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// `http://` or `https://` and `host:port`, of any of its members; tried in this order.
    pub endpoints: Vec<String>,
    /// For `https://`.
    pub tls: Option<EtcdTls>,
    /// Where authentication is on and not done by certificate.
    pub user: Option<EtcdUser>,
    /// Longest time of one call.
    pub call_timeout: Duration,
    /// How long a watch may be silent before the server is asked, and how long it may take to answer.
    pub probe: Duration,
}

impl EtcdConfig {
    /// Without TLS and user, with the default times.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            user: None,
            call_timeout: Duration::from_secs(5),
            probe: Duration::from_secs(2),
        }
    }

    pub(super) fn check(&self) -> Result<(), EtcdFailure> {
        if self.endpoints.is_empty() {
            return Err(EtcdFailure::Config { what: String::new(), reason: "there is no endpoint" });
        }
        for endpoint in &self.endpoints {
            let refuse = |reason| Err(EtcdFailure::Config { what: endpoint.clone(), reason });
            let secure = endpoint.starts_with("https://");
            if !secure && !endpoint.starts_with("http://") {
                return refuse("an endpoint begins with http:// or https://");
            }
            if secure && self.tls.is_none() {
                return refuse("https:// needs a CA certificate");
            }
            if !secure && self.tls.is_some() {
                return refuse("certificates are given, but the endpoint is http://");
            }
        }
        Ok(())
    }

    pub(super) fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
            // Servers take pings without a request for an attack.
            .with_keep_alive_while_idle(false)
            // A member that is cut off from the others ends its watches instead of being silent.
            .with_require_leader(true);
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.options());
        }
        if let Some(user) = &self.user {
            options = options.with_user(user.name.clone(), user.password.clone());
        }
        options
    }
}

/// Who we are to etcd's own authentication.
#[derive(Clone)]
pub struct EtcdUser {
    /// The user.
    pub name: String,
    /// Never shown.
    pub password: String,
}

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Certificates, in PEM.
#[derive(Clone)]
pub struct EtcdTls {
    ca: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    domain: Option<String>,
}

impl EtcdTls {
    /// The server must have a certificate of `ca`; we show `identity`, a certificate and its key.
    #[must_use]
    pub fn new(ca: Vec<u8>, identity: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        Self { ca, identity, domain: None }
    }

    /// As [`EtcdTls::new`], from files.
    ///
    /// # Errors
    /// The file that cannot be read.
    pub fn read(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Self, EtcdFailure> {
        let read = |path: &Path| {
            fs::read(path)
                .map_err(|source: io::Error| EtcdFailure::File { path: PathBuf::from(path), source })
        };
        let identity =
            identity.map(|(cert, key)| Ok::<_, EtcdFailure>((read(cert)?, read(key)?))).transpose()?;
        Ok(Self::new(read(ca)?, identity))
    }

    /// The server's certificate must name `domain` instead of the endpoint's host.
    #[must_use]
    pub fn with_domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.to_owned());
        self
    }

    fn options(&self) -> TlsOptions {
        let mut options = TlsOptions::new().ca_certificate(Certificate::from_pem(&self.ca));
        if let Some((cert, key)) = &self.identity {
            options = options.identity(Identity::from_pem(cert, key));
        }
        if let Some(domain) = &self.domain {
            options = options.domain_name(domain);
        }
        options
    }
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls")
            .field("identity", &self.identity.is_some())
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
