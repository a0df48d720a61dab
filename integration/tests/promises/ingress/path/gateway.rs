//! The core cases of the Gateway API's conformance tests for HTTPRoute, through the whole path; a test's name is that of the case. As
//! questions to the router alone they are in `routing/src/tests/gateway_api.rs`.

use std::collections::BTreeMap;

use integration::Cluster;
use serde_json::{Value, json};

use super::{Web, answered_by, ask, asked, services, single, status, until_answered_by};
use crate::ingress::{apply, json, tls_secret};

fn route(name: &str, hostnames: &Value, rules: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": name },
        "spec": { "parentRefs": [{ "name": "gw" }], "hostnames": hostnames, "rules": rules },
    })
}

fn to(matches: &Value, service: &str) -> Value {
    json!({ "matches": matches, "backendRefs": [{ "name": service, "port": 80 }] })
}

fn prefix(path: &str) -> Value {
    json!([{ "path": { "type": "PathPrefix", "value": path } }])
}

fn exact(path: &str) -> Value {
    json!([{ "path": { "type": "Exact", "value": path } }])
}

/// A gateway with listeners for all hosts, and with TLS for one, and services `v1`, `v2`, `v3`.
fn behind(listeners: &Value, routes: &[Value]) -> (Cluster, Web) {
    let cluster = single();
    let node = cluster.node(0);
    let web = services(node, &["v1", "v2", "v3"]);
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": { "name": "gw" },
        "spec": { "gatewayClassName": "vpod", "listeners": listeners },
    });
    apply(node, &tls_secret(node, "gw-tls", "tls.example"));
    let all = std::iter::once(&gateway).chain(routes).map(|value| format!("---\n{value}\n"));
    apply(node, &all.collect::<String>());
    (cluster, web)
}

fn http() -> Value {
    json!([{ "name": "http", "port": 80, "protocol": "HTTP" }])
}

/// Asks each, until the first is answered as it should be: then the routes are known.
fn answers(cluster: &Cluster, table: &[(&str, &str, &str)]) {
    for (words, url, expected) in table {
        until_answered_by(cluster, words, url, expected);
    }
    // And not just for a moment.
    for (words, url, expected) in table {
        assert_eq!(answered_by(cluster, words, url), *expected, "{words} {url}");
    }
}

