//! Changes of routes under load.

use super::{Load, Talk, Web, answered_by, cluster, path, rules, service, socket_server, until_answered_by};
use crate::ingress::{apply, manifest};

/// One object each.
const CHANGES: usize = 500;
/// In one manifest.
const AT_ONCE: usize = 20;

#[test]
fn five_hundred_changes_of_routes_fail_no_request_and_cut_no_websocket() {
    let cluster = cluster("");
    let node = cluster.node(0);
    let _webs = [Web::start(node, "a", "web"), Web::start(cluster.node(1), "b", "web")];
    let _server = socket_server(cluster.node(1));
    apply(node, &[service("web", "web"), service("socket", "socket")].concat());
    let paths = [path("/", "Prefix", "web"), path("/socket", "Prefix", "socket")];
    apply(node, &rules("web", "", &[("web.example", &paths)], ""));
    until_answered_by(&cluster, "", "http://web.example/", "a");
    let mut talks: Vec<Talk> =
        (0..3).map(|_| Talk::start(&cluster, "ws://web.example/socket", 80, "")).collect();
    let load = Load::start(&cluster, "web.example", "/");
    for (batch, first) in (0..CHANGES).step_by(AT_ONCE).enumerate() {
        // Hosts come, their paths change, and they go; the one that is asked gets another path each time.
        let others: String = (first..first + AT_ONCE - 1)
            .map(|number| {
                let host = format!("h{}.example", number % 100);
                let paths = [path(&format!("/p{number}"), "Exact", "web")];
                rules(&format!("change-{}", number % 100), "", &[(&host, &paths)], "")
            })
            .collect();
        if batch % 7 == 6 {
            manifest(node, "delete", &others).ok();
        } else {
            let own = [paths.as_slice(), &[path(&format!("/batch-{batch}"), "Exact", "web")]].concat();
            apply(node, &[others, rules("web", "", &[("web.example", &own)], "")].concat());
        }
        talks.iter_mut().for_each(|talk| talk.repeats("there"));
    }
    // The last one is in force.
    let last = format!("http://h{}.example/p{}", (CHANGES - 2) % 100, CHANGES - 2);
    let known = ["a", "b"];
    integration::wait::until("the last change is in force", || {
        known.contains(&&*answered_by(&cluster, "", &last)).then_some(())
    });
    talks.iter_mut().for_each(|talk| talk.repeats("to the end"));
    let seen = load.end_without_failure();
    println!("{CHANGES} changes: {seen}");
    assert!(known.iter().all(|name| seen["names"][name].is_u64()), "{seen}");
}
