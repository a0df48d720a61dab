//! What is asked of the switch, in types of this crate.

use std::collections::BTreeMap;
use std::net::IpAddr;

use protocol::{Mac, ObjectName};

use crate::args::Args;
use crate::config::{Bandwidth, NetworkConfig, PortMapping, RangeSet, Resolver};
use crate::error::{Code, Error};
use crate::pod::Pod;
use crate::result::AddResult;
use protocol::attachment::{AttachmentKey, NetnsPath};

/// An interface for a pod: for ADD what is to be, for CHECK what should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// What it is known by.
    pub key: AttachmentKey,
    /// The pod's network namespace.
    pub netns: NetnsPath,
    /// The namespace may be the one that the plugin itself is in (`CNI_NETNS_OVERRIDE`).
    pub netns_override: bool,
    /// The pod.
    pub pod: Pod,
    /// Addresses that it must get, at most one of each family; others, or one of a family that is not here, as the switch
    /// chooses.
    pub addresses: Vec<IpAddr>,
    /// Where its addresses are to come from, one from each set; as the switch chooses if empty.
    pub ranges: Vec<RangeSet>,
    /// The MAC address that it must get.
    pub mac: Option<Mac>,
    /// Bytes of an IP packet; the switch's choice without.
    pub mtu: Option<u16>,
    /// What policies and services select it by.
    pub labels: BTreeMap<String, String>,
    /// Ports of the node that lead to it.
    pub port_mappings: Vec<PortMapping>,
    /// What it may send and receive.
    pub bandwidth: Bandwidth,
    /// How its programs resolve names; as the cluster does if nothing is said.
    pub resolver: Resolver,
    /// Further names of the pod.
    pub aliases: Vec<ObjectName>,
}

impl Attachment {
    /// What configuration and environment ask together. The same asked in several ways is taken from the newest way alone:
    /// `runtimeConfig`, then `args.cni`, then `CNI_ARGS`.
    ///
    /// # Errors
    /// Code 4: the pod cannot exist. Code 7: addresses that no pod can have, or two of one family.
    pub(crate) fn of(
        key: AttachmentKey,
        netns: NetnsPath,
        netns_override: bool,
        args: &Args,
        config: NetworkConfig,
    ) -> Result<Self, Error> {
        let pod = Pod::of(args, config.namespace.as_ref(), &key.container)?;
        let asked = config.capabilities;
        let ways = [
            ("runtimeConfig.ips", asked.ips),
            ("args.cni.ips", config.ips),
            ("CNI_ARGS IP", args.ips.clone()),
        ];
        let (way, addresses) = ways.into_iter().find(|(_, ips)| !ips.is_empty()).unwrap_or_default();
        check_addresses(way, &addresses)?;
        Ok(Self {
            key,
            netns,
            netns_override,
            pod,
            addresses,
            ranges: asked.ranges,
            mac: asked.mac.or(config.mac).or(args.mac),
            mtu: config.mtu,
            labels: config.labels,
            port_mappings: asked.port_mappings,
            bandwidth: asked.bandwidth,
            resolver: asked.resolver.unwrap_or(config.resolver),
            aliases: asked.aliases,
        })
    }

    /// An interface must not be made twice (SPEC 1.1.0 §2, "ADD").
    ///
    /// # Errors
    /// Code 100: what came before in the chain made one of that name.
    pub(crate) fn is_new_in(&self, previous: &AddResult) -> Result<(), Error> {
        match previous.interface(self.key.interface.as_str(), self.netns.as_str()) {
            None => Ok(()),
            Some(_) => {
                let message =
                    format!("there is an interface {} in {} already", self.key.interface, self.netns);
                Err(Error::new(Code::AlreadyAttached, message).with_details(
                    "prevResult lists it: vpod-cni makes the interface, so it comes first in a chain",
                ))
            }
        }
    }
}

fn check_addresses(way: &str, addresses: &[IpAddr]) -> Result<(), Error> {
    let invalid = |why: String| {
        Err(Error::new(Code::InvalidConfiguration, format!("invalid network configuration: {way}: {why}")))
    };
    for (at, address) in addresses.iter().enumerate() {
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return invalid(format!("{address} is no address that a pod can have"));
        }
        if let Some(other) = addresses.iter().take(at).find(|other| other.is_ipv4() == address.is_ipv4()) {
            return invalid(format!(
                "{other} and {address} are of one family, of which a pod has one address"
            ));
        }
    }
    Ok(())
}
