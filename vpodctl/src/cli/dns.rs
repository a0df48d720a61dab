//! How a new pod's programs resolve names, as typed.

use clap::Args;
use clap::builder::PossibleValuesParser;
use protocol::object::{DnsOption, DnsPolicy, PodDns};

use crate::error::CliError;

/// `dnsPolicy`, `dnsConfig`, `hostname` and `subdomain` of a manifest.
#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// What the pod's /etc/resolv.conf begins with: the cluster's DNS, the node's resolvers, or nothing
    #[arg(long, value_name = "POLICY", default_value = "ClusterFirst", value_parser = PossibleValuesParser::new(DnsPolicy::ALL.map(|(name, _)| name)))]
    pub(crate) dns_policy: String,
    /// More of it: nameserver=192.0.2.53, search=corp.example or option=ndots:2; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) dns_config: Vec<String>,
    /// The pod's host name [default: its own name]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// The headless service in whose domain the host name is
    #[arg(long, value_name = "SERVICE")]
    pub(crate) subdomain: Option<String>,
}

impl DnsArgs {
    /// What a request says.
    pub(crate) fn dns(&self) -> Result<PodDns, CliError> {
        let policy = DnsPolicy::ALL.iter().find(|(name, _)| *name == self.dns_policy);
        let mut dns =
            PodDns { policy: policy.map(|(_, policy)| *policy).unwrap_or_default(), ..PodDns::default() };
        for text in &self.dns_config {
            let bad = |why: &str| CliError::Usage(format!("--dns-config {text}: {why}"));
            match text.split_once('=') {
                Some(("nameserver", address)) => {
                    dns.nameservers.push(address.parse().map_err(|_| bad("this is not an IP address"))?);
                }
                Some(("search", domain)) => dns.searches.push(domain.to_owned()),
                Some(("option", option)) => {
                    let (name, value) = option.split_once(':').map_or((option, None), |(n, v)| (n, Some(v)));
                    dns.options.push(DnsOption { name: name.to_owned(), value: value.map(str::to_owned) });
                }
                _ => return Err(bad("want nameserver=IP, search=DOMAIN or option=NAME[:VALUE]")),
            }
        }
        Ok(dns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(policy: &str, config: &[&str]) -> DnsArgs {
        DnsArgs {
            dns_policy: policy.to_owned(),
            dns_config: config.iter().map(|&text| text.to_owned()).collect(),
            hostname: None,
            subdomain: None,
        }
    }

    #[test]
    fn a_config_is_read_in_order() {
        let dns = args(
            "None",
            &["nameserver=192.0.2.53", "search=a", "option=ndots:2", "search=b", "option=rotate"],
        );
        let dns = dns.dns().unwrap();
        assert_eq!(dns.policy, DnsPolicy::None);
        assert_eq!((dns.nameservers.len(), dns.searches), (1, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(dns.options[0], DnsOption { name: "ndots".to_owned(), value: Some("2".to_owned()) });
        assert_eq!(dns.options[1].value, None);
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["nameserver=nowhere", "domain=x", "192.0.2.53"] {
            assert!(args("ClusterFirst", &[text]).dns().unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
