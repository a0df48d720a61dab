//! `CNI_ARGS`: `KEY=value` pairs between semicolons. Deprecated, and what every runtime says a pod's name with.
//!
//! A key that we do not know is an error unless `IgnoreUnknown` is set, as the reference library has it. A key that comes
//! twice has its last value: podman puts its user's pairs behind its own.

use std::net::IpAddr;

use protocol::Mac;

use crate::error::quote;
use protocol::attachment::{ContainerId, IdentityError, PodUid};

/// What the pairs say. A value that is empty is as if it were not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Args {
    /// `K8S_POD_NAME`, as it came: podman says the container's name, which need not be a pod's.
    pub(crate) pod_name: Option<String>,
    /// `K8S_POD_NAMESPACE`, as it came.
    pub(crate) pod_namespace: Option<String>,
    /// `K8S_POD_UID`.
    pub(crate) pod_uid: Option<PodUid>,
    /// `K8S_POD_INFRA_CONTAINER_ID`: the container that holds the namespace; mostly `CNI_CONTAINERID`.
    pub(crate) infra_container: Option<ContainerId>,
    /// `IP`: addresses between commas, a prefix behind each is passed over.
    pub(crate) ips: Vec<IpAddr>,
    /// `MAC`.
    pub(crate) mac: Option<Mac>,
}

impl Args {
    /// Reads the pairs.
    ///
    /// # Errors
    /// Everything that is wrong with them, each a sentence that begins with the pair.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut args = Self::default();
        let (mut problems, mut unknown) = (Vec::new(), Vec::new());
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                problems.push(format!("{} is not KEY=value", quote(pair)));
                continue;
            };
            if let Some(said) = args.text_of(key) {
                *said = (!value.is_empty()).then(|| value.to_owned());
                continue;
            }
            let taken = match key {
                "K8S_POD_UID" => identity(value, PodUid::new).map(|uid| args.pod_uid = uid),
                "K8S_POD_INFRA_CONTAINER_ID" => {
                    identity(value, ContainerId::new).map(|id| args.infra_container = id)
                }
                "IP" => addresses(value).map(|ips| args.ips = ips),
                "MAC" => mac(value).map(|mac| args.mac = mac),
                "IgnoreUnknown" => switch(value).map(|on| ignore_unknown = on),
                _ => {
                    unknown.push(key);
                    Ok(())
                }
            };
            if let Err(why) = taken {
                problems.push(format!("{} {why}", quote(pair)));
            }
        }
        if !ignore_unknown {
            problems.extend(
                unknown.iter().map(|key| format!("{} is unknown, and IgnoreUnknown is not set", quote(key))),
            );
        }
        if problems.is_empty() { Ok(args) } else { Err(problems) }
    }

    /// What is taken as it comes.
    fn text_of(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "K8S_POD_NAME" => Some(&mut self.pod_name),
            "K8S_POD_NAMESPACE" => Some(&mut self.pod_namespace),
            _ => None,
        }
    }
}

fn identity<T>(text: &str, check: impl Fn(&str) -> Result<T, IdentityError>) -> Result<Option<T>, String> {
    (!text.is_empty()).then(|| check(text)).transpose().map_err(|error| format!("cannot be: {error}"))
}

fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| address(part).ok_or_else(|| format!("has {}, which is no address", quote(part))))
        .collect()
}

/// An address, or one with a prefix behind it, which is checked and passed over: how large a pod's network is, is not the
/// runtime's to say.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<ipnet::IpNet>().ok().map(|net| net.addr()))
}

fn mac(text: &str) -> Result<Option<Mac>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    station(text).map(Some)
}

/// A MAC address that an interface can have.
pub(crate) fn station(text: &str) -> Result<Mac, String> {
    let mac: Mac =
        text.parse().map_err(|_| "is not six two-digit hexadecimal octets joined by ':'".to_owned())?;
    if mac.is_valid_source() { Ok(mac) } else { Err("is a group's address or nobody's".to_owned()) }
}

/// As the reference library reads it.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "" | "0" | "false" => Ok(false),
        _ => Err("is neither 1, true, 0 nor false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubelets_say_is_understood() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;\
                    K8S_POD_INFRA_CONTAINER_ID=4f6c;K8S_POD_UID=b0e0;SOMETHING=else";
        let args = Args::parse(text).unwrap();
        assert_eq!(args.pod_name.as_deref(), Some("web-0"));
        assert_eq!(args.pod_namespace.as_deref(), Some("shop"));
        assert_eq!(args.infra_container.unwrap().as_str(), "4f6c");
        assert_eq!(args.pod_uid.unwrap().as_str(), "b0e0");
    }

    #[test]
    fn what_podman_says_is_understood() {
        let args =
            Args::parse("IgnoreUnknown=1;K8S_POD_NAME=My_App;MAC=0a:58:0a:f4:00:09;IP=10.244.0.9").unwrap();
        assert_eq!(args.pod_name.as_deref(), Some("My_App"));
        assert_eq!(args.ips, ["10.244.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(args.mac.unwrap().to_string(), "0a:58:0a:f4:00:09");
        let both = Args::parse("IP=10.244.0.9/24,fd00::9").unwrap();
        assert_eq!(both.ips, ["10.244.0.9".parse::<IpAddr>().unwrap(), "fd00::9".parse().unwrap()]);
    }

    #[test]
    fn nothing_and_empty_values_say_nothing() {
        for text in ["", ";", ";;", "K8S_POD_NAME=", "IP=;MAC=", "IgnoreUnknown="] {
            assert_eq!(Args::parse(text), Ok(Args::default()), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_comes_twice_has_its_last_value() {
        assert_eq!(Args::parse("K8S_POD_NAME=a;K8S_POD_NAME=b").unwrap().pod_name.as_deref(), Some("b"));
    }

    #[test]
    fn unknown_keys_are_refused_unless_they_are_to_be_ignored() {
        let problems = Args::parse("FOO=BAR;ABC=123").unwrap_err();
        assert!(
            problems.len() == 2 && problems[0].contains("FOO") && problems[1].contains("ABC"),
            "{problems:?}"
        );
        assert!(Args::parse("FOO=BAR;IgnoreUnknown=false").is_err());
        for on in ["1", "true", "TRUE", "True"] {
            assert_eq!(Args::parse(&format!("FOO=BAR;IgnoreUnknown={on}")), Ok(Args::default()), "{on}");
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let text = "novalue;=x;K8S_POD_UID=a/b;K8S_POD_INFRA_CONTAINER_ID=../x;\
                    IP=10.244.0.300;MAC=01:00:5e:00:00:01;IgnoreUnknown=maybe;MAC=zz";
        let problems = Args::parse(text).unwrap_err();
        for part in ["novalue", "=x", "10.244.0.300", "01:00:5e:00:00:01", "maybe", "MAC=zz", "a/b", "../x"] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
        }
    }
}
