//! What the datapath accepts, so that one service that asks for too much leaves out what is its own and nothing else: a
//! configuration with one thing in it that the datapath refuses is refused as a whole.
//!
//! The rules are those of the datapath's `service::settings` and `service::stage`; a property test holds both against each other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use protocol::link::{Frontend, FrontendKind};

use super::super::endpoints::Backends;
use super::super::spec::Spec;
use super::super::words::special;
use super::Table;

/// Addresses of one service port: the datapath takes 256 frontends, of which two are the cluster address and the NodePort.
const MAX_FRONTENDS: usize = 256;
/// As the datapath has it.
const MAX_BACKENDS: usize = 1 << 14;

impl Table {
    /// Whose an address is, if it cannot be a service's: "an address of a node".
    #[must_use]
    pub fn owner(&self, ip: IpAddr) -> Option<String> {
        if self.node_addresses.contains(&ip) {
            return Some("an address of a node".to_owned());
        }
        if let Some(what) = self.link_addresses.get(&ip) {
            return Some((*what).to_owned());
        }
        let (pods, services) = (self.settings.cluster_cidr, self.settings.service_cidr);
        if pods.contains(&ip) {
            return Some(format!("in the range of pods, {pods}"));
        }
        self.settings.service_cidr_has(ip).then(|| format!("in the range of services, {services}"))
    }

    /// Why the datapath would not take a frontend.
    fn refuse_frontend(&self, frontend: &Frontend) -> Option<String> {
        let ip = frontend.address;
        if frontend.kind == FrontendKind::NodePort {
            return None;
        }
        if let Some(why) = special(ip) {
            return Some(why.to_owned());
        }
        match frontend.kind {
            FrontendKind::ClusterIp
                if self.settings.service_cidr_has(ip) && !self.node_addresses.contains(&ip) =>
            {
                None
            }
            _ => self.owner(ip).map(|owner| format!("is {owner}")),
        }
    }

    /// Leaves out what cannot be of the frontends of one port.
    pub(super) fn sound_frontends(
        &self,
        spec: &Spec,
        all: Vec<Frontend>,
        problems: &mut Vec<String>,
    ) -> Vec<Frontend> {
        let mut seen = BTreeSet::new();
        let mut sound = Vec::with_capacity(all.len());
        for frontend in all {
            if let Some(why) = self.refuse_frontend(&frontend) {
                let text =
                    format!("service {}: address {} is left out: it {why}", spec.object, frontend.address);
                if !problems.contains(&text) {
                    problems.push(text);
                }
            } else if seen.insert((frontend.address, frontend.port)) {
                sound.push(frontend);
            }
        }
        if sound.len() > MAX_FRONTENDS {
            let text = format!(
                "service {}: {} of its {} addresses are left out: a service port has {MAX_FRONTENDS} at most",
                spec.object,
                sound.len() - MAX_FRONTENDS,
                sound.len()
            );
            if !problems.contains(&text) {
                problems.push(text);
            }
            sound.truncate(MAX_FRONTENDS);
        }
        sound
    }

    /// Leaves out what is too much.
    pub(super) fn sound_backends(spec: &Spec, mut all: Backends, problems: &mut Vec<String>) -> Backends {
        if let Some(key) = all.keys().nth(MAX_BACKENDS).copied() {
            let over = all.split_off(&key).len();
            let text = format!(
                "service {}: {over} endpoints are left out: a service port has {MAX_BACKENDS} at most",
                spec.object
            );
            if !problems.contains(&text) {
                problems.push(text);
            }
        }
        all
    }
}
