//! Objects that are wrong: refused whole or in part with a reason, and what was in force before stays.

use protocol::message::Kind;
use serde_json::json;

use super::*;
use crate::check;

fn one(host: &str, service: &str) -> Value {
    json!({ "rules": [rule(host, &[path("/", "Prefix", service)])] })
}

fn problems(report: &Report, name: &str) -> Vec<String> {
    let (_, verdict) = report.ingresses.iter().find(|(object, _)| object.name.as_str() == name).unwrap();
    verdict.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_older_of_two_ingresses_has_the_host_and_path_that_both_want() {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Ingresses, 2, &ingress("new", &json!({}), &one("a.example", "new")));
    put(&mut objects, Kind::Ingresses, 1, &ingress("old", &json!({}), &one("a.example", "old")));
    let (router, report) = built(&objects);
    assert_eq!(served(&router, &ask("a.example", "/")), "old");
    assert_eq!(problems(&report, "old"), [""; 0]);
    assert_eq!(
        problems(&report, "new"),
        [
            "spec.rules[0].http.paths[0]: a.example/ is served by ingress/default/old[0] already; this path is left out"
        ]
    );
    objects.remove(Kind::Ingresses, "default/old");
    assert_eq!(served(&built(&objects).0, &ask("a.example", "/")), "new");
}

#[test]
fn an_object_that_is_wrong_leaves_what_was_before() {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &json!({}), &one("a.example", "first")));
    for (spec, field) in [
        (
            json!({ "rules": [rule("a.example", &[path("foo", "Prefix", "x")])] }),
            "spec.rules[0].http.paths[0].path",
        ),
        (
            json!({ "rules": [rule("a.example", &[path("/a/../b", "Exact", "x")])] }),
            "must not contain '/../'",
        ),
        (json!({ "rules": [rule("a.example", &[path("/a", "Regex", "x")])] }), "pathType: Unsupported value"),
        (json!({ "rules": [rule("*.*.example", &[path("/", "Prefix", "x")])] }), "spec.rules[0].host"),
        (json!({ "rules": [rule("192.0.2.1", &[path("/", "Prefix", "x")])] }), "not an IP address"),
        (json!({ "rules": [rule("*", &[path("/", "Prefix", "x")])] }), "spec.rules[0].host"),
        (json!({}), "either `defaultBackend` or `rules` must be specified"),
        (json!({ "tls": [{ "hosts": ["UPPER"] }], "defaultBackend": backend("x") }), "spec.tls[0].hosts[0]"),
        (json!({ "defaultBackend": { "service": { "name": "x" } } }), "port name or number is required"),
        (json!({ "rules": 7 }), "Ingress cannot be read"),
    ] {
        let value = ingress("shop", &json!({}), &spec);
        let error = objects.put(Kind::Ingresses, &document(1, &value)).unwrap_err().to_string();
        assert!(error.contains(field), "{error} has no {field}");
        let (router, report) = built(&objects);
        assert_eq!(served(&router, &ask("a.example", "/")), "first");
        assert_eq!(report.refused[&("ingresses", "default/shop".to_owned())], error);
    }
    put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &json!({}), &one("a.example", "second")));
    let (router, report) = built(&objects);
    assert_eq!((served(&router, &ask("a.example", "/")).as_str(), report.refused.len()), ("second", 0));
}

#[test]
fn a_certificate_must_be_one_and_have_its_own_key() {
    let mut objects = Objects::default();
    let ((chain, key), (_, other)) = (pem(&["a.example"]), pem(&["a.example"]));
    put(&mut objects, Kind::Secrets, 1, &secret("tls", &chain, &key));
    for (chain, key, why) in [
        ("", key.as_str(), "data[tls.crt]: Invalid value: tls.crt has no PEM certificate"),
        ("no certificate", &key, "tls.crt has no PEM certificate"),
        (&chain, "no key", "data[tls.key]: Invalid value: tls.key has no PEM private key"),
        (&chain, &other, "tls.key is not the key of the first certificate in tls.crt"),
        (&chain.repeat(17), &key, "17 certificates; 16 at most"),
    ] {
        let error =
            objects.put(Kind::Secrets, &document(1, &secret("tls", chain, key))).unwrap_err().to_string();
        assert!(error.contains(why), "{error} has no {why}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
    let lacking = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": "tls" }, "data": {},
    });
    let error = objects.put(Kind::Secrets, &document(1, &lacking)).unwrap_err().to_string();
    assert!(error.contains("data[tls.crt]: Required value") && error.contains("data[tls.key]"), "{error}");
    let spec =
        json!({ "tls": [{ "hosts": ["a.example"], "secretName": "tls" }], "defaultBackend": backend("x") });
    put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &json!({}), &spec));
    assert!(built(&objects).0.certificate(443, Some("a.example")).is_some());
}

#[test]
fn a_missing_secret_is_said_and_all_else_is_served() {
    let mut objects = Objects::default();
    let spec = json!({
        "tls": [{ "hosts": ["a.example"], "secretName": "gone" }],
        "rules": [rule("a.example", &[path("/", "Prefix", "a")])],
    });
    put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &json!({}), &spec));
    let (router, report) = built(&objects);
    assert_eq!(served(&router, &ask("a.example", "/")), "a");
    assert_eq!(
        problems(&report, "shop"),
        ["spec.tls[0]: secret default/gone not found; the ingress's own certificate is used"]
    );
    let wanted: Vec<String> = objects.wanted_secrets().iter().map(ToString::to_string).collect();
    assert_eq!(wanted, ["default/gone"]);
}

