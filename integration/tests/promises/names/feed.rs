//! What followers are told, and that it is so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use integration::{Cluster, ClusterOptions, TestNode};
use protocol::client::{Client, ClientError};
use protocol::feed::{
    Changes, Feed, FeedChange, FeedPosition, FollowRequest, NameChange, NameTarget, NamedService,
};
use protocol::message::{ErrorCode, ReadRequest, Response};

use crate::services::{apply, create_service, labelled};

/// Follows the names of a node.
struct Follower {
    client: Client,
    position: Option<FeedPosition>,
    services: BTreeMap<String, NamedService>,
    pods: BTreeMap<String, String>,
    namespaces: Vec<String>,
    from_scratch: usize,
}

/// The longest that a test waits for what it expects to be told.
const PATIENCE: Duration = Duration::from_secs(30);

impl Follower {
    #[track_caller]
    fn of(node: &TestNode) -> Self {
        let mut client = Client::connect(&node.dir().join("run/ro.sock")).expect("the read-only socket");
        client.set_timeout(Some(PATIENCE)).expect("a timeout");
        let (services, pods) = (BTreeMap::new(), BTreeMap::new());
        Self { client, position: None, services, pods, namespaces: Vec::new(), from_scratch: 0 }
    }

    /// Everything there is, or what has changed since; waits for it.
    fn follow(&mut self, patience_ms: u32) -> Result<(), ClientError> {
        let request = FollowRequest { feed: Feed::Names, after: self.position, patience_ms };
        self.client.send_read(&ReadRequest::Follow(request))?;
        loop {
            match self.client.receive()? {
                Response::Changes(changes) => self.take(changes),
                Response::Followed(position) => {
                    self.position = Some(position);
                    return Ok(());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, changes: Changes) {
        if changes.from_scratch {
            self.from_scratch += 1;
            self.services.clear();
            self.pods.clear();
            self.namespaces.clear();
        }
        for change in changes.changes {
            if matches!(change, FeedChange::Heard(_)) {
                continue;
            }
            let FeedChange::Name(change) = change else { panic!("{change:?}") };
            match change {
                NameChange::Namespace(namespace) => self.namespaces.push(namespace.to_string()),
                NameChange::NamespaceGone(gone) => self.namespaces.retain(|known| known != gone.as_str()),
                NameChange::Service(service) => {
                    _ = self.services.insert(format!("{}/{}", service.namespace, service.name), service);
                }
                NameChange::ServiceGone { namespace, name } => {
                    _ = self.services.remove(&format!("{namespace}/{name}"));
                }
                NameChange::Pod { pod, address } => {
                    _ = self.pods.insert(pod.to_string(), address.to_string())
                }
                NameChange::PodGone(pod) => _ = self.pods.remove(&pod.to_string()),
            }
        }
    }

    /// Follows until it holds.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: {:?} {:?}", self.services, self.pods);
            match self.follow(1000) {
                Err(ClientError::Api(error)) if error.code == ErrorCode::Unavailable => {}
                other => other.expect("the daemon answers"),
            }
        }
    }

    fn addresses(&self, service: &str) -> Vec<String> {
        match self.services.get(service).map(|service| &service.target) {
            Some(NameTarget::Headless { endpoints }) => {
                let name = |end: &protocol::feed::NamedEndpoint| {
                    format!("{} {}", end.address, end.hostname.clone().unwrap_or_default()).trim().to_owned()
                };
                let mut all: Vec<String> = endpoints.iter().map(name).collect();
                all.sort();
                all
            }
            Some(NameTarget::Cluster { addresses, .. }) => {
                addresses.iter().map(ToString::to_string).collect()
            }
            Some(NameTarget::External { name }) => vec![name.clone()],
            None => Vec::new(),
        }
    }
}

#[test]
fn names_come_and_go_with_services_pods_and_namespaces() {
    let node = TestNode::start();
    let mut follower = Follower::of(&node);
    follower.until("the first answer", |f| f.position.is_some());
    assert!(follower.services.is_empty() && follower.pods.is_empty());
    assert_eq!(follower.namespaces, ["default", "kube-system"]);
    let web = node.create(&labelled("web-a", "web"));
    let address = create_service(&node, "web", "--tcp 80").to_string();
    follower.until("the service", |f| f.addresses("default/web") == [address.clone()]);
    follower.until("the pod", |f| f.pods.get("default/web-a") == Some(&web.ip.to_string()));
    apply(
        &node,
        "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {type: ExternalName, externalName: db.example.com}}",
    );
    follower.until("the alias", |f| f.addresses("shop/db") == ["db.example.com"]);
    follower.until("its namespace", |f| f.namespaces.iter().any(|namespace| namespace == "shop"));
    node.vpodctl("delete-service web").ok();
    node.delete_pod(&web);
    node.vpodctl("delete service db -n shop").ok();
    follower.until("all is gone", |f| {
        f.services.is_empty() && f.pods.is_empty() && f.namespaces == ["default", "kube-system"]
    });
    assert_eq!(follower.from_scratch, 1, "what changes is told by itself");
}

#[test]
fn headless_services_are_named_by_ready_endpoints_and_their_host_names() {
    let node = TestNode::start();
    let headless = |publish: bool| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: db, namespace: default}}, spec: {{clusterIP: None, \
             publishNotReadyAddresses: {publish}, selector: {{app: db}}, ports: [{{name: sql, port: 5432}}]}}}}"
        )
    };
    apply(&node, &headless(false));
    let mut request = labelled("db-0", "db");
    (request.hostname, request.subdomain) = (Some("first".to_owned()), Some("db".to_owned()));
    let first = node.create(&request);
    // Its container ends at once, and so it is never ready.
    let mut request = labelled("db-1", "db");
    request.serving.readiness = Some(protocol::object::Probe::new(protocol::object::Check::Tcp { port: 1 }));
    let second = node.create(&request);
    let mut follower = Follower::of(&node);
    let named = format!("{} first", first.ip);
    follower.until("the ready one", |f| f.addresses("default/db") == [named.clone()]);
    apply(&node, &headless(true));
    follower.until("both", |f| f.addresses("default/db") == [named.clone(), second.ip.to_string()]);
    node.delete_pod(&first);
    follower.until("the other", |f| f.addresses("default/db") == [second.ip.to_string()]);
}

