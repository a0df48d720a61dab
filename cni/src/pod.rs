//! Which pod a container is.
//!
//! The rule, of which the first that fits holds; it gives the same answer for ADD, CHECK and DEL, and two containers never
//! the same name by accident:
//!
//! 1. The runtime says a name that a pod can have (`K8S_POD_NAME`): that one.
//! 2. It says another one, and no namespace, as podman does with names of containers (`My_App`): the same in lower case with
//!    `-` for what a name cannot have, and a hash of the original behind it (`my-app-` and 16 digits).
//! 3. It says none: `cni-` and the container's id, or its first characters and a hash if a name cannot have it whole.
//!
//! The namespace is the runtime's (`K8S_POD_NAMESPACE`), else the configuration's, else `default`. A name or namespace that
//! cannot be, from a runtime that says both, is an error: it speaks of a pod that cannot exist.

use protocol::{Namespace, ObjectName, ObjectRef};

use crate::args::Args;
use crate::error::{Code, Error};
use protocol::attachment::{ContainerId, PodUid};

/// Characters kept of what is not a pod's name by itself, so that a person recognises it.
const READABLE_CHARS: usize = 40;
/// Characters kept of a container's id, as many as container engines show.
const SHORT_ID_CHARS: usize = 12;

/// A pod as the runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub object: ObjectRef,
    /// The runtime said the name itself, and it could be taken as it was.
    pub named_by_runtime: bool,
    /// `K8S_POD_UID`.
    pub uid: Option<PodUid>,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container: Option<ContainerId>,
}

impl Pod {
    /// By the rule above.
    ///
    /// # Errors
    /// Code 4: the runtime speaks of a pod that cannot exist.
    pub(crate) fn of(
        args: &Args,
        namespace: Option<&Namespace>,
        container: &ContainerId,
    ) -> Result<Self, Error> {
        let wrong = |key: &str, why: &dyn std::fmt::Display| {
            Error::new(
                Code::InvalidEnvironment,
                format!("invalid environment variables: CNI_ARGS {key}: {why}"),
            )
        };
        let said = args.pod_namespace.as_deref().map(str::parse::<Namespace>).transpose();
        let said = said.map_err(|error| wrong("K8S_POD_NAMESPACE", &error))?;
        let (name, named_by_runtime) = match args.pod_name.as_deref() {
            Some(text) => match text.parse() {
                Ok(name) => (Some(name), true),
                Err(error) if said.is_some() => return Err(wrong("K8S_POD_NAME", &error)),
                Err(_) => (hashed(&readable(text, READABLE_CHARS), text), false),
            },
            None => (of_container(container), false),
        };
        let name = name.ok_or_else(|| wrong("K8S_POD_NAME", &"no name can be made of it"))?;
        let namespace = said.or_else(|| namespace.cloned()).unwrap_or_default();
        Ok(Self {
            object: ObjectRef { namespace, name },
            named_by_runtime,
            uid: args.pod_uid.clone(),
            infra_container: args.infra_container.clone(),
        })
    }
}

fn of_container(container: &ContainerId) -> Option<ObjectName> {
    let id = container.as_str();
    let part = readable(id, SHORT_ID_CHARS);
    if part == id { format!("cni-{part}").parse().ok() } else { hashed(&format!("cni-{part}"), id) }
}

/// In lower case, `-` for what a label cannot have, and neither first nor last.
fn readable(text: &str, chars: usize) -> String {
    let fitting = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let part: String = text.chars().take(chars).map(fitting).collect();
    let part = part.trim_matches('-');
    if part.is_empty() { "x".to_owned() } else { part.to_owned() }
}

fn hashed(part: &str, whole: &str) -> Option<ObjectName> {
    format!("{part}-{:016x}", fnv1a(whole.as_bytes())).parse().ok()
}

/// FNV-1a, 64 bits: the same in every release, which the standard library's hash is not. Nobody gains by a collision: his own
/// ADD finds the pod there already.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(args: &str, namespace: Option<&str>, container: &str) -> Result<String, Error> {
        let namespace = namespace.map(|text| text.parse().unwrap());
        let container = ContainerId::new(container).unwrap();
        Pod::of(&Args::parse(args).unwrap(), namespace.as_ref(), &container).map(|pod| pod.object.to_string())
    }

    #[test]
    fn a_pod_has_the_name_that_its_runtime_says() {
        assert_eq!(
            pod("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0.x", Some("other"), "c1").unwrap(),
            "shop/web-0.x"
        );
        assert_eq!(pod("K8S_POD_NAME=web", None, "c1").unwrap(), "default/web");
        assert_eq!(pod("K8S_POD_NAME=web", Some("lab"), "c1").unwrap(), "lab/web");
    }

    #[test]
    fn a_container_name_that_no_pod_can_have_is_made_one_that_stays_its_own() {
        let name = pod("K8S_POD_NAME=My_App", None, "c1").unwrap();
        assert!(name.starts_with("default/my-app-") && name.len() == "default/my-app-".len() + 16, "{name}");
        assert_eq!(pod("K8S_POD_NAME=My_App", None, "c2").unwrap(), name);
        assert_ne!(pod("K8S_POD_NAME=my_app", None, "c1").unwrap(), name);
        assert_ne!(pod("K8S_POD_NAME=my-app", None, "c1").unwrap(), name);
        for odd in ["_", "ä", "-", &"x_".repeat(500), "a..b", "."] {
            assert!(pod(&format!("K8S_POD_NAME={odd}"), None, "c1").is_ok(), "{odd}");
        }
    }

    #[test]
    fn a_pod_without_a_name_is_named_after_its_container() {
        assert_eq!(pod("", None, "blue").unwrap(), "default/cni-blue");
        assert_eq!(pod("K8S_POD_NAMESPACE=shop", None, "blue").unwrap(), "shop/cni-blue");
        let id = "4f6c0a1b2c3d4e5f".repeat(4);
        let name = pod("", None, &id).unwrap();
        assert!(name.starts_with("default/cni-4f6c0a1b2c3d-"), "{name}");
        let others = ["Blue", "blue.", "blu_e", "blu-e", "BLUE", &id[1..], &format!("{id}a"), "4f6c0a1b2c3d"];
        let mut names: Vec<_> = others.iter().map(|id| pod("", None, id).unwrap()).collect();
        names.extend([name, pod("", None, "blue").unwrap()]);
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
        assert!(pod("", None, &"Z.".repeat(100)).is_ok());
    }

    #[test]
    fn a_kubernetes_pod_that_cannot_exist_is_refused_by_name() {
        let error = pod("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=Web_0", None, "c1").unwrap_err();
        assert_eq!(error.code, Code::InvalidEnvironment);
        assert!(error.message.contains("K8S_POD_NAME") && error.message.contains("Web_0"), "{error}");
        for namespace in ["../x", "Shop", "a.b"] {
            let error =
                pod(&format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=web"), None, "c1").unwrap_err();
            assert!(error.message.contains("K8S_POD_NAMESPACE"), "{error}");
        }
    }
}