#[test]
fn http_is_redirected_to_https_where_there_is_tls_unless_that_is_switched_off() {
    let tls = json!([{ "hosts": ["a.example"] }]);
    for (annotations, tls, expected) in [
        (json!({}), tls.clone(), Some(308)),
        (json!({}), json!([{}]), Some(308)),
        (json!({}), json!([]), None),
        (json!({ "nginx.ingress.kubernetes.io/ssl-redirect": "false" }), tls.clone(), None),
        (json!({ "ingress.vpod.io/force-ssl-redirect": "true" }), json!([]), Some(308)),
        (
            json!({ "nginx.ingress.kubernetes.io/ssl-redirect": "false", "ingress.vpod.io/ssl-redirect": "true" }),
            tls,
            Some(308),
        ),
    ] {
        let mut objects = Objects::default();
        let spec = json!({ "tls": tls, "rules": [rule("a.example", &[path("/", "Prefix", "a")])] });
        put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &annotations, &spec));
        let (router, _) = built(&objects);
        let plain = ask("a.example:80", "/x?y=z");
        let found = matched(&router, &plain).redirect(&plain.view);
        let location = "https://a.example/x?y=z".to_owned();
        assert_eq!(found, expected.map(|status| (status, location)), "{annotations}");
        let secure = ask("a.example", "/x").tls("a.example");
        assert_eq!(matched(&router, &secure).redirect(&secure.view), None);
    }
}

#[test]
fn annotations_are_read_by_both_prefixes_checked_and_warned_about() {
    let value = |key: &str, text: &str| ingress("shop", &json!({ key: text }), &one("a.example", "a"));
    let names = check::names(Kind::Ingresses).unwrap();
    for (key, good, bad) in [
        ("proxy-body-size", "8m", "8x"),
        ("limit-rps", "10", "-1"),
        ("whitelist-source-range", "192.0.2.0/24, 198.51.100.7", "192.0.2.0/33"),
        ("backend-protocol", "GRPC", "FCGI"),
        ("canary-weight", "30", "130"),
        ("rewrite-target", "/", "/$2"),
        ("upstream-hash-by", "$http_x_user", "$a$b"),
        ("affinity", "cookie", "ip"),
        ("proxy-read-timeout", "60", "soon"),
        ("enable-cors", "true", "yes"),
    ] {
        for prefix in ["ingress.vpod.io", "nginx.ingress.kubernetes.io"] {
            let key = format!("{prefix}/{key}");
            check::check(names, &value(&key, good)).unwrap_or_else(|error| panic!("{key} {good}: {error}"));
            let error = check::check(names, &value(&key, bad)).unwrap_err().to_string();
            assert!(error.contains(&format!("metadata.annotations[{key}]")), "{error}");
        }
    }
    let mut objects = Objects::default();
    let key = "nginx.ingress.kubernetes.io/configuration-snippet";
    put(&mut objects, Kind::Ingresses, 1, &value(key, "return 200;"));
    let (_, report) = built(&objects);
    assert_eq!(
        problems(&report, "shop"),
        [format!("metadata.annotations[{key}]: is not supported and does nothing")]
    );
}

#[test]
fn a_canary_takes_its_share_by_header_cookie_and_weight() {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Ingresses, 1, &ingress("main", &json!({}), &one("a.example", "main")));
    let annotations = json!({
        "nginx.ingress.kubernetes.io/canary": "true",
        "nginx.ingress.kubernetes.io/canary-by-header": "X-Canary",
        "nginx.ingress.kubernetes.io/canary-by-cookie": "canary",
        "nginx.ingress.kubernetes.io/canary-weight": "25",
    });
    put(&mut objects, Kind::Ingresses, 2, &ingress("canary", &annotations, &one("a.example", "canary")));
    put(&mut objects, Kind::Ingresses, 3, &ingress("lost", &annotations, &one("b.example", "canary")));
    let (router, report) = built(&objects);
    let to = |fields: &Vec<(String, String)>, draw: u64| {
        let ask = ask("a.example", "/").fields(fields);
        matched(&router, &ask)
            .backend(&ask.view, draw)
            .unwrap()
            .target
            .service()
            .unwrap()
            .service
            .name
            .to_string()
    };
    for (given, share) in [
        (fields(&[]), 25),
        (fields(&[("x-canary", "always")]), 100),
        (fields(&[("x-canary", "never")]), 0),
        (fields(&[("x-canary", "other")]), 25),
        (fields(&[("cookie", "canary=always")]), 100),
        (fields(&[("cookie", "canary=never")]), 0),
        (fields(&[("x-canary", "never"), ("cookie", "canary=always")]), 0),
    ] {
        let found = (0..100).filter(|draw| to(&given, *draw) == "canary").count();
        assert_eq!(found, share, "{given:?}");
    }
    assert!(problems(&report, "lost")[0].contains("there is no other ingress for b.example/"), "{report:?}");
    assert_eq!(served(&router, &ask("b.example", "/")), "404");
}

#[test]
fn only_what_is_led_to_is_wanted() {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &json!({}), &one("a.example", "web")));
    let foreign =
        json!({ "ingressClassName": "other", "rules": [rule("b.example", &[path("/", "Prefix", "no")])] });
    put(&mut objects, Kind::Ingresses, 1, &ingress("foreign", &json!({}), &foreign));
    let (router, _) = built(&objects);
    let services: Vec<String> = Objects::services(&router).iter().map(ToString::to_string).collect();
    assert_eq!(services, ["default/web"]);
}

#[test]
fn a_service_that_is_missing_is_said() {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Ingresses, 1, &ingress("shop", &json!({}), &one("a.example", "web")));
    for (state, expected) in [
        (ServiceState::NoService, "service default/web not found"),
        (ServiceState::NoPort, "service default/web has no TCP port 8080"),
    ] {
        let (_, report) = objects.build(&|_| state);
        assert!(problems(&report, "shop")[0].contains(expected), "{report:?}");
    }
}
