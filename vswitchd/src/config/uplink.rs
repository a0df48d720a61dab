//! `[uplink]`: the way out of the cluster and into it.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net};
use protocol::link::Filtering;
use store::desired::EgressSelector;

use super::checked::{ConfigError, cidr, interface_name, parse, value};
use super::raw::{RawEgress, RawUplink};
use super::services::ports;

/// `uplink.device` of the interface that the default route leads over.
const AUTO: &str = "auto";
const DEFAULT_SOURCE_PORTS: RangeInclusive<u16> = 61_000..=65_535;
const FILTERINGS: [(&str, Filtering); 2] = [
    ("address-and-port-dependent", Filtering::AddressAndPortDependent),
    ("endpoint-independent", Filtering::EndpointIndependent),
];

/// The way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// The interface; `None` is that of the default route, and no uplink where there is none.
    pub(crate) device: Option<String>,
    /// What pods appear as; `None` is the interface's first address, or what the default route prefers.
    pub(crate) address: Option<Ipv4Addr>,
    /// Ports of the node's addresses that are the switch's.
    pub(crate) source_ports: RangeInclusive<u16>,
    /// Who may answer through a mapping.
    pub(crate) filtering: Filtering,
    /// Outside the cluster, but reached with the pods' own addresses.
    pub(crate) not_translated: Vec<Ipv4Net>,
    /// Other addresses for some pods; the first that fits counts.
    pub(crate) egress: Vec<EgressSelector>,
}

pub(super) fn check(
    raw: Option<RawUplink>,
    node_ports: &RangeInclusive<u16>,
    cluster: [(&str, IpNet); 2],
) -> Result<Option<Uplink>, ConfigError> {
    let raw = raw.unwrap_or_default();
    if raw.enabled == Some(false) {
        return Ok(None);
    }
    let device = match raw.device.as_deref() {
        None | Some(AUTO) => None,
        Some(name) => Some(interface_name("uplink.device", name.to_owned())?),
    };
    let key = "uplink.source_ports";
    let source_ports = raw.source_ports.map_or(Ok(DEFAULT_SOURCE_PORTS), |text| ports(key, &text))?;
    if source_ports.start() <= node_ports.end() && node_ports.start() <= source_ports.end() {
        let (first, last) = (node_ports.start(), node_ports.end());
        return Err(value(key, format!("overlap services.node_ports {first}-{last}")));
    }
    let filtering = match raw.filtering.as_deref() {
        None => Filtering::default(),
        Some(word) => {
            FILTERINGS.iter().find(|(name, _)| *name == word).map(|(_, filtering)| *filtering).ok_or_else(
                || {
                    let [(first, _), (second, _)] = FILTERINGS;
                    value("uplink.filtering", format!("\"{word}\" is not \"{first}\" or \"{second}\""))
                },
            )?
        }
    };
    let not_translated = raw.not_translated.unwrap_or_default().into_iter().enumerate();
    let egress = raw.egress.unwrap_or_default().into_iter().enumerate();
    Ok(Some(Uplink {
        device,
        address: raw.address.map(|text| address("uplink.address", &text, &cluster)).transpose()?,
        source_ports,
        filtering,
        not_translated: not_translated
            .map(|(index, text)| v4_range(&format!("uplink.not_translated[{index}]"), text))
            .collect::<Result<_, _>>()?,
        egress: egress.map(|(index, raw)| selector(index, raw, &cluster)).collect::<Result<_, _>>()?,
    }))
}

fn selector(
    index: usize,
    raw: RawEgress,
    cluster: &[(&str, IpNet); 2],
) -> Result<EgressSelector, ConfigError> {
    let key = format!("uplink.egress[{index}].address");
    let text = raw.address.ok_or_else(|| value(&key, "is missing"))?;
    Ok(EgressSelector {
        namespaces: raw.namespaces.unwrap_or_default(),
        labels: raw.labels.unwrap_or_default(),
        address: address(&key, &text, cluster)?,
    })
}

/// One that a station outside the cluster may have.
fn address(key: &str, text: &str, cluster: &[(&str, IpNet); 2]) -> Result<Ipv4Addr, ConfigError> {
    let address: Ipv4Addr = parse(key, text, "an IPv4 address such as 192.0.2.9")?;
    let reserved = address.octets()[0] == 0 || address.octets()[0] >= 224 || address.is_loopback();
    if reserved || address.is_link_local() {
        return Err(value(key, format!("{address} is not an address of a station")));
    }
    match cluster.iter().find(|(_, range)| range.contains(&IpNet::from(Ipv4Net::from(address)))) {
        Some((name, range)) => Err(value(key, format!("{address} lies in {name} {range}"))),
        None => Ok(address),
    }
}

fn v4_range(key: &str, text: String) -> Result<Ipv4Net, ConfigError> {
    match cidr(key, Some(text), "")? {
        IpNet::V4(range) => Ok(range),
        IpNet::V6(range) => Err(value(key, format!("{range} is not an IPv4 range"))),
    }
}

pub(super) fn raw(uplink: Option<&Uplink>) -> RawUplink {
    let Some(uplink) = uplink else { return RawUplink { enabled: Some(false), ..RawUplink::default() } };
    let word = FILTERINGS.iter().find(|(_, known)| *known == uplink.filtering).map(|(word, _)| *word);
    let egress = |rule: &EgressSelector| RawEgress {
        namespaces: Some(rule.namespaces.clone()),
        labels: Some(rule.labels.clone()),
        address: Some(rule.address.to_string()),
    };
    RawUplink {
        enabled: Some(true),
        device: Some(uplink.device.clone().unwrap_or_else(|| AUTO.to_owned())),
        address: uplink.address.map(|address| address.to_string()),
        source_ports: Some(format!("{}-{}", uplink.source_ports.start(), uplink.source_ports.end())),
        filtering: word.map(str::to_owned),
        not_translated: Some(uplink.not_translated.iter().map(ToString::to_string).collect()),
        egress: match uplink.egress.as_slice() {
            [] => None,
            rules => Some(rules.iter().map(egress).collect()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Config;
    use super::*;

    #[test]
    fn the_interface_of_the_default_route_is_the_uplink_unless_told_otherwise() {
        let uplink = Config::of("").uplink.unwrap();
        assert_eq!((uplink.device, uplink.address), (None, None));
        assert_eq!(uplink.source_ports, 61_000..=65_535);
        assert!(uplink.not_translated.is_empty() && uplink.egress.is_empty());
        assert_eq!(Config::of("[uplink]\nenabled = false").uplink, None);
    }

    #[test]
    fn rules_of_egress_choose_pods_by_namespace_and_label() {
        let text =
            "[[uplink.egress]]\nnamespaces = [\"a\"]\nlabels = { app = \"x\" }\naddress = \"192.0.2.9\"";
        let expected = EgressSelector {
            namespaces: vec!["a".to_owned()],
            labels: BTreeMap::from([("app".to_owned(), "x".to_owned())]),
            address: Ipv4Addr::new(192, 0, 2, 9),
        };
        assert_eq!(Config::of(text).uplink.unwrap().egress, [expected]);
    }
}
