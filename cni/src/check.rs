//! CHECK: is an attachment as ADD left it? (SPEC 1.1.0 §2, "CHECK")
//!
//! Three accounts are compared: what the whole chain answered to ADD (`prevResult`), what the switch holds, and what is in the
//! namespace. Plugins behind us may have changed what we made and said so in `prevResult` (a MAC address), or without
//! saying so (routes, the MTU); so the MAC address and the addresses must be as `prevResult` has them, only those routes must be there
//! that are ours and still in it, and the MTU is not looked at. What else is there is somebody else's.

use ipnet::IpNet;
use protocol::Mac;

use crate::attachment::Attachment;
use crate::error::{Code, Error};
use crate::result::{AddResult, Route};

/// What is in the namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// The interface of that name, if there is one.
    pub interface: Option<FoundInterface>,
    /// Routes of the main table.
    pub routes: Vec<Route>,
}

/// An interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInterface {
    /// Its MAC address.
    pub mac: Mac,
    /// It is up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// Compares. `held` is what the switch would answer to ADD for what it holds; `None` if it holds nothing.
///
/// # Errors
/// Code 102, with everything that differs.
pub fn outcome(
    attachment: &Attachment,
    previous: &AddResult,
    held: Option<&AddResult>,
    found: &Found,
) -> Result<(), Error> {
    let (key, netns) = (&attachment.key, &attachment.netns);
    let mut differences = Vec::new();
    if held.is_none() {
        differences.push(format!("the switch holds no {key}"));
    }
    match (previous.interface(key.interface.as_str(), netns.as_str()), &found.interface) {
        (None, _) => differences.push(format!("prevResult has no interface {} in {netns}", key.interface)),
        (Some(_), None) => differences.push(format!("there is no interface {} in {netns}", key.interface)),
        (Some((index, expected)), Some(interface)) => {
            if !interface.up {
                differences.push(format!("{} is down", key.interface));
            }
            if let Some(mac) = expected.mac.as_deref().filter(|mac| mac.parse() != Ok(interface.mac)) {
                differences
                    .push(format!("{} has the MAC address {}, not {mac}", key.interface, interface.mac));
            }
            let missing =
                previous.addresses_of(index).filter(|ip| !interface.addresses.contains(&ip.address));
            differences.extend(missing.map(|ip| format!("{} has no address {}", key.interface, ip.address)));
        }
    }
    let ours = held.map(|held| held.routes.as_slice()).unwrap_or_default();
    let still_ours = ours.iter().filter(|route| previous.routes.iter().any(|listed| leads_as(listed, route)));
    let missing = still_ours.filter(|route| !found.routes.iter().any(|there| leads_as(there, route)));
    differences.extend(missing.map(|route| match route.gw {
        Some(gw) => format!("there is no route to {} by {gw}", route.dst),
        None => format!("there is no route to {}", route.dst),
    }));
    match differences.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(Code::CheckFailed, format!("{key} is not as it was made: {first}"))
            .with_details(differences.join("\n"))),
    }
}

/// As [`outcome`] for an IPAM plugin: the addresses that the switch holds must be in `prevResult`, whoever has them.
///
/// # Errors
/// Code 102, with everything that differs.
pub fn addresses(
    attachment: &Attachment,
    previous: &AddResult,
    held: Option<&AddResult>,
) -> Result<(), Error> {
    let key = &attachment.key;
    let failed =
        |what: String| Err(Error::new(Code::CheckFailed, format!("{key} is not as it was made: {what}")));
    let Some(held) = held else { return failed("the switch holds no address for it".to_owned()) };
    match held.ips.iter().find(|ip| !previous.ips.iter().any(|listed| listed.address == ip.address)) {
        None => Ok(()),
        Some(missing) => failed(format!("prevResult has no address {}", missing.address)),
    }
}

/// To the same network; by the same way, if both say one.
fn leads_as(one: &Route, other: &Route) -> bool {
    let same_way = match (one.gw, other.gw) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    };
    one.dst.trunc() == other.dst.trunc() && same_way
}
