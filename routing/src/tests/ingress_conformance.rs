//! The scenarios of kubernetes-sigs/ingress-controller-conformance, as far as they are about routing: `default_backend`, `host_rules`,
//! `ingress_class`, `path_rules`.

use protocol::message::Kind;
use serde_json::json;

use super::*;

fn path_rules() -> Router {
    let mut objects = Objects::default();
    let rules = [
        rule("exact-path-rules", &[path("/foo", "Exact", "foo-exact")]),
        rule(
            "prefix-path-rules",
            &[
                path("/foo", "Prefix", "foo-prefix"),
                path("/aaa/bbb", "Prefix", "aaa-slash-bbb-prefix"),
                path("/aaa", "Prefix", "aaa-prefix"),
            ],
        ),
        rule("mixed-path-rules", &[path("/foo", "Prefix", "foo-prefix"), path("/foo", "Exact", "foo-exact")]),
        rule(
            "trailing-slash-path-rules",
            &[
                path("/aaa/bbb/", "Prefix", "aaa-slash-bbb-slash-prefix"),
                path("/foo/", "Exact", "foo-slash-exact"),
            ],
        ),
    ];
    put(&mut objects, Kind::Ingresses, 1, &ingress("path-rules", &json!({}), &json!({ "rules": rules })));
    built(&objects).0
}

#[test]
fn path_rules_lead_where_the_conformance_feature_says() {
    let router = path_rules();
    let mut cases = 0;
    for line in include_str!("path_rules.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [host, path, expected] = words[..] else { panic!("{line}") };
        assert_eq!(served(&router, &ask(host, path)), expected, "{host}{path}");
        cases += 1;
    }
    assert_eq!(cases, 19);
}

#[test]
fn host_rules_lead_where_the_conformance_feature_says() {
    let mut objects = Objects::default();
    let (chain, key) = pem(&["foo.bar.com"]);
    put(&mut objects, Kind::Secrets, 1, &secret("conformance-tls", &chain, &key));
    let spec = json!({
        "tls": [{ "hosts": ["foo.bar.com"], "secretName": "conformance-tls" }],
        "rules": [
            rule("*.foo.com", &[path("/", "Prefix", "wildcard-foo-com")]),
            rule("foo.bar.com", &[path("/", "Prefix", "foo-bar-com")]),
        ],
    });
    put(&mut objects, Kind::Ingresses, 1, &ingress("host-rules", &json!({}), &spec));
    let (router, report) = built(&objects);
    assert_eq!(report.ingresses.values().next().unwrap().problems, []);
    for (host, expected) in [
        ("foo.bar.com", "foo-bar-com"),
        ("FOO.bar.com:80", "foo-bar-com"),
        ("subdomain.bar.com", "404"),
        ("bar.foo.com", "wildcard-foo-com"),
        ("baz.bar.foo.com", "404"),
        ("foo.com", "404"),
        (".foo.com", "404"),
    ] {
        assert_eq!(served(&router, &ask(host, "/")), expected, "{host}");
    }
    let certificate = |name| router.certificate(443, Some(name)).map(|found| found.secret.to_string());
    assert_eq!(certificate("foo.bar.com").as_deref(), Some("default/conformance-tls"));
    assert_eq!(certificate("FOO.BAR.com").as_deref(), Some("default/conformance-tls"));
    assert_eq!(certificate("bar.foo.com"), None);
    assert!(router.certificate(443, None).is_none());
}

#[test]
fn certificates_go_by_the_name_in_tls_and_routes_by_the_host() {
    let mut objects = Objects::default();
    let (chain, key) = pem(&["a.example"]);
    put(&mut objects, Kind::Secrets, 1, &secret("a", &chain, &key));
    let spec = json!({
        "tls": [{ "hosts": ["a.example"], "secretName": "a" }],
        "rules": [rule("a.example", &[path("/", "Prefix", "a")]), rule("b.example", &[path("/", "Prefix", "b")])],
    });
    put(&mut objects, Kind::Ingresses, 1, &ingress("both", &json!({}), &spec));
    let (router, _) = built(&objects);
    assert_eq!(served(&router, &ask("b.example", "/").tls("a.example")), "b");
}

#[test]
fn a_default_backend_serves_any_method_host_and_path() {
    let mut objects = Objects::default();
    let spec = json!({ "defaultBackend": backend("default-backend") });
    put(&mut objects, Kind::Ingresses, 1, &ingress("default-backend", &json!({}), &spec));
    let (router, _) = built(&objects);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        for (host, path) in [("any.example", "/"), ("", "/sub/path"), ("192.0.2.1", "*")] {
            assert_eq!(
                served(&router, &ask(host, path).method(method)),
                "default-backend",
                "{method} {host}{path}"
            );
        }
    }
}

#[test]
fn a_default_backend_is_for_what_no_rule_fits_first_that_of_the_hosts_own_ingress() {
    let mut objects = Objects::default();
    let of = |host: &str, service: &str| json!({ "defaultBackend": backend(service), "rules": [rule(host, &[path("/foo", "Prefix", "foo")])] });
    put(&mut objects, Kind::Ingresses, 1, &ingress("old", &json!({}), &of("old.example", "old-default")));
    put(&mut objects, Kind::Ingresses, 2, &ingress("new", &json!({}), &of("new.example", "new-default")));
    let (router, _) = built(&objects);
    assert_eq!(served(&router, &ask("old.example", "/foo")), "foo");
    assert_eq!(served(&router, &ask("old.example", "/bar")), "old-default");
    assert_eq!(served(&router, &ask("new.example", "/bar")), "new-default");
    assert_eq!(served(&router, &ask("other.example", "/bar")), "old-default");
}

#[test]
fn an_ingress_of_a_foreign_class_is_not_served() {
    let mut objects = Objects::default();
    let class = |name: &str, controller: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": { "name": name }, "spec": { "controller": controller },
        })
    };
    put(&mut objects, Kind::IngressClasses, 1, &class("other", "example.com/other"));
    put(&mut objects, Kind::IngressClasses, 1, &class("mine", "vpod.io/ingress"));
    for (index, name) in ["other", "mine", "vpod", "none"].into_iter().enumerate() {
        let host = format!("{name}.example");
        let spec = json!({ "ingressClassName": name, "rules": [rule(&host, &[path("/", "Prefix", name)])] });
        put(&mut objects, Kind::Ingresses, index as u64, &ingress(name, &json!({}), &spec));
    }
    let (router, report) = built(&objects);
    for (host, expected) in [("other", "404"), ("mine", "mine"), ("vpod", "vpod"), ("none", "404")] {
        assert_eq!(served(&router, &ask(&format!("{host}.example"), "/")), expected, "{host}");
    }
    let reported: Vec<String> = report.ingresses.keys().map(ToString::to_string).collect();
    assert_eq!(reported, ["default/mine", "default/vpod"]);
}

#[test]
fn of_several_default_classes_the_newest_counts_then_the_name() {
    let mut objects = Objects::default();
    assert_eq!(objects.default_class(), "vpod");
    let class = |name: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": { "name": name, "annotations": { "ingressclass.kubernetes.io/is-default-class": "true" } },
            "spec": { "controller": "vpod.io/ingress" },
        })
    };
    for (name, created, expected) in [("b", 5, "b"), ("c", 4, "b"), ("a", 5, "a"), ("d", 6, "d")] {
        put(&mut objects, Kind::IngressClasses, created, &class(name));
        assert_eq!(objects.default_class(), expected, "after {name}");
    }
}
