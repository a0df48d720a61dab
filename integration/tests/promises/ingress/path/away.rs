//! The cluster's store is away: what was served is served, also by a node that starts meanwhile.

use integration::wait;
use nix::sys::signal::{Signal, kill};

use super::{Web, ask, cluster, path, rules, service, until_answered_by};
use crate::ingress::{apply, tls_secret};
use crate::names::{pid, ready_system_pod};

/// Twice the time that changes wait for others before they are written.
const WRITTEN: std::time::Duration = std::time::Duration::from_secs(5);

#[test]
fn nodes_that_start_while_the_store_is_away_serve_the_routes_they_last_knew() {
    let mut cluster = cluster("");
    for number in [0, 1] {
        for part in ["store", "datapath", "readiness", "announce"] {
            cluster.node_mut(number).allow_log(part);
        }
    }
    let node = cluster.node(0);
    let _web = Web::start(node, "a", "web");
    apply(node, &service("web", "web"));
    apply(node, &tls_secret(node, "web-tls", "web.example"));
    let tls = "  tls: [{hosts: [web.example], secretName: web-tls}]\n";
    let paths = [path("/", "Prefix", "web")];
    apply(node, &rules("web", "", &[("web.example", &paths), ("plain.example", &paths)], tls));
    apply(node, &rules("gone", "", &[("gone.example", &paths)], ""));
    let verified = format!("--cacert {}/web-tls.crt", node.dir().display());
    until_answered_by(&cluster, "", "http://gone.example/", "a");
    wait::until("the certificate is used", || {
        ask(&cluster, &verified, "https://web.example/").succeeded().then_some(())
    });
    std::thread::sleep(WRITTEN);
    cluster.etcd().kill();
    for number in [0, 1] {
        // Both processes at once and the ingress, as when the node's kernel panics.
        let ingress = pid(&ready_system_pod(cluster.node(number), "vpod-ingress"));
        let datapath = cluster.node(number).datapath_pid();
        cluster.node(number).signal(Signal::SIGKILL);
        kill(datapath, Signal::SIGKILL).expect("the datapath can be killed");
        let _ = cluster.node_mut(number).wait_for_end();
        cluster.node(number).sh(&format!("kill -KILL {ingress}")).ok();
        cluster.node_mut(number).start_daemon();
    }
    for number in [0, 1] {
        let node = cluster.node(number);
        let address = ready_system_pod(node, "vpod-ingress").spec.pod_ips[0];
        let fetch =
            format!("curl -sS --max-time 5 --connect-to ::{address}: {verified} https://web.example/");
        wait::until("it serves what it knew, with its certificate", || {
            node.sh(&fetch).succeeded().then_some(())
        });
        assert!(node.vpodctl("describe ingress web").ok().contains("web.example"));
        let refused =
            super::super::manifest(node, "apply", &rules("new", "", &[("new.example", &paths)], ""));
        assert!(!refused.succeeded(), "nothing can be changed: {refused}");
    }
    cluster.etcd().start_again();
    until_answered_by(&cluster, "-k", "https://web.example/", "a");
    wait::until("what is deleted is heard of", || {
        cluster.node(1).vpodctl("delete ingress gone").succeeded().then_some(())
    });
    until_answered_by(&cluster, "", "http://gone.example/", "404");
}
