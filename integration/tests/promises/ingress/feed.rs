//! What the ingress is told, and when.

use integration::{TestNode, wait};
use protocol::client::{Client, ClientError};
use protocol::feed::{Feed, FeedChange, FeedPosition, FollowRequest, RouteChange};
use protocol::message::{AdminRequest, ErrorCode, Kind, ReadRequest, Response};

use super::{apply, ingress, tls_secret};

/// Follows the feed, and knows what it was told.
struct Follower {
    client: Client,
    position: Option<FeedPosition>,
    told: Vec<RouteChange>,
}

impl Follower {
    fn new(node: &TestNode) -> Self {
        Self { client: node.client(), position: None, told: Vec::new() }
    }

    /// Waits for a change and takes it.
    fn step(&mut self) {
        let request = FollowRequest { feed: Feed::Routes, after: self.position, patience_ms: 1_000 };
        self.client.send(&AdminRequest::Read(ReadRequest::Follow(request))).expect("the daemon reads");
        loop {
            let response = match self.client.receive() {
                // The store has not been read yet.
                Err(ClientError::Api(error)) if error.code == ErrorCode::Unavailable => return,
                other => other.expect("the daemon answers"),
            };
            match response {
                Response::Changes(changes) => {
                    if changes.from_scratch {
                        self.told.clear();
                    }
                    let routes = changes.changes.into_iter().filter_map(|change| match change {
                        FeedChange::Route(route) => Some(route),
                        FeedChange::Name(_) | FeedChange::Heard(_) => None,
                    });
                    self.told.extend(routes);
                }
                Response::Followed(position) => {
                    self.position = Some(position);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&[RouteChange]) -> bool) {
        wait::until(what, || {
            self.step();
            is_so(&self.told).then_some(())
        });
    }
}

/// The endpoints of a service, as they were told last.
fn endpoints(told: &[RouteChange], service: &str) -> Option<usize> {
    let last = told.iter().rev().find_map(|change| match change {
        RouteChange::Backends(backends) if backends.name.as_str() == service => {
            Some(Some(backends.ports.iter().map(|port| port.endpoints.len()).sum()))
        }
        RouteChange::BackendsGone { name, .. } if name.as_str() == service => Some(None),
        _ => None,
    });
    last.flatten()
}

fn has(told: &[RouteChange], wanted: Kind, wanted_name: &str) -> bool {
    let last = told.iter().rev().find_map(|change| match change {
        RouteChange::Object { kind, document }
            if *kind == wanted && document.name.as_str() == wanted_name =>
        {
            Some(true)
        }
        RouteChange::ObjectGone { kind, name, .. } if *kind == wanted && name.as_str() == wanted_name => {
            Some(false)
        }
        _ => None,
    });
    last.unwrap_or(false)
}

fn slice(addresses: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{addresses}]\n"
    )
}

#[test]
fn the_ingress_is_told_objects_the_services_they_lead_to_and_their_secrets_and_no_others() {
    super::on_both_stores(|node| {
        let mut follower = Follower::new(node);
        let service = |name: &str| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80, appProtocol: kubernetes.io/h2c}}]}}\n"
            )
        };
        apply(node, &[service("web"), service("unused"), slice("{addresses: [10.244.0.77]}")].concat());
        apply(
            node,
            &[tls_secret(node, "a-tls", "a.example"), tls_secret(node, "unused", "b.example")].concat(),
        );
        let tls = "  tls: [{hosts: [a.example], secretName: a-tls}]\n";
        apply(node, &ingress("shop", "a.example", "web", tls));
        follower.until("the ingress is told all of it", |told| {
            has(told, Kind::Ingresses, "shop")
                && has(told, Kind::Secrets, "a-tls")
                && endpoints(told, "web") == Some(1)
        });
        let h2c = follower.told.iter().any(|change| {
            matches!(change, RouteChange::Backends(backends)
                if backends.ports.iter().all(|port| port.app_protocol.as_deref() == Some("kubernetes.io/h2c")))
        });
        assert!(h2c, "{:?}", follower.told);
        apply(node, &slice("{addresses: [10.244.0.77]}, {addresses: [10.244.0.78]}"));
        follower.until("there are two endpoints", |told| endpoints(told, "web") == Some(2));
        assert!(
            !has(&follower.told, Kind::Secrets, "unused") && endpoints(&follower.told, "unused").is_none()
        );
        node.vpodctl("delete ingress shop").ok();
        follower.until("all of it is gone", |told| {
            !has(told, Kind::Ingresses, "shop")
                && !has(told, Kind::Secrets, "a-tls")
                && endpoints(told, "web").is_none()
        });
        // Somebody who follows from now on is told the same.
        let mut late = Follower::new(node);
        late.step();
        assert!(late.told.is_empty(), "{:?}", late.told);
    });
}
