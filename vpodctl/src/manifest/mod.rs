//! Manifests: YAML or JSON text in, objects of known kinds out.
//!
//! Decoded in two steps: to a value, then to Kubernetes' type, which refuses a number where a text belongs as the API server
//! does. Fields that the type does not have are found by writing it out again ([`unknown`]).

pub(crate) mod pod;
pub(crate) mod unknown;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use protocol::message::Kind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::args::Validation;
use crate::error::CliError;

/// Most bytes of one file: some hundred thousand objects.
const MAX_BYTES: usize = 256 << 20;
/// Events of a text that hardly has any.
const MIN_BUDGET: usize = 1 << 16;

/// The Gateway API.
const GATEWAY: &str = "gateway.networking.k8s.io/v1";
/// Policies of vpod's own.
const POLICY: &str = "policy.vpod.io/v1alpha1";
const KNOWN: &str = "Namespace, Pod, Secret and Service in v1, EndpointSlice in discovery.k8s.io/v1, Ingress, IngressClass and \
                     NetworkPolicy in networking.k8s.io/v1, Gateway, GatewayClass and HTTPRoute in \
                     gateway.networking.k8s.io/v1, and ClusterNetworkPolicy in policy.vpod.io/v1alpha1";

/// An object that vpod knows.
#[derive(Debug)]
pub(crate) enum Manifest {
    Pod(Box<Pod>),
    Service(Value),
    EndpointSlice(Value),
    Namespace(Value),
    /// One of the kinds that the ingress reads, or a policy.
    Object(Kind, Value),
}

/// A manifest and what it calls its object.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) namespace: protocol::Namespace,
    pub(crate) name: protocol::ObjectName,
    pub(crate) manifest: Manifest,
}

/// Whether the input is what it claims to be, for messages.
fn refuse(source: &Path, problem: impl std::fmt::Display) -> CliError {
    CliError::Manifest { source_name: source.display().to_string(), problem: problem.to_string() }
}

/// All objects of the files; `-` is standard input. `namespace` is theirs if they name none.
pub(crate) fn read(
    files: &[PathBuf],
    namespace: &protocol::Namespace,
    validation: Validation,
) -> Result<Vec<Named>, CliError> {
    let mut all = Vec::new();
    for file in files {
        let documents = documents(&text_of(file)?).map_err(|error| refuse(file, error))?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            for object in items(document) {
                all.push(decode(file, object, namespace, validation)?);
            }
        }
    }
    if all.is_empty() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        return Err(refuse(Path::new(&names.join(", ")), "no objects in it"));
    }
    Ok(all)
}

fn text_of(file: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) + 1;
    let result = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_string(&mut text))
    };
    result.map_err(|error| refuse(file, error))?;
    if text.len() > MAX_BYTES {
        let problem = format!("more than {} MiB, the most one file may have; split it", MAX_BYTES >> 20);
        return Err(refuse(file, problem));
    }
    Ok(text)
}

/// As YAML, of which JSON is a part.
fn documents(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    // Each of these takes a byte of the text, so its length bounds them; what aliases blow up is bounded as it always is.
    let most = text.len().max(MIN_BUDGET);
    let budget = serde_saphyr::budget! {
        max_documents: most, max_events: most, max_nodes: most, max_total_scalar_bytes: most,
    };
    let options =
        serde_saphyr::options! { legacy_octal_numbers: true, strict_booleans: true, budget: budget };
    serde_saphyr::from_multiple_with_options(text, options)
}

/// A List's items; any other object itself.
fn items(mut document: Value) -> Vec<Value> {
    let is_list = document["kind"] == "List" || document["kind"] == "ServiceList";
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items,
        _ => vec![document],
    }
}

