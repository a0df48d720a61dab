//! What the daemon tells its DNS server, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocol::feed::{Feed, FeedChange, FollowRequest, NameChange, NamedService};
use protocol::message::{ReadRequest, Response};

use crate::connection::{Connection, unexpected};
use crate::error::CliError;

/// By namespace and name.
type Key = (String, String);

/// All names of the cluster.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) namespaces: BTreeSet<String>,
    pub(super) services: BTreeMap<Key, NamedService>,
    pub(super) pods: BTreeMap<Key, IpAddr>,
}

impl Names {
    pub(super) fn read(daemon: &mut Connection) -> Result<Self, CliError> {
        let request = FollowRequest { feed: Feed::Names, after: None, patience_ms: 0 };
        let mut names = Self::default();
        let mut response = daemon.ask(ReadRequest::Follow(request))?;
        loop {
            match response {
                Response::Changes(changes) => {
                    changes.changes.into_iter().for_each(|change| names.take(change))
                }
                Response::Followed(_) => return Ok(names),
                other => return Err(unexpected(&other)),
            }
            response = daemon.receive()?;
        }
    }

    pub(super) fn take(&mut self, change: FeedChange) {
        match change {
            FeedChange::Name(NameChange::Namespace(namespace)) => {
                self.namespaces.insert(namespace.to_string());
            }
            FeedChange::Name(NameChange::Service(service)) => {
                self.services.insert((service.namespace.to_string(), service.name.to_string()), service);
            }
            FeedChange::Name(NameChange::Pod { pod, address }) => {
                self.pods.insert((pod.namespace.to_string(), pod.name.to_string()), address);
            }
            // Told from scratch, so nothing is gone.
            FeedChange::Name(
                NameChange::NamespaceGone(_) | NameChange::ServiceGone { .. } | NameChange::PodGone(_),
            )
            | FeedChange::Route(_)
            | FeedChange::Heard(_) => {}
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&NamedService> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }
}
