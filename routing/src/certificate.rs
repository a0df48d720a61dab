//! Certificates: PEM in, checked, ready for TLS out.

use std::fmt;
use std::sync::Arc;

use protocol::ObjectRef;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Certificates in one chain; more is nobody's.
const MAX_CHAIN: usize = 16;

/// A certificate chain with its key.
pub struct Certificate {
    /// The Secret that it is from.
    pub secret: ObjectRef,
    /// For TLS.
    pub key: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.secret)
    }
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// `tls.crt`.
    #[error("tls.crt has no PEM certificate")]
    NoCertificate,
    /// `tls.crt`.
    #[error("tls.crt cannot be read as PEM: {0}")]
    BadPem(String),
    /// `tls.crt`.
    #[error("tls.crt has {0} certificates; {MAX_CHAIN} at most")]
    TooMany(usize),
    /// `tls.key`.
    #[error("tls.key has no PEM private key")]
    NoKey,
    /// `tls.key`.
    #[error("tls.key cannot be used: {0}")]
    BadKey(String),
    /// Both.
    #[error("tls.key is not the key of the first certificate in tls.crt")]
    Mismatch,
    /// `tls.crt`.
    #[error("the first certificate in tls.crt cannot be used: {0}")]
    BadCertificate(String),
}

impl CertificateError {
    /// The key of the Secret's data that is wrong.
    pub(crate) fn data_key(&self) -> &'static str {
        match self {
            Self::NoCertificate | Self::BadPem(_) | Self::TooMany(_) | Self::BadCertificate(_) => "tls.crt",
            Self::NoKey | Self::BadKey(_) | Self::Mismatch => "tls.key",
        }
    }
}

/// Reads a chain and its key.
///
/// # Errors
/// Where a server could not use them.
pub(crate) fn read(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .take(MAX_CHAIN + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::BadPem(error.to_string()))?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    if chain.len() > MAX_CHAIN {
        return Err(CertificateError::TooMany(chain.len()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => CertificateError::NoKey,
        other => CertificateError::BadKey(other.to_string()),
    })?;
    let signer =
        ring::sign::any_supported_type(&key).map_err(|error| CertificateError::BadKey(error.to_string()))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(CertificateError::Mismatch)
        }
        Err(rustls::Error::InconsistentKeys(_)) => Ok(Arc::new(certified)),
        Err(other) => Err(CertificateError::BadCertificate(other.to_string())),
    }
}
