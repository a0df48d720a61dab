//! Routes of the main table (`RTM_*ROUTE`).

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError, Request};

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` or `::/0` is the default route.
    pub dst: IpNet,
    /// Next hop; none if the destination is on the link.
    pub via: Option<IpAddr>,
    /// Which interface.
    pub ifindex: u32,
    /// Source address of what the node itself sends.
    pub src: Option<IpAddr>,
    /// Largest IP packet on this route, if smaller than the interface's.
    pub mtu: Option<u32>,
}

impl Netlink {
    /// Adds a route; an error if there is one to the same destination with the same metric.
    pub fn add_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let object = describe(&route);
        let request = Request { operation: "add route", object: &object };
        let message = RouteNetlinkMessage::NewRoute(message_for(&route));
        self.change(&request, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route or replaces the one to the same destination.
    pub fn replace_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let object = describe(&route);
        let request = Request { operation: "replace route", object: &object };
        let message = RouteNetlinkMessage::NewRoute(message_for(&route));
        self.change(&request, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a route.
    pub fn delete_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let object = describe(&route);
        let request = Request { operation: "delete route", object: &object };
        let message = RouteNetlinkMessage::DelRoute(message_for(&route));
        self.change(&request, message, 0)
    }

    /// The unicast routes of the main table that lead over one interface.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let request = Request { operation: "list", object: "routes" };
        let rows = self.dump(&request, &RouteNetlinkMessage::GetRoute(RouteMessage::default()))?;
        let route = |row| match row {
            RouteNetlinkMessage::NewRoute(message) => Route::from_message(&message),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(route).collect())
    }
}

fn describe(route: &Route) -> String {
    match route.via {
        Some(via) => format!("{} via {via} on interface {}", route.dst, route.ifindex),
        None => format!("{} on interface {}", route.dst, route.ifindex),
    }
}

fn message_for(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match route.dst {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.dst.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if route.dst.prefix_len() > 0 {
        // Host bits beyond the prefix are EINVAL.
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(route.dst.network())));
    }
    message.attributes.push(RouteAttribute::Oif(route.ifindex));
    if let Some(via) = route.via {
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
    }
    if let Some(src) = route.src {
        message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(src)));
    }
    if let Some(mtu) = route.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    message
}

impl Route {
    /// `None` for other tables and kinds, and for multipath routes.
    fn from_message(message: &RouteMessage) -> Option<Self> {
        let mut table = u32::from(message.header.table);
        let mut dst = unspecified(message.header.address_family)?;
        let (mut via, mut ifindex, mut src, mut mtu) = (None, None, None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Destination(address) => dst = ip(address)?,
                RouteAttribute::Gateway(address) => via = ip(address),
                RouteAttribute::PrefSource(address) => src = ip(address),
                RouteAttribute::Oif(index) => ifindex = Some(*index),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        if table != u32::from(RouteHeader::RT_TABLE_MAIN) || message.header.kind != RouteType::Unicast {
            return None;
        }
        let dst = IpNet::new(dst, message.header.destination_prefix_length).ok()?;
        Some(Self { dst, via, ifindex: ifindex?, src, mtu })
    }
}

fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(IpAddr::from([0_u8; 4])),
        AddressFamily::Inet6 => Some(IpAddr::from([0_u8; 16])),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
