//! Network interfaces (`RTM_*LINK`, `rtnetlink(7)`).

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use protocol::Mac;

use super::{Netlink, NetlinkError, Request, index_object};

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number, unique in the namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Largest IP packet.
    pub ip_mtu: u32,
    /// Frames that wait for transmission at most.
    pub txqueuelen: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// The cable is plugged in (`IFLA_CARRIER`); only meaningful while up.
    pub carrier: bool,
    /// Ready to send (`IFLA_OPERSTATE`): follows the carrier a moment later, and until then the kernel
    /// throws away what is sent (`linkwatch_do_dev`, `noop_qdisc`). A device whose carrier was never off
    /// may not say so at all.
    pub operational: bool,
    /// What made it: "tun", "veth", "bridge"; none for `lo` and NICs.
    pub kind: Option<String>,
    /// The bridge it is a port of.
    pub master: Option<u32>,
}

/// Settings of an interface; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkChange {
    /// New name; the interface must be down.
    pub name: Option<String>,
    /// New address.
    pub mac: Option<Mac>,
    /// Largest IP packet.
    pub ip_mtu: Option<u32>,
    /// Frames that wait for transmission at most.
    pub txqueuelen: Option<u32>,
    /// Administrative state.
    pub up: Option<bool>,
    /// Bridge it becomes a port of; 0 takes it out.
    pub master: Option<u32>,
}

impl Netlink {
    /// The interface of that name; an error if there is none.
    pub fn link_by_name(&mut self, name: &str) -> Result<Link, NetlinkError> {
        let object = format!("interface {name}");
        let request = Request { operation: "find", object: &object };
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(&request, RouteNetlinkMessage::GetLink(message))? {
            Some(RouteNetlinkMessage::NewLink(message)) => Ok(Link::from(&message)),
            Some(_) | None => Err(request.answer("no link message")),
        }
    }

    /// The interface of that name, if there is one.
    pub fn find_link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        match self.link_by_name(name) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = Request { operation: "list", object: "interfaces" };
        let rows = self.dump(&request, &RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let link = |row| match row {
            RouteNetlinkMessage::NewLink(message) => Some(Link::from(&message)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(link).collect())
    }

    /// Changes several settings in one request.
    pub fn change_link(&mut self, ifindex: u32, change: &LinkChange) -> Result<(), NetlinkError> {
        let object = index_object(ifindex);
        let request = Request { operation: "configure", object: &object };
        self.change(&request, RouteNetlinkMessage::SetLink(message_for(ifindex, change)), 0)
    }

    /// Administratively up.
    pub fn set_up(&mut self, ifindex: u32) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Administratively down.
    pub fn set_down(&mut self, ifindex: u32) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { up: Some(false), ..LinkChange::default() })
    }

    /// Largest IP packet.
    pub fn set_mtu(&mut self, ifindex: u32, ip_mtu: u32) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { ip_mtu: Some(ip_mtu), ..LinkChange::default() })
    }

    /// Ethernet address.
    pub fn set_mac(&mut self, ifindex: u32, mac: Mac) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { mac: Some(mac), ..LinkChange::default() })
    }

    /// Frames that wait for transmission at most.
    pub fn set_txqueuelen(&mut self, ifindex: u32, frames: u32) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { txqueuelen: Some(frames), ..LinkChange::default() })
    }

    /// Name; the interface must be down.
    pub fn rename(&mut self, ifindex: u32, name: &str) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { name: Some(name.to_owned()), ..LinkChange::default() })
    }

    /// Bridge it becomes a port of; 0 takes it out.
    pub fn set_master(&mut self, ifindex: u32, master: u32) -> Result<(), NetlinkError> {
        self.change_link(ifindex, &LinkChange { master: Some(master), ..LinkChange::default() })
    }

    /// Moves an interface into another namespace.
    pub fn move_link(&mut self, ifindex: u32, netns: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let object = index_object(ifindex);
        let request = Request { operation: "move", object: &object };
        let mut message = message_for(ifindex, &LinkChange::default());
        message.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        self.change(&request, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes an interface.
    pub fn delete_link(&mut self, ifindex: u32) -> Result<(), NetlinkError> {
        let object = index_object(ifindex);
        let request = Request { operation: "delete", object: &object };
        let message = message_for(ifindex, &LinkChange::default());
        self.change(&request, RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Makes two interfaces joined by a cable.
    pub fn add_veth(&mut self, name: &str, peer: &str) -> Result<(), NetlinkError> {
        let mut peer_message = LinkMessage::default();
        peer_message.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        let data = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer_message)));
        self.add_link(name, vec![LinkInfo::Kind(InfoKind::Veth), data])
    }

    /// Makes a bridge.
    pub fn add_bridge(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.add_link(name, vec![LinkInfo::Kind(InfoKind::Bridge)])
    }

    fn add_link(&mut self, name: &str, info: Vec<LinkInfo>) -> Result<(), NetlinkError> {
        let object = format!("interface {name}");
        let request = Request { operation: "create", object: &object };
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.change(&request, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }
}

fn message_for(ifindex: u32, change: &LinkChange) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    if let Some(up) = change.up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    let attributes = [
        change.name.clone().map(LinkAttribute::IfName),
        change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())),
        change.ip_mtu.map(LinkAttribute::Mtu),
        change.txqueuelen.map(LinkAttribute::TxQueueLen),
        change.master.map(LinkAttribute::Controller),
    ];
    message.attributes.extend(attributes.into_iter().flatten());
    message
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            ip_mtu: 0,
            txqueuelen: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: false,
            operational: false,
            kind: None,
            master: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(address) => {
                    link.mac = <[u8; 6]>::try_from(address.as_slice()).ok().map(Mac);
                }
                LinkAttribute::Mtu(mtu) => link.ip_mtu = *mtu,
                LinkAttribute::TxQueueLen(frames) => link.txqueuelen = *frames,
                LinkAttribute::Carrier(carrier) => link.carrier = *carrier != 0,
                LinkAttribute::OperState(state) => link.operational = *state == State::Up,
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::LinkInfo(info) => {
                    link.kind = info.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                // The kernel tells about sixty things; these are the ones we use.
                _ => {}
            }
        }
        link
    }
}
