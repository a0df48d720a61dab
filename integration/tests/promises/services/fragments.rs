//! Datagrams that do not fit into one packet.

use std::collections::BTreeSet;

use integration::wait;

use super::outside::cluster;
use super::{Backend, PEER, apply, cluster_ip, names, node_port};
use crate::nodes::address;

/// Three packets of a pod, and of the network between the nodes.
const BYTES: usize = 4000;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: NodePort\n  \
                       selector: {app: web}\n  ports: [{protocol: UDP, port: 80}]\n";

/// By a cluster address from a pod, and by a NodePort from outside; with a backend on the same node and one behind the tunnel.
#[test]
fn a_datagram_of_several_packets_arrives_whole_and_is_answered() {
    let cluster = cluster();
    let _backends = [(0, "a"), (1, "b")]
        .map(|(number, name)| Backend::start(cluster.node(number), name, "web", "udp:80"));
    let node = cluster.node(0);
    let client = node.create_pod("client");
    apply(node, SERVICE);
    let (service, port) = (cluster_ip(node, "web"), node_port(node, "web"));
    let inside = format!("{PEER} large {service} 80 {BYTES} 20");
    let outside = format!("{PEER} large {} {port} {BYTES} 20", address(node));
    let ask_inside = || client.spawn(&inside).wait();
    let ask_outside = || cluster.underlay().spawn(&outside).wait();
    let asks: [(&str, &dyn Fn() -> integration::Ran); 2] =
        [("inside", &ask_inside), ("outside", &ask_outside)];
    for (whence, ask) in asks {
        wait::until(&format!("both answer {whence}, and nobody else"), || {
            let ran = ask();
            let answers: Vec<String> = ran.ok().lines().map(str::to_owned).collect();
            (names(&answers) == BTreeSet::from(["a", "b"])).then_some(())
        });
    }
}
