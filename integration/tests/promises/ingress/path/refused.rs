//! Objects that are wrong, or wrong beside others: what was served is served, and the reason is in `describe`.

use integration::wait;

use super::{
    Web, answered_by, ask, cluster, path, rules, service, services, single, status, until_answered_by,
};
use crate::ingress::{apply, manifest, tls_secret};

#[test]
fn what_is_refused_leaves_what_was_served_and_says_why() {
    let cluster = single();
    let node = cluster.node(0);
    let _web = services(node, &["first", "second"]);
    let (first, second) =
        ([path("/", "Prefix", "first")], [path("/", "Prefix", "second"), path("/own", "Prefix", "second")]);
    let secret = tls_secret(node, "web-tls", "web.example");
    let tls = "  tls: [{hosts: [web.example], secretName: web-tls}]\n";
    let redirects = "ingress.vpod.io/ssl-redirect: 'false'";
    apply(node, &secret);
    apply(node, &rules("first", redirects, &[("web.example", &first)], tls));
    let verified = format!("--cacert {}/web-tls.crt", node.dir().display());
    wait::until("it is served with its certificate", || {
        ask(&cluster, &verified, "https://web.example/").succeeded().then_some(())
    });
    let still = || {
        assert_eq!(answered_by(&cluster, "", "http://web.example/"), "first");
        assert!(ask(&cluster, &verified, "https://web.example/").succeeded(), "the certificate stays");
    };
    // As they are applied.
    let bad_key = secret.replace("tls.key: ", "tls.key: AAAA");
    let impossible = [path("/a/../b", "Prefix", "first")];
    for (text, part) in [
        (bad_key, "data[tls.key]"),
        (rules("first", redirects, &[("web.example", &impossible)], tls), "must not contain '/../'"),
        (rules("first", redirects, &[("web.example/", &first)], tls), "spec.rules[0].host"),
        (
            rules("first", "ingress.vpod.io/proxy-body-size: many", &[("web.example", &first)], tls),
            "proxy-body-size",
        ),
    ] {
        let said = manifest(node, "apply", &text);
        assert!(!said.succeeded() && said.stderr.contains(part), "{part}: {said}");
        still();
    }
    // Beside others: the older one has the path, and the younger one what nobody else has.
    apply(
        node,
        &rules(
            "second",
            redirects,
            &[("web.example", &second)],
            "  tls: [{hosts: [web.example], secretName: missing}]\n",
        ),
    );
    until_answered_by(&cluster, "", "http://web.example/own", "second");
    still();
    let said = node.vpodctl("describe ingress second").ok();
    for part in ["default/first", "missing"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    // A service that is not there.
    apply(node, &rules("third", "", &[("third.example", &[path("/", "Prefix", "nothing")])], ""));
    wait::until("it is answered that there is nothing", || {
        matches!(&*status(&cluster, "http://third.example/"), "500" | "503").then_some(())
    });
    let said = node.vpodctl("describe ingress third").ok();
    assert!(said.contains("nothing"), "{said}");
    // What was in the way goes, and the younger one has it all.
    node.vpodctl("delete ingress first").ok();
    until_answered_by(&cluster, "", "http://web.example/", "second");
    wait::until("its problem is gone", || {
        (!node.vpodctl("describe ingress second").stdout.contains("default/first")).then_some(())
    });
    still_reached(&cluster, "http://web.example/own");
}

fn still_reached(cluster: &integration::Cluster, url: &str) {
    assert_eq!(answered_by(cluster, "", url), "second");
}

/// Private keys are nobody's business but root's and the ingress's.
#[test]
fn keys_are_in_no_log_no_description_and_no_file_of_others() {
    let cluster = cluster("");
    let node = cluster.node(0);
    let _web = Web::start(node, "web", "web");
    apply(node, &service("web", "web"));
    apply(node, &tls_secret(node, "web-tls", "web.example"));
    let tls = "  tls: [{hosts: [web.example], secretName: web-tls}]\n";
    apply(node, &rules("web", "", &[("web.example", &[path("/", "Prefix", "web")])], tls));
    let verified = format!("--cacert {}/web-tls.crt", node.dir().display());
    wait::until("the certificate is used", || {
        ask(&cluster, &verified, "https://web.example/").succeeded().then_some(())
    });
    let key = std::fs::read_to_string(node.dir().join("web-tls.key")).expect("openssl wrote it");
    let line = key.lines().nth(1).expect("a key has lines").to_owned();
    let encoded = node.sh(&format!("base64 -w0 {}/web-tls.key", node.dir().display())).ok();
    let encoded = encoded.get(40..100).expect("it is longer").to_owned();
    for node in cluster.nodes() {
        let said = [
            node.vpodctl("describe secret web-tls").ok(),
            node.vpodctl("describe ingress web").ok(),
            node.vpodctl("get ingress web -o yaml").ok(),
            node.vpodctl(&format!("logs -n kube-system vpod-ingress-{}", node.name())).ok(),
            node.log(),
        ];
        for text in said {
            assert!(!text.contains(&line) && !text.contains(&encoded), "a key is told:\n{text}");
        }
        // Whatever holds it on the disk is root's alone.
        let state = node.dir().join("state");
        let open = node
            .sh(&format!(
                "find {} -type f -perm /077 \\( -name '*.redb' -o -path '*routing*' \\)",
                state.display()
            ))
            .ok();
        assert_eq!(open, "", "files of the store are open to others");
        let everywhere =
            node.sh(&format!("grep -rlF {encoded} {} || true", node.dir().join("run").display())).ok();
        assert_eq!(everywhere, "", "it is nowhere else");
    }
}
