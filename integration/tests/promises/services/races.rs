//! Packets of one socket that race each other.

use integration::NodeOptions;

use super::{Backend, PEER, create_service, udp, until_answered_by};
use crate::stream::Place;

/// Pairs of all clients together.
const PAIRS: usize = 10_000;
const CLIENTS: usize = 4;

/// The resolver's A and AAAA queries leave one socket at once; where two packets may make a connection each, one is lost and
/// the name takes five seconds.
#[test]
fn pairs_of_queries_from_one_socket_are_all_answered() {
    let node = NodeOptions::default().config("workers = 2").start();
    let _backends = ["a", "b", "c"].map(|name| Backend::start(&node, name, "dns", "udp:5353"));
    let address = create_service(&node, "dns", "--udp 53:5353");
    let clients: Vec<_> = (0..CLIENTS).map(|n| node.create_pod(&format!("client{n}"))).collect();
    until_answered_by(Place::Pod(&clients[0]), udp(address, 53), &["a", "b", "c"]);
    let each = PAIRS / CLIENTS;
    let asking: Vec<_> =
        clients.iter().map(|pod| pod.spawn(&format!("{PEER} pairs {address} 53 {each}"))).collect();
    for program in asking {
        assert_eq!(program.wait().ok(), format!("0 of {each} lost\n"));
    }
}
