//! Secrets. One of type `kubernetes.io/tls` must be a certificate with its key, so that a mistake is told to whoever makes it
//! and what was there before stays.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use protocol::problem::Problem;

use crate::certificate;

/// Kubernetes' `MaxSecretSize`.
const MAX_BYTES: usize = 1 << 20;
/// The type of certificates.
pub(crate) const TLS: &str = "kubernetes.io/tls";

pub(super) fn secret(object: &mut Secret, problems: &mut Vec<Problem>) {
    for (key, text) in object.string_data.take().into_iter().flatten() {
        object.data.get_or_insert_default().insert(key, ByteString(text.into_bytes()));
    }
    let type_ = object.type_.get_or_insert_with(|| "Opaque".to_owned());
    let data = object.data.iter().flatten();
    let size: usize = data.clone().map(|(key, value)| key.len() + value.0.len()).sum();
    if size > MAX_BYTES {
        problems.push(Problem::invalid("data", size, format!("must have at most {MAX_BYTES} bytes")));
        return;
    }
    for (key, _) in data {
        if key.is_empty()
            || key.len() > 253
            || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
            problems.push(Problem::invalid(format!("data[{key}]"), key, why));
        }
    }
    if type_ != TLS {
        return;
    }
    match (part(object, "tls.crt"), part(object, "tls.key")) {
        (Some(chain), Some(key)) => {
            if let Err(error) = certificate::read(chain, key) {
                // Never the value itself.
                problems.push(Problem {
                    path: format!("data[{}]", error.data_key()),
                    text: format!("Invalid value: {error}"),
                });
            }
        }
        (chain, key) => {
            for (name, _) in
                [("tls.crt", chain), ("tls.key", key)].into_iter().filter(|(_, found)| found.is_none())
            {
                problems.push(Problem::required(format!("data[{name}]"), ""));
            }
        }
    }
}

/// A value of a Secret.
pub(crate) fn part<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    secret.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}
