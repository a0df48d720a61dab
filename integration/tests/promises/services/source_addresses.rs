//! Whom a backend sees: client inside, node or outside; cluster, load-balancer or node address; each external policy; a backend on the node
//! that was asked, and on another one. And whom the policies lead where.

use std::net::IpAddr;

use integration::{Cluster, TestPod, wait};

use super::outside::{BALANCER, OUTSIDER, ask_from_outside, balanced, cluster, ip, until_answered_outside};
use super::{
    At, Backend, apply, cluster_ip, document, names, node_port, tcp, until_answer, until_answered_by,
};
use crate::nodes::address;
use crate::stream::Place;

/// A pod on each node as a client, and one backend, on the second.
struct Bed {
    cluster: Cluster,
    clients: Vec<TestPod>,
    _backend: Backend,
}

impl Bed {
    fn start(policy: &str) -> Self {
        let cluster = cluster();
        let clients = cluster.create_pods("client");
        let backend = Backend::start(cluster.node(1), "b", "web", "tcp:80 udp:80");
        apply(cluster.node(0), &balanced(policy));
        Self { cluster, clients, _backend: backend }
    }

    /// Cluster address, load balancer, and NodePort of a node.
    fn places(&self, node: usize) -> [At; 3] {
        let port = node_port(self.cluster.node(0), "web");
        let vip = cluster_ip(self.cluster.node(0), "web");
        [tcp(vip, 80), tcp(ip(BALANCER), 80), tcp(address(self.cluster.node(node)), port)]
    }

    /// Wherever the client is, and whichever node is asked.
    fn pods_are_seen_as_themselves(&self) {
        for client in &self.clients {
            for at in [self.places(0), self.places(1)].concat() {
                until_answer(Place::Pod(client), at, &format!("b {}", client.ip));
            }
        }
    }

    fn nodes_are_seen_as_themselves(&self) {
        for (number, node) in self.cluster.nodes().iter().enumerate() {
            let [vip, balancer, node_port] = self.places(number);
            let gateway = node.sh("ip -4 -o address show vpod0 | awk '{print $4}' | cut -d/ -f1").ok();
            until_answer(Place::Node(node), vip, &format!("b {}", gateway.trim()));
            for at in [balancer, node_port] {
                until_answer(Place::Node(node), at, &format!("b {}", address(node)));
            }
        }
    }

    #[track_caller]
    fn until_seen_outside(&self, at: At, expected: impl Fn(IpAddr) -> bool) {
        wait::until(&format!("{at:?} answers outside as it should"), || {
            let answers = ask_from_outside(&self.cluster, at, 3);
            let seen = |answer: &String| answer.strip_prefix("b ").and_then(|ip| ip.parse().ok());
            answers.iter().all(|answer| seen(answer).is_some_and(&expected)).then_some(())
        });
    }
}

#[test]
fn with_policy_cluster_only_clients_from_outside_at_another_node_are_hidden() {
    let bed = Bed::start("Cluster");
    bed.pods_are_seen_as_themselves();
    bed.nodes_are_seen_as_themselves();
    let outsider = ip(OUTSIDER);
    // The node that has the backend: the answer passes there.
    bed.until_seen_outside(bed.places(1)[2], |seen| seen == outsider);
    // The other one: its gateway's address, so that the answer comes back.
    let gateway = bed.cluster.node(0).sh("ip -4 -o address show vpod0 | awk '{print $4}' | cut -d/ -f1").ok();
    bed.until_seen_outside(bed.places(0)[2], |seen| seen == ip(gateway.trim()));
    // Whichever node has the load balancer's address.
    bed.until_seen_outside(bed.places(0)[1], |seen| seen == outsider || seen == ip(gateway.trim()));
    // The cluster's address is not there for outsiders.
    let answers = ask_from_outside(&bed.cluster, bed.places(0)[0], 1);
    assert!(answers[0].starts_with("error"), "{answers:?}");
}

#[test]
fn with_policy_local_clients_are_seen_and_only_nodes_with_endpoints_serve_them() {
    let bed = Bed::start("Local");
    bed.pods_are_seen_as_themselves();
    bed.nodes_are_seen_as_themselves();
    let outsider = ip(OUTSIDER);
    for at in [bed.places(1)[2], bed.places(1)[1]] {
        bed.until_seen_outside(at, |seen| seen == outsider);
    }
    // Silence: whoever leads clients here finds out by health checks.
    assert_eq!(ask_from_outside(&bed.cluster, bed.places(0)[2], 1), ["error ETIMEDOUT"]);
}

/// internalTrafficPolicy.
#[test]
fn with_an_internal_policy_local_each_node_serves_its_own_pods() {
    let cluster = cluster();
    let clients = cluster.create_pods("client");
    let _a = Backend::start(cluster.node(0), "a", "web", "tcp:80");
    let service = |policy: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  selector: {{app: web}}\n  \
             internalTrafficPolicy: {policy}\n  ports: [{{port: 80}}]\n"
        )
    };
    apply(cluster.node(0), &service("Local"));
    let at = tcp(cluster_ip(cluster.node(0), "web"), 80);
    until_answered_by(Place::Pod(&clients[0]), at, &["a"]);
    let b = Backend::start(cluster.node(1), "b", "web", "tcp:80");
    until_answered_by(Place::Pod(&clients[1]), at, &["b"]);
    until_answered_by(Place::Pod(&clients[0]), at, &["a"]);
    cluster.node(1).delete_pod(&b.pod);
    // As in kube-proxy: dropped, for the other node's is not to be used.
    until_answer(Place::Pod(&clients[1]), at, "error ETIMEDOUT");
    apply(cluster.node(0), &service("Cluster"));
    until_answered_by(Place::Pod(&clients[1]), at, &["a"]);
}

#[test]
fn source_ranges_let_in_whom_they_name() {
    let cluster = cluster();
    let _a = Backend::start(cluster.node(0), "a", "web", "tcp:80");
    let service = |ranges: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  type: LoadBalancer\n  \
             loadBalancerIP: {BALANCER}\n  selector: {{app: web}}\n  loadBalancerSourceRanges: [{ranges}]\n  \
             ports: [{{port: 80}}]\n"
        )
    };
    let at = tcp(ip(BALANCER), 80);
    apply(cluster.node(0), &service("'198.51.100.0/24'"));
    wait::until("there is a balancer", || {
        document(cluster.node(0), protocol::message::Kind::Services, "web")
    });
    let port = node_port(cluster.node(0), "web");
    // Node ports are not concerned.
    until_answered_outside(&cluster, tcp(address(cluster.node(0)), port), &["a"]);
    assert_eq!(ask_from_outside(&cluster, at, 1), ["error ETIMEDOUT"]);
    apply(cluster.node(0), &service(&format!("'198.51.100.0/24', '{OUTSIDER}/32'")));
    until_answered_outside(&cluster, at, &["a"]);
    assert_eq!(names(&ask_from_outside(&cluster, at, 1)), ["a"].into());
}