#[test]
fn http_route_matching() {
    let header = |name: &str, value: &str| json!({ "name": name, "value": value });
    let routes = [
        route(
            "order",
            &json!(["order.example"]),
            &json!([
                to(&prefix("/match"), "v1"),
                to(&exact("/match/exact"), "v2"),
                to(&prefix("/match/prefix"), "v3"),
                to(&prefix("/match/exact"), "v3"),
            ]),
        ),
        route(
            "conditions",
            &json!(["conditions.example"]),
            &json!([
                to(&json!([{ "queryParams": [header("animal", "whale")] }]), "v1"),
                to(&json!([{ "headers": [header("Version", "two")] }]), "v2"),
                to(&json!([{ "method": "POST" }]), "v3"),
            ]),
        ),
        route("wild", &json!(["*.wild.example", "very.specific.com"]), &json!([to(&prefix("/"), "v1")])),
        route("specific", &json!(["one.wild.example"]), &json!([to(&prefix("/s2"), "v2")])),
    ];
    let (cluster, _web) = behind(&http(), &routes);
    answers(
        &cluster,
        &[
            ("", "http://order.example/match", "v1"),
            ("", "http://order.example/match/exact", "v2"),
            ("", "http://order.example/match/exact/one", "v3"),
            ("", "http://order.example/match/prefix/any", "v3"),
            ("", "http://order.example/matches", "404"),
            ("", "http://conditions.example/?animal=whale", "v1"),
            ("-H 'version: two'", "http://conditions.example/", "v2"),
            ("-X POST", "http://conditions.example/", "v3"),
            ("-X POST -H 'version: two'", "http://conditions.example/", "v3"),
            ("", "http://conditions.example/", "404"),
            ("", "http://a.wild.example/", "v1"),
            ("", "http://a.b.wild.example/", "v1"),
            ("", "http://wild.example/", "404"),
            ("", "http://very.specific.com/x", "v1"),
            ("", "http://one.wild.example/s2", "v2"),
            ("", "http://one.wild.example/", "v1"),
        ],
    );
    let shown = json(cluster.node(0), "get httproute order");
    let conditions =
        shown.pointer("/status/parents/0/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    assert!(conditions.len() >= 2 && conditions.iter().all(|one| one["status"] == "True"), "{shown:#}");
}

#[test]
fn http_route_https_listener_and_misdirected_requests() {
    let tls = |name: &str| json!({ "mode": "Terminate", "certificateRefs": [{ "name": name }] });
    let listeners = json!([
        { "name": "http", "port": 80, "protocol": "HTTP", "hostname": "plain.example" },
        { "name": "tls", "port": 443, "protocol": "HTTPS", "hostname": "tls.example", "tls": tls("gw-tls") },
        { "name": "other", "port": 443, "protocol": "HTTPS", "hostname": "other.example", "tls": tls("gw-tls") },
    ]);
    let (cluster, _web) = behind(&listeners, &[route("all", &json!([]), &json!([to(&prefix("/"), "v1")]))]);
    let verified = format!("--cacert {}/gw-tls.crt", cluster.node(0).dir().display());
    until_answered_by(&cluster, "", "http://plain.example/", "v1");
    assert_eq!(asked(&cluster, &verified, "https://tls.example/")["name"], "v1");
    for (url, words, expected) in [
        ("http://tls.example/", "", "404"),
        ("https://plain.example/", "", "404"),
        ("https://tls.example/", "-H 'Host: other.example'", "421"),
        ("https://tls.example/", "-H 'Host: third.example'", "404"),
    ] {
        assert_eq!(answered_by(&cluster, words, url), expected, "{url} {words}");
    }
}

#[test]
fn http_route_weight_and_invalid_backends() {
    let weighted = json!([{ "backendRefs": [
        { "name": "v1", "port": 80, "weight": 7 }, { "name": "v2", "port": 80, "weight": 3 }, { "name": "v3", "port": 80, "weight": 0 },
    ] }]);
    let missing = json!([{ "backendRefs": [{ "name": "missing", "port": 80 }] }]);
    let foreign = json!([{ "backendRefs": [{ "kind": "Nothing", "name": "v1", "port": 80 }] }]);
    let routes = [
        route("weighted", &json!(["weighted.example"]), &weighted),
        route("missing", &json!(["missing.example"]), &missing),
        route("foreign", &json!(["foreign.example"]), &foreign),
    ];
    let (cluster, _web) = behind(&http(), &routes);
    until_answered_by(&cluster, "", "http://weighted.example/", "v1");
    let said = ask(&cluster, "-w '\\n'", "http://weighted.example/[1-500]").ok();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for line in said.lines().filter(|line| !line.is_empty()) {
        let answer: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        *counts.entry(answer["name"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    // The case allows 5 percent; of 500 at random 40 are more than four standard deviations.
    let near =
        |name: &str, expected: u32| counts.get(name).copied().unwrap_or_default().abs_diff(expected) <= 50;
    assert!(near("v1", 350) && near("v2", 150) && !counts.contains_key("v3"), "{counts:?}");
    for host in ["missing", "foreign"] {
        assert_eq!(status(&cluster, &format!("http://{host}.example/")), "500", "{host}");
        let shown = json(cluster.node(0), &format!("get httproute {host}"));
        let conditions = shown
            .pointer("/status/parents/0/conditions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let resolved = conditions.iter().find(|one| one["type"] == "ResolvedRefs");
        let reason = if host == "missing" { "BackendNotFound" } else { "InvalidKind" };
        assert!(resolved.is_some_and(|one| one["status"] == "False" && one["reason"] == reason), "{shown:#}");
    }
}

#[test]
fn http_route_redirects_rewrites_header_modifiers_and_timeouts() {
    let filtered = |filters: &Value, path: &str| json!({ "matches": prefix(path), "filters": filters, "backendRefs": [{ "name": "v1", "port": 80 }] });
    let redirect = |to: &Value| json!([{ "type": "RequestRedirect", "requestRedirect": to }]);
    let redirected = |to: &Value, path: &str| json!({ "matches": prefix(path), "filters": redirect(to) });
    let rewritten = |to: &Value| json!([{ "type": "URLRewrite", "urlRewrite": to }]);
    let fields = |kind: &str, key: &str| {
        let edits = json!({ "set": [{ "name": "X-Set", "value": "set" }], "add": [{ "name": "X-Add", "value": "add" }], "remove": ["X-Remove"] });
        let mut filter = json!({ "type": kind });
        filter[key] = edits;
        json!([filter])
    };
    let rules = json!([
        redirected(&json!({ "hostname": "to.example", "statusCode": 301 }), "/host"),
        redirected(&json!({ "scheme": "https", "statusCode": 308 }), "/scheme"),
        redirected(&json!({ "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/to" }, "statusCode": 303 }), "/path"),
        redirected(&json!({ "path": { "type": "ReplaceFullPath", "replaceFullPath": "/full" }, "port": 8080 }), "/full-path"),
        filtered(&rewritten(&json!({ "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/one" } })), "/prefix/one"),
        filtered(&rewritten(&json!({ "hostname": "rewritten.example", "path": { "type": "ReplaceFullPath", "replaceFullPath": "/one" } })), "/full/one"),
        filtered(&fields("RequestHeaderModifier", "requestHeaderModifier"), "/request"),
        filtered(&fields("ResponseHeaderModifier", "responseHeaderModifier"), "/response"),
        { "matches": prefix("/slow"), "timeouts": { "request": "500ms" }, "backendRefs": [{ "name": "v1", "port": 80 }] },
    ]);
    let (cluster, _web) = behind(&http(), &[route("filters", &json!(["filters.example"]), &rules)]);
    until_answered_by(&cluster, "", "http://filters.example/response", "v1");
    for (path, expected) in [
        ("/host/x", "301 http://to.example/host/x"),
        ("/scheme?q=1", "308 https://filters.example/scheme?q=1"),
        ("/path/x", "303 http://filters.example/to/x"),
        ("/full-path/x", "302 http://filters.example:8080/full"),
    ] {
        let said = ask(
            &cluster,
            "-o /dev/null -w '%{http_code} %{redirect_url}'",
            &format!("http://filters.example{path}"),
        );
        assert_eq!(said.ok(), expected, "{path}");
    }
    for (path, to, host) in [
        ("/prefix/one/two?q=1", "/one/two?q=1", "filters.example"),
        ("/full/one/two", "/one", "rewritten.example"),
    ] {
        let said = asked(&cluster, "", &format!("http://filters.example{path}"));
        assert_eq!((said["path"].as_str(), said["host"].as_str()), (Some(to), Some(host)), "{path}");
    }
    let said = asked(
        &cluster,
        "-H 'X-Set: was' -H 'X-Add: was' -H 'X-Remove: was'",
        "http://filters.example/request",
    );
    let seen = &said["headers"];
    assert_eq!(
        (&seen["x-set"], &seen["x-add"], &seen["x-remove"]),
        (&"set".into(), &"was, add".into(), &Value::Null),
        "{said}"
    );
    let head =
        ask(&cluster, "-D - -o /dev/null", "http://filters.example/response").ok().to_ascii_lowercase();
    assert!(head.contains("x-set: set") && head.contains("x-add: add"), "{head}");
    assert_eq!(status(&cluster, "http://filters.example/slow/5000"), "504");
    assert_eq!(status(&cluster, "http://filters.example/slow/1"), "200");
}

/// Listeners at other ports than 80 and 443: the ingress opens them, and its service leads to them; with the listener they go.
#[test]
fn http_route_listener_port_matching() {
    let tls = json!({ "mode": "Terminate", "certificateRefs": [{ "name": "gw-tls" }] });
    let listeners = json!([
        { "name": "http", "port": 8080, "protocol": "HTTP" },
        { "name": "tls", "port": 8443, "protocol": "HTTPS", "hostname": "tls.example", "tls": tls },
        { "name": "taken", "port": 9153, "protocol": "HTTP" },
    ]);
    let at = |name: &str, section: &str, service: &str| {
        let mut route = route(name, &json!(["tls.example"]), &json!([to(&prefix("/"), service)]));
        route["spec"]["parentRefs"][0]["sectionName"] = section.into();
        route
    };
    let (cluster, _web) = behind(&listeners, &[at("plain", "http", "v1"), at("secret", "tls", "v2")]);
    let node = cluster.node(0);
    answers(
        &cluster,
        &[
            ("", "http://tls.example:8080/", "v1"),
            ("-k", "https://tls.example:8443/", "v2"),
            ("", "http://tls.example/", "404"),
        ],
    );
    let verified = format!("--cacert {}/gw-tls.crt", node.dir().display());
    assert_eq!(asked(&cluster, &verified, "https://tls.example:8443/")["name"], "v2");
    let ports = || {
        let service = json(node, "get service vpod-ingress -n kube-system");
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        ports.iter().filter_map(|port| port["port"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(ports(), [80, 443, 8080, 8443]);
    let shown = json(node, "get gateway gw");
    let taken = shown
        .pointer("/status/listeners/2/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    assert!(
        taken.iter().any(|one| one["type"] == "Accepted" && one["reason"] == "PortUnavailable"),
        "{shown:#}"
    );
    node.vpodctl("delete gateway gw").ok();
    integration::wait::until("its ports are closed", || (ports() == [80, 443]).then_some(()));
    integration::wait::until("nobody answers there", || {
        (status(&cluster, "http://tls.example:8080/") == "000").then_some(())
    });
}
