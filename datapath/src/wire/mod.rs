//! One header per file: a checked value read once from the frame, and `&mut` views to rewrite it.
//!
//! [`Packet::parse`] is the only reader of received headers. It reads through etherparse's header
//! slices and adds what those leave out: lengths against the frame, the IPv4 header checksum,
//! fragment sanity. After it, every offset in a [`Packet`] lies inside the frame, and nothing is
//! looked at twice, so classification and rewriting can never disagree.

pub(crate) mod arp;
pub(crate) mod checksum;
pub(crate) mod ethernet;
pub(crate) mod icmp;
pub(crate) mod ipv4;
pub(crate) mod l4;
pub(crate) mod tcp_reset;
pub(crate) mod vnet;

use etherparse::EtherType;
use protocol::Mac;

use crate::frame::ETHERNET_HDR_LEN;
use crate::verdict::{DropReason, Verdict};
use arp::Arp;
use ipv4::Ipv4;

/// What a frame says, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) body: Body,
}

/// What is in the Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    Arp(Arp),
    Ipv4(Ipv4),
}

impl Packet {
    /// Reads an Ethernet frame.
    pub(crate) fn parse(frame: &[u8]) -> Verdict<Self> {
        let (header, payload) = ethernet::split(frame)?;
        let body = match header.ether_type {
            EtherType::IPV4 => Body::Ipv4(Ipv4::parse(payload)?),
            EtherType::ARP => Body::Arp(Arp::parse(payload)?),
            EtherType::IPV6 => return Err(DropReason::Ipv6Disabled),
            EtherType::VLAN_TAGGED_FRAME
            | EtherType::PROVIDER_BRIDGING
            | EtherType::VLAN_DOUBLE_TAGGED_FRAME => return Err(DropReason::VlanTagged),
            _ => return Err(DropReason::UnsupportedEthertype),
        };
        Ok(Self { destination: header.destination, source: header.source, body })
    }

    /// Length of the frame without Ethernet padding.
    pub(crate) fn frame_len(&self) -> usize {
        ETHERNET_HDR_LEN
            + match &self.body {
                Body::Arp(_) => arp::LEN,
                Body::Ipv4(ip) => ip.total_len(),
            }
    }
}