fn decode(
    file: &Path,
    mut value: Value,
    namespace: &protocol::Namespace,
    validation: Validation,
) -> Result<Named, CliError> {
    let word = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let (Some(kind), Some(version)) = (word(&value, "/kind"), word(&value, "/apiVersion")) else {
        return Err(refuse(file, "an object needs apiVersion and kind"));
    };
    let Some(name) = word(&value, "/metadata/name") else {
        return Err(refuse(file, format!("{kind}: metadata.name: Required value")));
    };
    let object = format!("{kind} \"{name}\"");
    let name = name.parse().map_err(|error| refuse(file, format!("{object}: metadata.name: {error}")))?;
    let namespace = match word(&value, "/metadata/namespace") {
        Some(text) => {
            text.parse().map_err(|error| refuse(file, format!("{object}: metadata.namespace: {error}")))?
        }
        None => namespace.clone(),
    };
    let manifest = match (version.as_str(), kind.as_str()) {
        ("v1", "Pod") => Manifest::Pod(Box::new(typed(file, &object, &value, validation)?)),
        ("v1", "Service") => {
            typed::<Service>(file, &object, &value, validation)?;
            Manifest::Service(placed(&mut value, &namespace))
        }
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            typed::<EndpointSlice>(file, &object, &value, validation)?;
            Manifest::EndpointSlice(placed(&mut value, &namespace))
        }
        ("v1", "Namespace") => {
            typed::<Namespace>(file, &object, &value, validation)?;
            Manifest::Namespace(value)
        }
        ("v1", "Secret") => {
            typed::<Secret>(file, &object, &value, validation)?;
            Manifest::Object(Kind::Secrets, placed(&mut value, &namespace))
        }
        ("networking.k8s.io/v1", "Ingress") => {
            // Made by the daemon and not applied; what `get` shows has more in it than Kubernetes' type.
            if let Some(fields) = value.as_object_mut() {
                fields.remove("status");
            }
            typed::<Ingress>(file, &object, &value, validation)?;
            Manifest::Object(Kind::Ingresses, placed(&mut value, &namespace))
        }
        ("networking.k8s.io/v1", "IngressClass") => {
            typed::<IngressClass>(file, &object, &value, validation)?;
            Manifest::Object(Kind::IngressClasses, value)
        }
        // The daemon knows their fields, and refuses any other.
        (GATEWAY, "GatewayClass") => Manifest::Object(Kind::GatewayClasses, value),
        (GATEWAY, "Gateway") => Manifest::Object(Kind::Gateways, placed(&mut value, &namespace)),
        (GATEWAY, "HTTPRoute") => Manifest::Object(Kind::HttpRoutes, placed(&mut value, &namespace)),
        ("networking.k8s.io/v1", "NetworkPolicy") => {
            Manifest::Object(Kind::NetworkPolicies, placed(&mut value, &namespace))
        }
        (POLICY, "ClusterNetworkPolicy") => Manifest::Object(Kind::ClusterNetworkPolicies, value),
        _ => {
            let problem =
                format!("no matches for kind \"{kind}\" in version \"{version}\"; vpod knows {KNOWN}");
            return Err(refuse(file, problem));
        }
    };
    Ok(Named { namespace, name, manifest })
}

fn placed(value: &mut Value, namespace: &protocol::Namespace) -> Value {
    value["metadata"]["namespace"] = namespace.as_str().into();
    value.take()
}

fn typed<T: DeserializeOwned + Serialize>(
    file: &Path,
    object: &str,
    value: &Value,
    validation: Validation,
) -> Result<T, CliError> {
    let typed: T = T::deserialize(value).map_err(|error| refuse(file, format!("{object}: {error}")))?;
    let known = serde_json::to_value(&typed).map_err(|error| refuse(file, error))?;
    let unknown = unknown::fields(value, &known);
    match validation {
        Validation::Strict if !unknown.is_empty() => {
            let list: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
            let problem = format!("{object}: {} (--validate=warn applies the rest)", list.join(", "));
            Err(refuse(file, problem))
        }
        Validation::Strict | Validation::Warn => {
            for path in unknown {
                eprintln!("Warning: {object}: {path}: unknown, ignored");
            }
            Ok(typed)
        }
    }
}
