//! What the switch made, and the answer to ADD that this is.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use protocol::Mac;

use crate::attachment::Attachment;
use crate::config::Resolver;
use crate::result::{AddResult, Dns, Interface, Ip, Route};

/// What the switch gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface's MAC address.
    pub mac: Mac,
    /// Bytes of an IP packet.
    pub mtu: u16,
    /// Its addresses, at most one of each family, each with its gateway.
    pub addresses: Vec<(IpNet, IpAddr)>,
    /// How names are resolved in the pod.
    pub resolver: Resolver,
}

impl Attached {
    /// The answer to ADD without what came before in the chain: one interface in the container, none on the host, since the
    /// other end of a TAP is no device; and a default route for each family.
    #[must_use]
    pub fn result(&self, attachment: &Attachment) -> AddResult {
        let ip = |(address, gateway): &(IpNet, IpAddr)| Ip {
            gateway: Some(*gateway),
            interface: Some(0),
            ..Ip::new(*address)
        };
        AddResult {
            interfaces: vec![Interface {
                name: attachment.key.interface.as_str().to_owned(),
                mac: Some(self.mac.to_string()),
                mtu: Some(u32::from(self.mtu)),
                sandbox: Some(attachment.netns.as_str().to_owned()),
                ..Interface::default()
            }],
            ips: self.addresses.iter().map(ip).collect(),
            routes: self
                .addresses
                .iter()
                .map(|(_, gateway)| Route::new(everywhere(*gateway), Some(*gateway)))
                .collect(),
            dns: Dns::from(&self.resolver),
            ..AddResult::default()
        }
    }
}

/// 0.0.0.0/0 or `::/0`.
fn everywhere(family: IpAddr) -> IpNet {
    match family {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}
