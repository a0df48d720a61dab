//! Certificates by server name.
//!
//! The table is part of the tables that are swapped when routes change; the resolver reads it for each handshake,
//! so that a certificate is replaced without a connection noticing. A name without a certificate gets one that the
//! process signs itself at start: the client is told the truth, and a browser's user decides.

use std::collections::HashMap;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::tables::Shared;

/// The name in the certificate of last resort.
const DEFAULT_NAME: &str = "vpod-ingress.default";
/// Certificates in a chain; a longer one is a mistake.
const MAX_CHAIN: usize = 16;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// `tls.crt` is not PEM, or holds no certificate.
    #[error("tls.crt holds no certificate that can be read")]
    Chain,
    /// `tls.key` is not PEM, or holds no private key.
    #[error("tls.key holds no private key that can be read")]
    Key,
    /// They do not belong together, or are of a kind that is not supported.
    #[error("tls.crt and tls.key cannot be used together: {0}")]
    Pair(#[source] rustls::Error),
    /// The certificate of last resort cannot be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[source] rcgen::Error),
}

/// Reads a Secret's `tls.crt` and `tls.key`.
///
/// # Errors
/// When they are not what they should be.
pub fn certified_key(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::Chain)?;
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(CertificateError::Chain);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Key)?;
    pair(chain, key)
}

fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(CertificateError::Pair)
}

/// Makes the certificate for names that have none.
///
/// # Errors
/// When there is no randomness, which does not happen.
pub(crate) fn self_signed() -> Result<Arc<CertifiedKey>, CertificateError> {
    let key = KeyPair::generate().map_err(CertificateError::SelfSigned)?;
    let certificate = CertificateParams::new(vec![DEFAULT_NAME.to_owned()])
        .and_then(|parameters| parameters.self_signed(&key))
        .map_err(CertificateError::SelfSigned)?;
    pair(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Certificates by name.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the first label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Serves `host`, which may begin with `*.`; the first one stays where two want the same name.
    pub(crate) fn insert(&mut self, host: &str, key: Arc<CertifiedKey>) {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix("*.") {
            Some(rest) => self.wildcard.entry(rest.to_owned()).or_insert(key),
            None => self.exact.entry(host).or_insert(key),
        };
    }

    /// For a name in lower case.
    pub(crate) fn lookup(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.wildcard.get(rest)
        })
    }
}

/// Looks into the tables of the moment.
#[derive(Debug)]
struct Resolver {
    shared: Arc<Shared>,
    fallback: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let tables = self.shared.tables.load();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.and_then(|name| tables.certificates.lookup(&name).map(Arc::clone));
        Some(found.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

/// How TLS is served: 1.2 and 1.3, HTTP/2 preferred, tickets for resumption.
///
/// # Errors
/// When the certificate of last resort or a ticket key cannot be made.
pub(crate) fn server_config(shared: Arc<Shared>) -> anyhow::Result<Arc<ServerConfig>> {
    let fallback = self_signed()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver { shared, fallback }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_secret_is_read_or_refused_with_a_reason() {
        let (chain, key) = pem("a.example");
        let (_, other) = pem("b.example");
        assert!(certified_key(chain.as_bytes(), key.as_bytes()).is_ok());
        let cases = [
            (chain.as_str(), other.as_str(), "cannot be used together"),
            ("", key.as_str(), "tls.crt"),
            ("rubbish", key.as_str(), "tls.crt"),
            (key.as_str(), key.as_str(), "tls.crt"),
            (chain.as_str(), "", "tls.key"),
            (chain.as_str(), chain.as_str(), "tls.key"),
        ];
        for (chain, key, reason) in cases {
            let error = certified_key(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn names_are_looked_up_exactly_then_by_one_label() {
        let key = |name: &str| {
            let (chain, key) = pem(name);
            certified_key(chain.as_bytes(), key.as_bytes()).unwrap()
        };
        let (exact, wild) = (key("a.example"), key("*.example"));
        let mut table = Certificates::default();
        table.insert("A.Example", Arc::clone(&exact));
        table.insert("*.example", Arc::clone(&wild));
        assert!(Arc::ptr_eq(table.lookup("a.example").unwrap(), &exact));
        assert!(Arc::ptr_eq(table.lookup("b.example").unwrap(), &wild));
        for none in ["example", "a.b.example", "other", ""] {
            assert!(table.lookup(none).is_none(), "{none}");
        }
    }
}
