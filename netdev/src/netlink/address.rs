//! Interface addresses (`RTM_*ADDR`).

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError, Request};

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Which interface.
    pub ifindex: u32,
    /// Address and prefix length.
    pub address: IpNet,
    /// Valid beyond this link and this host: not link-local, not loopback.
    pub is_global: bool,
}

impl Netlink {
    /// Gives an interface an address. It may have it already.
    pub fn add_address(&mut self, ifindex: u32, address: IpNet) -> Result<(), NetlinkError> {
        let object = format!("{address} on interface {ifindex}");
        let request = Request { operation: "add address", object: &object };
        let message = RouteNetlinkMessage::NewAddress(message_for(ifindex, address));
        self.change(&request, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes an address from an interface.
    pub fn delete_address(&mut self, ifindex: u32, address: IpNet) -> Result<(), NetlinkError> {
        let object = format!("{address} on interface {ifindex}");
        let request = Request { operation: "delete address", object: &object };
        self.change(&request, RouteNetlinkMessage::DelAddress(message_for(ifindex, address)), 0)
    }

    /// All addresses.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let request = Request { operation: "list", object: "addresses" };
        let rows = self.dump(&request, &RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let address = |row| match row {
            RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(address).collect())
    }
}

fn message_for(ifindex: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = ifindex;
    message.header.prefix_len = address.prefix_len();
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    match address {
        IpNet::V4(net) => {
            message.header.family = AddressFamily::Inet;
            if net.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // Duplicate address detection would keep it unusable for a second; ours are unique.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message
}

impl Address {
    /// `None` for a family we do not know.
    pub(super) fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut local: Option<IpAddr> = None;
        let mut address: Option<IpAddr> = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        // On a point-to-point link `Address` is the far end; IPv6 sends no `Local`.
        let ip = local.or(address)?;
        Some(Self {
            ifindex: message.header.index,
            address: IpNet::new(ip, message.header.prefix_len).ok()?,
            is_global: message.header.scope == AddressScope::Universe,
        })
    }
}
