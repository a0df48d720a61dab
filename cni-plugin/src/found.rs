//! What is in a container's namespace, for CHECK.

use cni::check::{Found, FoundInterface};
use cni::result::Route;
use cni::{Attachment, Code, Error};
use ipnet::IpNet;
use netdev::netlink::{Netlink, NetlinkError};
use netdev::{Netns, netns};
use protocol::Mac;

/// Looks at the interface of that name, and at the routes over it.
pub(crate) fn look(netns: &Netns, attachment: &Attachment) -> Result<Found, Error> {
    let name = attachment.key.interface.as_str();
    let failure = |error: &dyn std::error::Error| {
        Error::new(Code::Io, format!("cannot look into {}: {error}", attachment.netns))
    };
    let entered: Result<Result<Found, NetlinkError>, netns::NetnsError> = netns.run(|| found(name));
    entered.map_err(|error| failure(&error))?.map_err(|error| failure(&error))
}

fn found(name: &str) -> Result<Found, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let Some(link) = netlink.find_link(name)? else { return Ok(Found::default()) };
    let addresses: Vec<IpNet> = netlink
        .addresses()?
        .into_iter()
        .filter(|address| address.ifindex == link.index)
        .map(|address| address.address)
        .collect();
    let routes = netlink.routes()?.into_iter().filter(|route| route.ifindex == link.index);
    Ok(Found {
        interface: Some(FoundInterface { mac: link.mac.unwrap_or(Mac([0; 6])), up: link.up, addresses }),
        routes: routes.map(|route| Route::new(route.dst, route.via)).collect(),
    })
}