/// Ten clients of each service that is told are answered at once: the switch knows what is told.
#[test]
fn what_is_told_is_active() {
    let node = TestNode::start();
    let _backend = crate::services::Backend::start(&node, "web-a", "web", "tcp:80");
    let client = node.create_pod("client");
    let mut follower = Follower::of(&node);
    follower.until("the first answer", |f| f.position.is_some());
    for round in 0..10 {
        let name = format!("web{round}");
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}"
        );
        let key = format!("default/{name}");
        let asked = std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                follower.until("the service", |f| f.services.contains_key(&key));
                let address = follower.addresses(&key)[0].parse().expect("an address");
                crate::services::ask(crate::stream::Place::Pod(&client), crate::services::tcp(address, 80), 1)
            });
            apply(&node, &text);
            told.join().expect("the follower goes on")
        });
        assert!(asked[0].starts_with("web-a "), "{asked:?}");
    }
}

#[test]
fn another_daemon_tells_everything_anew_and_a_killed_datapath_nothing() {
    let mut node = TestNode::start();
    let address = create_service(&node, "web", "--tcp 80").to_string();
    let mut follower = Follower::of(&node);
    follower.until("the service", |f| f.addresses("default/web") == [address.clone()]);
    let before = follower.position.expect("it has followed");
    node.allow_log("datapath");
    nix::sys::signal::kill(node.datapath_pid(), nix::sys::signal::Signal::SIGKILL).expect("it can be killed");
    create_service(&node, "other", "--tcp 80");
    follower.until("the other service", |f| f.services.contains_key("default/other"));
    assert_eq!(follower.from_scratch, 1);
    node.stop_daemon();
    node.start_daemon();
    let mut again = Follower::of(&node);
    again.position = Some(before);
    again.until("the service", |f| f.addresses("default/web") == [address.clone()]);
    assert_eq!(again.from_scratch, 1, "a position of another process says nothing");
    assert_eq!(again.services.len(), 2);
}

#[test]
fn followers_of_routes_are_root_or_the_ingress_and_all_are_bounded() {
    let node = TestNode::start();
    let socket = node.dir().join("run/ro.sock");
    // Root follows; that nothing fills the feed yet is told as such.
    let mut client = Client::connect(&socket).expect("the read-only socket");
    let routes = FollowRequest { feed: Feed::Routes, after: None, patience_ms: 0 };
    client.send_read(&ReadRequest::Follow(routes)).expect("a request");
    match client.receive() {
        Err(ClientError::Api(error)) => assert_eq!(error.code, ErrorCode::Unavailable, "{error}"),
        other => assert!(matches!(other, Ok(Response::Changes(_) | Response::Followed(_))), "{other:?}"),
    }
    let mut first = Follower::of(&node);
    first.until("the first answer", |f| f.position.is_some());
    let waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(&socket).expect("the read-only socket");
            let request = FollowRequest { feed: Feed::Names, after: first.position, patience_ms: 5_000 };
            client.send_read(&ReadRequest::Follow(request)).expect("a request");
            client
        })
        .collect();
    let answers: Vec<_> = waiting.into_iter().map(|mut client| client.receive()).collect();
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Err(ClientError::Api(e)) if e.code == ErrorCode::Exhausted));
    assert_eq!(refused.count(), 4, "{answers:?}");
}

/// A service of one node is told on all.
#[test]
fn names_are_the_clusters() {
    let cluster: Cluster = ClusterOptions::new(2).on_etcd().allow_log("etcd").start();
    let mut follower = Follower::of(cluster.node(1));
    let pod = cluster.node(0).create(&labelled("web-a", "web"));
    let address = create_service(cluster.node(0), "web", "--tcp 80").to_string();
    follower.until("the service", |f| f.addresses("default/web") == [address.clone()]);
    follower.until("the pod", |f| f.pods.get("default/web-a") == Some(&pod.ip.to_string()));
}
