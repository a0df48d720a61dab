//! What is said of a policy that matches nothing, in part or at all.

use serde_json::json;

use super::world::World;
use super::{good, network_policy};
use crate::{Protocol, status};

#[test]
fn what_matches_nothing_is_named_by_field() {
    let mut world = World::default();
    world.pod("x/web", "10.0.0.1", &[("app", "web")], &[("http", Protocol::TCP, 80)]);
    world.pod("x/db", "10.0.0.2", &[("app", "db")], &[("sql", Protocol::TCP, 5432)]);
    let app = |app: &str| json!({ "matchLabels": { "app": app } });
    let policy = good(&network_policy(
        "p",
        &json!({
            "podSelector": app("web"),
            "ingress": [{
                "from": [{ "podSelector": app("db") }, { "podSelector": app("dbb") }, { "ipBlock": { "cidr": "10.0.0.0/8" } }],
                "ports": [{ "port": "http" }, { "port": "htpp" }, { "port": "http", "protocol": "UDP" }, { "port": 9 }],
            }],
            "egress": [
                { "to": [{ "podSelector": app("db") }], "ports": [{ "port": "sql" }, { "port": "http" }] },
                { "ports": [{ "port": "http" }] },
            ],
        }),
    ))
    .policy;
    world.set_policy(&policy);
    let told = status(&world.cluster, &policy.name).unwrap();
    assert_eq!(told.selected.iter().map(ToString::to_string).collect::<Vec<_>>(), ["x/web"]);
    let notes: Vec<String> = told.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "spec.ingress[0].from[1]: selects no pod",
            "spec.ingress[0].ports[1].port: no pod that it is about has a port of TCP with this name",
            "spec.ingress[0].ports[2].port: no pod that it is about has a port of UDP with this name",
            "spec.egress[0].ports[1].port: no pod that it is about has a port of TCP with this name",
        ]
    );
    let empty = good(&network_policy("q", &json!({ "podSelector": app("nosuch") }))).policy;
    world.set_policy(&empty);
    let told = status(&world.cluster, &empty.name).unwrap();
    assert!(told.selected.is_empty());
    assert_eq!(told.notes[0].to_string(), "spec.podSelector: selects no pod");
    world.remove_policy(&empty.name);
    assert_eq!(status(&world.cluster, &empty.name), None);
}
