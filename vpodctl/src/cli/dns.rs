//! How a new pod's programs resolve names, as typed.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use protocol::ObjectName;
use protocol::object::{DnsOption, DnsPolicy, PodDns};

use super::args::{NamespaceArg, parse_pod_name};
use crate::error::CliError;

/// `dns`.
#[derive(Debug, Args)]
pub(crate) struct DnsCommandArgs {
    #[command(subcommand)]
    pub(crate) command: DnsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Ask about a name as a pod would, and explain the answer
    ///
    /// Shows which names of the pod's search list are tried, what each is answered, and which service or endpoint is behind it, or why
    /// there is none. Exits with 1 if there is no such record. Needs root: the question is asked from inside the pod.
    Query(QueryArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl dns query web --from client
  vpodctl dns query _http._tcp.web.default.svc.cluster.local -t SRV
  vpodctl dns query 10.0.96.10.in-addr.arpa. -t PTR --from client -n shop")]
pub(crate) struct QueryArgs {
    /// What is asked about; with a dot at its end nothing is searched
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Which records
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "A")]
    pub(crate) record_type: String,
    /// The pod that asks [default: the node's DNS server itself, without a search list]
    #[arg(long, value_name = "POD", value_parser = parse_pod_name)]
    pub(crate) from: Option<ObjectName>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
}

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
