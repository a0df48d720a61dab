//! What a service says about the address it wants.
//!
//! vpod's own annotations come first; those of `MetalLB` mean the same.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;

use super::super::words::special;
use protocol::problem::Problem;

const IPS: [&str; 3] =
    ["vpod.io/load-balancer-ips", "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];
const POOL: [&str; 3] =
    ["vpod.io/load-balancer-pool", "metallb.io/address-pool", "metallb.universe.tf/address-pool"];
/// The annotation with the sharing key.
pub(super) const SHARING: &str = "metallb.io/allow-shared-ip";
const SHARE: [&str; 3] = ["vpod.io/allow-shared-ip", SHARING, "metallb.universe.tf/allow-shared-ip"];

/// An address that a service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The address.
    pub ip: Ipv4Addr,
    /// Where it is asked for.
    pub path: String,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// This address and no other.
    pub address: Option<Requested>,
    /// An address of this pool.
    pub pool: Option<String>,
    /// Services with the same key may have the same address.
    pub sharing_key: Option<String>,
}

impl Request {
    /// Reads it.
    pub(in super::super) fn read(service: &Service, problems: &mut Vec<Problem>) -> Self {
        let annotation = |names: &[&'static str]| {
            let all = service.metadata.annotations.as_ref()?;
            names
                .iter()
                .find_map(|name| Some((*name, all.get(*name)?.trim())))
                .filter(|(_, text)| !text.is_empty())
        };
        let text = |names: &[&'static str]| annotation(names).map(|(_, text)| text.to_owned());
        Self {
            address: address(service, annotation(&IPS), problems),
            pool: text(&POOL),
            sharing_key: text(&SHARE),
        }
    }
}

fn address(
    service: &Service,
    annotation: Option<(&'static str, &str)>,
    problems: &mut Vec<Problem>,
) -> Option<Requested> {
    let field = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_deref());
    let field = field.filter(|text| !text.is_empty()).map(|text| ("spec.loadBalancerIP".to_owned(), text));
    let annotation = annotation.map(|(name, text)| (format!("metadata.annotations[{name}]"), text));
    let (path, text) = match (field, annotation) {
        (None, None) => return None,
        (Some((path, text)), Some((other, same))) if text != same => {
            problems.push(Problem::invalid(path, text, format!("{other} asks for another one, {same}")));
            return None;
        }
        (Some(only), _) | (None, Some(only)) => only,
    };
    if text.contains(',') {
        problems.push(Problem::invalid(path, text, "one IPv4 address in this release"));
        return None;
    }
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        problems.push(Problem::invalid(path, text, "must be an IPv4 address, without leading zeros"));
        return None;
    };
    if let Some(why) = special(ip.into()) {
        problems.push(Problem::invalid(path, text, why));
        return None;
    }
    Some(Requested { ip, path })
}
