//! The features of kubernetes-sigs/ingress-controller-conformance, by their names and with their values, through the whole path. As
//! questions to the router alone they are in `routing/src/tests/ingress_conformance.rs`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Web, answered_by, ask, asked, path, rules, service, services, single, status, until_answered_by,
};
use crate::ingress::{apply, json, tls_secret};

/// `default_backend.feature`.
#[test]
fn default_backend() {
    let cluster = single();
    let node = cluster.node(0);
    let _web = Web::start(node, "default-backend", "web");
    apply(node, &service("default-backend", "web"));
    let spec = "  defaultBackend: {service: {name: default-backend, port: {number: 80}}}\n";
    apply(node, &rules("default-backend", "", &[], spec));
    until_answered_by(&cluster, "", "http://my-host/", "default-backend");
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        for url in ["http://my-host/sub-path", "http://another-host/", "http://192.0.2.99/x?y=z"] {
            let ran = ask(&cluster, &format!("-i -X {method} -H 'User-Agent: conformance/1'"), url).ok();
            let (head, body) = ran.split_once("\r\n\r\n").unwrap_or((&ran, ""));
            assert!(head.starts_with("HTTP/1.1 200 "), "{method} {url}: {head}");
            let fields: BTreeSet<String> = head
                .lines()
                .skip(1)
                .filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
                .collect();
            for field in ["content-length", "content-type", "date", "server"] {
                assert!(fields.contains(field), "no {field}: {head}");
            }
            let said: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
            let place =
                url.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| rest.split_at(at)));
            let (host, path) = place.expect("a URL has a path");
            assert_eq!(
                (
                    &said["method"],
                    &said["path"],
                    &said["host"],
                    &said["protocol"],
                    &said["headers"]["user-agent"]
                ),
                (&method.into(), &path.into(), &host.into(), &"HTTP/1.1".into(), &"conformance/1".into())
            );
        }
    }
}

/// `host_rules.feature`.
#[test]
fn host_rules() {
    let cluster = single();
    let node = cluster.node(0);
    let names = ["wildcard-foo-com", "foo-bar-com"];
    let _web = services(node, &names);
    apply(node, &tls_secret(node, "conformance-tls", "foo.bar.com"));
    let [wildcard, plain] = names.map(|name| [path("/", "Prefix", name)]);
    let tls = "  tls: [{hosts: [foo.bar.com], secretName: conformance-tls}]\n";
    let hosts: [(&str, &[String]); 2] = [("*.foo.com", &wildcard), ("foo.bar.com", &plain)];
    apply(node, &rules("host-rules", "ingress.vpod.io/ssl-redirect: 'false'", &hosts, tls));
    until_answered_by(&cluster, "", "http://foo.bar.com/", "foo-bar-com");
    until_answered_by(&cluster, "", "http://bar.foo.com/", "wildcard-foo-com");
    for (host, expected) in [
        ("foo.bar.com", "foo-bar-com"),
        ("FOO.BAR.COM", "foo-bar-com"),
        ("subdomain.bar.com", "404"),
        ("bar.foo.com", "wildcard-foo-com"),
        ("baz.bar.foo.com", "404"),
        ("foo.com", "404"),
    ] {
        for scheme in ["http", "https"] {
            assert_eq!(
                answered_by(&cluster, "", &format!("{scheme}://{host}/")),
                expected,
                "{scheme} {host}"
            );
        }
    }
    // The certificate of the host, proved.
    let words = format!("--cacert {}/conformance-tls.crt", node.dir().display());
    assert_eq!(asked(&cluster, &words, "https://foo.bar.com/")["name"], "foo-bar-com");
    assert!(!ask(&cluster, &words, "https://bar.foo.com/").succeeded());
}

/// `ingress_class.feature`.
#[test]
fn ingress_class() {
    let cluster = single();
    let node = cluster.node(0);
    let _web = services(node, &["web"]);
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\nspec: {controller: example.com/other}\n";
    let paths = [path("/", "Prefix", "web")];
    apply(node, class);
    apply(node, &rules("foreign", "", &[("foreign.example", &paths)], "  ingressClassName: other\n"));
    apply(node, &rules("own", "", &[("own.example", &paths)], "  ingressClassName: vpod\n"));
    apply(node, &rules("nobodys", "", &[("nobodys.example", &paths)], "  ingressClassName: missing\n"));
    until_answered_by(&cluster, "", "http://own.example/", "web");
    let address = |name: &str| {
        json(node, &format!("get ingress {name}")).pointer("/status/loadBalancer/ingress/0/ip").cloned()
    };
    assert_eq!(address("own"), Some(super::ADDRESS.into()));
    for name in ["foreign", "nobodys"] {
        assert_eq!(address(name), None, "{name}");
        assert_eq!(status(&cluster, &format!("http://{name}.example/")), "404");
    }
}

/// `load_balancing.feature`.
#[test]
fn load_balancing() {
    let cluster = single();
    let node = cluster.node(0);
    let names: Vec<String> = (0..10).map(|number| format!("echo-{number}")).collect();
    let _webs: Vec<Web> = names.iter().map(|name| Web::start(node, name, "echo")).collect();
    apply(node, &service("echo-service", "echo"));
    apply(
        node,
        &rules("load-balancing", "", &[("load-balancing", &[path("/", "Prefix", "echo-service")])], ""),
    );
    let expected: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    integration::wait::until("a hundred requests reach all ten", || {
        let said = ask(&cluster, "-w '\\n'", "http://load-balancing/[1-100]").stdout;
        let answers: Vec<String> = said
            .lines()
            .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["name"].as_str()?.to_owned()))
            .collect();
        let seen: BTreeSet<&str> = answers.iter().map(String::as_str).collect();
        (answers.len() == 100 && seen == expected).then_some(())
    });
}

/// The router's own tests ask the same.
const PATH_RULES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../routing/src/tests/path_rules.txt"));

/// `path_rules.feature`.
#[test]
fn path_rules() {
    let cluster = single();
    let node = cluster.node(0);
    let _web = services(
        node,
        &[
            "foo-exact",
            "foo-prefix",
            "aaa-slash-bbb-prefix",
            "aaa-prefix",
            "aaa-slash-bbb-slash-prefix",
            "foo-slash-exact",
        ],
    );
    let exact = [path("/foo", "Exact", "foo-exact")];
    let prefix = [
        path("/foo", "Prefix", "foo-prefix"),
        path("/aaa/bbb", "Prefix", "aaa-slash-bbb-prefix"),
        path("/aaa", "Prefix", "aaa-prefix"),
    ];
    let mixed = [path("/foo", "Prefix", "foo-prefix"), path("/foo", "Exact", "foo-exact")];
    let trailing = [
        path("/aaa/bbb/", "Prefix", "aaa-slash-bbb-slash-prefix"),
        path("/foo/", "Exact", "foo-slash-exact"),
    ];
    let hosts: [(&str, &[String]); 4] = [
        ("exact-path-rules", &exact),
        ("prefix-path-rules", &prefix),
        ("mixed-path-rules", &mixed),
        ("trailing-slash-path-rules", &trailing),
    ];
    apply(node, &rules("path-rules", "", &hosts, ""));
    until_answered_by(&cluster, "", "http://trailing-slash-path-rules/foo/", "foo-slash-exact");
    for line in PATH_RULES.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [host, path, expected] = words[..] else { panic!("{line}") };
        until_answered_by(&cluster, "", &format!("http://{host}{path}"), expected);
    }
}
