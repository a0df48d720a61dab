//! Certificates by server name.
//!
//! The table is part of the tables that are swapped when routes change; the resolver reads it for each handshake,
//! so that a certificate is replaced without a connection noticing. A name without a certificate gets one that the
//! process signs itself at start: the client is told the truth, and a browser's user decides.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::tables::Shared;

/// The name in the certificate of last resort.
const DEFAULT_NAME: &str = "vpod-ingress.default";
/// Why there is no certificate of last resort.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("cannot use a self-signed certificate: {0}")]
    Unusable(#[source] rustls::Error),
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[source] rcgen::Error),
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
    let (chain, key) = (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::from_der(chain, key.into(), &provider()).map(Arc::new).map_err(CertificateError::Unusable)
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Looks into the tables of the moment.
#[derive(Debug)]
struct Resolver {
    shared: Arc<Shared>,
    /// Where it listens.
    port: u16,
    fallback: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let plans = Arc::clone(&self.shared.tables.load().plans);
        let port = plans.port(self.port, true);
        let found = plans.router.certificate(port, hello.server_name()).map(|found| Arc::clone(&found.key));
        Some(found.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

/// How TLS is served: 1.2 and 1.3, HTTP/2 preferred, tickets for resumption.
///
/// # Errors
/// When the certificate of last resort or a ticket key cannot be made.
pub(crate) fn server_config(shared: Arc<Shared>, port: u16) -> anyhow::Result<Arc<ServerConfig>> {
    let fallback = self_signed()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver { shared, port, fallback }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}
