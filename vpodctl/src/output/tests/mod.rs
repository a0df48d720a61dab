//! Every table and document as text, from fixed objects at a fixed time.

mod fixtures;

use insta::assert_snapshot;
use protocol::object::{DropEntry, FdbEntry, Flow, NeighborEntry, Node, Peer, PeerHealth, Pod, Port};

use super::table::View;
use super::{Format, Resource, render};
use crate::pod::describe::describe;
use crate::{daemon, node, peer, port};
use fixtures::NOW;

const PLAIN: View = View { wide: false, all_namespaces: false, no_headers: false };
const WIDE: View = View { wide: true, ..PLAIN };
const ALL: View = View { all_namespaces: true, ..WIDE };

fn text<R: Resource>(rows: &[R], format: Format, view: View) -> String {
    render(rows, format, view, false, NOW).unwrap()
}

#[test]
fn pods_look_as_kubectl_prints_them() {
    let pods: Vec<Pod> = fixtures::pods();
    assert_snapshot!("pods", text(&pods, Format::Table, PLAIN));
    assert_snapshot!("pods_wide", text(&pods, Format::Wide, WIDE));
    assert_snapshot!("pods_all_namespaces", text(&pods, Format::Wide, ALL));
    assert_snapshot!("pods_names", text(&pods, Format::Name, PLAIN));
}

#[test]
fn headers_can_be_left_out() {
    let all = text(&fixtures::pods(), Format::Table, PLAIN);
    let rows = text(&fixtures::pods(), Format::Table, View { no_headers: true, ..PLAIN });
    assert_eq!(rows.lines().count() + 1, all.lines().count());
    assert!(all.starts_with("NAME ") && !rows.contains("READY"), "{rows}");
}

#[test]
fn a_pod_as_a_document_has_what_kubernetes_has_where_kubernetes_has_it() {
    let pods = fixtures::pods();
    let one = &pods[..1];
    assert_snapshot!("pod_json", render(one, Format::Json, PLAIN, true, NOW).unwrap());
    assert_snapshot!("pod_yaml", render(one, Format::Yaml, PLAIN, true, NOW).unwrap());
    assert_snapshot!("pods_json", text(&pods[1..3], Format::Json, PLAIN));
}

#[test]
fn an_empty_list_is_a_list_for_programs_and_only_a_header_for_people() {
    let none: [Pod; 0] = [];
    assert_snapshot!("no_pods_json", text(&none, Format::Json, PLAIN));
    assert_eq!(text(&none, Format::Name, PLAIN), "");
}

#[test]
fn nothing_is_null_in_a_document() {
    for document in [
        text(&fixtures::pods(), Format::Json, PLAIN),
        text(&[fixtures::node()], Format::Json, PLAIN),
        text(&fixtures::ports(), Format::Json, PLAIN),
        text(&fixtures::fdb(), Format::Json, PLAIN),
        text(&fixtures::flows(), Format::Json, PLAIN),
    ] {
        assert!(!document.contains("null"), "{document}");
    }
}

#[test]
fn yaml_says_the_same_as_json() {
    let pods = fixtures::pods();
    let yaml: serde_json::Value = serde_saphyr::from_str(&text(&pods, Format::Yaml, PLAIN)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text(&pods, Format::Json, PLAIN)).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn switch_tables_have_a_column_per_question() {
    let node: [Node; 1] = [fixtures::node()];
    let ports: Vec<Port> = fixtures::ports();
    let fdb: Vec<FdbEntry> = fixtures::fdb();
    let neighbors: Vec<NeighborEntry> = fixtures::neighbors();
    let flows: Vec<Flow> = fixtures::flows();
    let drops: Vec<DropEntry> = fixtures::drops();
    let tables = [
        text(&node, Format::Wide, WIDE),
        text(&ports, Format::Table, PLAIN),
        text(&ports, Format::Wide, WIDE),
        text(&fdb, Format::Table, PLAIN),
        text(&neighbors, Format::Table, PLAIN),
        text(&flows, Format::Wide, WIDE),
        text(&drops, Format::Wide, WIDE),
    ];
    assert_snapshot!("switch_tables", tables.join("\n"));
}

#[test]
fn other_nodes_have_tables_documents_and_descriptions() {
    let (nodes, peers, routes) = (fixtures::nodes(), fixtures::peers(), fixtures::routes());
    let texts = [
        text(&nodes, Format::Wide, WIDE),
        text(&nodes[2..3], Format::Json, PLAIN),
        text(&peers, Format::Table, PLAIN),
        text(&peers, Format::Wide, WIDE),
        text(&peers[..1], Format::Json, PLAIN),
        text(&peers[2..], Format::Json, PLAIN),
        text(&peers, Format::Name, PLAIN),
        text(&routes, Format::Table, PLAIN),
        text(&routes[2..4], Format::Json, PLAIN),
        node::describe(&nodes[3]),
        peer::describe(&peers[0]),
        peer::describe(&peers[1]),
        peer::describe(&peers[2]),
    ];
    assert_snapshot!("other_nodes", texts.join("\n"));
}

#[test]
fn a_peer_that_only_counts_is_no_news() {
    let peer = &fixtures::peers()[0];
    let health = |health| Peer { health, ..peer.clone() };
    let busy = health(PeerHealth { tx_packets: 2000, rtt_us: Some(7), last_seen_ms: Some(1), ..peer.health });
    let away = health(PeerHealth { reachable: Some(false), ..peer.health });
    let smaller = Peer { pod_mtu: 1350, ..peer.clone() };
    assert!(!busy.differs(peer) && away.differs(peer) && smaller.differs(peer));
}

#[test]
fn switch_objects_have_documents_and_names() {
    let documents = [
        text(&[fixtures::node()], Format::Json, PLAIN),
        text(&fixtures::ports()[..1], Format::Json, PLAIN),
        text(&fixtures::fdb()[..1], Format::Json, PLAIN),
        text(&fixtures::neighbors()[..1], Format::Json, PLAIN),
        text(&fixtures::flows()[..1], Format::Json, PLAIN),
        text(&fixtures::drops()[..1], Format::Json, PLAIN),
        text(&fixtures::ports(), Format::Name, PLAIN),
        text(&fixtures::fdb(), Format::Name, PLAIN),
        text(&fixtures::flows(), Format::Name, PLAIN),
        text(&fixtures::drops(), Format::Name, PLAIN),
    ];
    assert_snapshot!("switch_documents", documents.concat());
}

#[test]
fn descriptions_and_status_are_complete() {
    let pods = fixtures::pods();
    let ports = fixtures::ports();
    let described = [
        describe(&pods[0], Some(&ports[0]), NOW),
        describe(&pods[1], None, NOW),
        describe(&pods[5], None, NOW),
        node::describe(&fixtures::node()),
        port::describe(&ports[1]),
    ];
    assert_snapshot!("descriptions", described.join("\n"));
    let status = fixtures::status();
    let away = protocol::message::Status {
        datapath: None,
        tunnel: None,
        cluster: None,
        problems: vec!["the datapath is being started".to_owned(), "the disk is full".to_owned()],
        ..fixtures::status()
    };
    let texts = [
        daemon::status_text(&status, NOW),
        daemon::status_text(&away, NOW),
        super::document::json(&daemon::status_document(&status)).unwrap(),
    ];
    assert_snapshot!("status", texts.join("\n"));
}

#[test]
fn an_age_alone_is_no_change_worth_a_line() {
    let entry = &fixtures::fdb()[1];
    let later = FdbEntry { age_ms: entry.age_ms + 500, ..entry.clone() };
    let moved = FdbEntry { port: protocol::PortId(9), ..entry.clone() };
    assert!(!later.differs(entry) && moved.differs(entry));
    let flow = &fixtures::flows()[0];
    let idle = Flow { idle_ms: flow.idle_ms + 500, ..flow.clone() };
    let busy = Flow { frames: flow.frames + 1, ..flow.clone() };
    assert!(!idle.differs(flow) && busy.differs(flow));
}
