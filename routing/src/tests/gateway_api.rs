//! The core cases of the Gateway API's conformance tests for HTTPRoute, by their names.

use protocol::message::Kind;
use serde_json::json;

use super::*;
use crate::HeaderEdits;
use crate::gateway_api::VERSION;

fn gateway(listeners: &Value) -> Value {
    json!({
        "apiVersion": VERSION, "kind": "Gateway", "metadata": { "name": "gw", "namespace": "default" },
        "spec": { "gatewayClassName": "vpod", "listeners": listeners },
    })
}

fn http() -> Value {
    json!([{ "name": "http", "port": 80, "protocol": "HTTP" }])
}

fn route(name: &str, hostnames: &Value, rules: &Value) -> Value {
    json!({
        "apiVersion": VERSION, "kind": "HTTPRoute", "metadata": { "name": name, "namespace": "default" },
        "spec": { "parentRefs": [{ "name": "gw" }], "hostnames": hostnames, "rules": rules },
    })
}

fn to(matches: &Value, service: &str) -> Value {
    json!({ "matches": matches, "backendRefs": [{ "name": service, "port": 8080 }] })
}

/// Behind one listener for all hosts.
fn routed(routes: &[Value]) -> (Router, Report) {
    behind(&http(), routes)
}

fn behind(listeners: &Value, routes: &[Value]) -> (Router, Report) {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Gateways, 0, &gateway(listeners));
    for (created, route) in routes.iter().enumerate() {
        put(&mut objects, Kind::HttpRoutes, created as u64, route);
    }
    built(&objects)
}

fn accepted(report: &Report, name: &str) -> (bool, &'static str) {
    let (_, verdict) = report.routes.iter().find(|(object, _)| object.name.as_str() == name).unwrap();
    let found = verdict.parents[0].conditions.iter().find(|one| one.type_ == "Accepted").unwrap();
    (found.holds, found.reason)
}

#[test]
fn http_route_matching_and_across_routes() {
    let (router, _) = routed(&[
        route(
            "matching",
            &json!([]),
            &json!([
                to(
                    &json!([{ "path": { "type": "PathPrefix", "value": "/" } }, { "headers": [{ "name": "version", "value": "one" }] }]),
                    "v1"
                ),
                to(
                    &json!([{ "path": { "type": "PathPrefix", "value": "/v2" } }, { "headers": [{ "name": "version", "value": "two" }] }]),
                    "v2"
                ),
            ]),
        ),
        route(
            "part2",
            &json!(["example.com", "example.net"]),
            &json!([to(&json!([{ "path": { "value": "/v2" } }]), "part2")]),
        ),
    ]);
    let (one, two) = (fields(&[("version", "one")]), fields(&[("version", "two")]));
    assert_eq!(served(&router, &ask("h", "/")), "v1");
    assert_eq!(served(&router, &ask("h", "/example")), "v1");
    assert_eq!(served(&router, &ask("h", "/").fields(&one)), "v1");
    assert_eq!(served(&router, &ask("h", "/v2")), "v2");
    assert_eq!(served(&router, &ask("h", "/v2/")), "v2");
    assert_eq!(served(&router, &ask("h", "/v2example")), "v1");
    assert_eq!(served(&router, &ask("h", "/").fields(&two)), "v2");
    assert_eq!(served(&router, &ask("example.net", "/v2")), "part2");
    assert_eq!(served(&router, &ask("example.net", "/")), "v1");
}

#[test]
fn http_route_path_match_order() {
    let exact = |path: &str| json!([{ "path": { "type": "Exact", "value": path } }]);
    let prefix = |path: &str| json!([{ "path": { "type": "PathPrefix", "value": path } }]);
    let (router, _) = routed(&[route(
        "order",
        &json!([]),
        &json!([
            to(&prefix("/match"), "prefix-match"),
            to(&exact("/match/exact"), "exact"),
            to(&prefix("/match/prefix/one"), "prefix-one"),
            to(&prefix("/match/prefix"), "prefix"),
            to(&prefix("/match/exact"), "prefix-exact"),
            to(&exact("/match/prefix/one/any"), "exact-any"),
        ]),
    )]);
    for (path, expected) in [
        ("/match/exact", "exact"),
        ("/match/exact/one", "prefix-exact"),
        ("/match", "prefix-match"),
        ("/match/prefix/one/any", "exact-any"),
        ("/match/prefix/one/other", "prefix-one"),
        ("/match/prefix/any", "prefix"),
        ("/other", "404"),
    ] {
        assert_eq!(served(&router, &ask("h", path)), expected, "{path}");
    }
}

#[test]
fn http_route_header_method_and_query_matching_by_precedence() {
    let header = |name: &str, value: &str| json!({ "name": name, "value": value });
    let (router, _) = routed(&[route(
        "conditions",
        &json!([]),
        &json!([
            to(&json!([{ "queryParams": [header("animal", "whale")] }]), "query"),
            to(&json!([{ "headers": [header("Version", "one")] }]), "header"),
            to(
                &json!([{ "headers": [header("version", "one"), header("color", "red"), header("COLOR", "blue")] }]),
                "headers"
            ),
            to(&json!([{ "method": "POST" }]), "method"),
            to(&json!([{ "path": { "value": "/p" } }]), "path"),
            to(
                &json!([{ "path": { "value": "/p" }, "method": "PATCH", "headers": [header("version", "four")] }]),
                "all"
            ),
        ]),
    )]);
    let version = fields(&[("version", "one")]);
    let both = fields(&[("version", "one"), ("color", "red")]);
    let four = fields(&[("version", "four")]);
    assert_eq!(served(&router, &ask("h", "/?animal=whale")), "query");
    assert_eq!(served(&router, &ask("h", "/?animal=WHALE")), "404");
    assert_eq!(served(&router, &ask("h", "/?animal=whale").fields(&version)), "header");
    assert_eq!(served(&router, &ask("h", "/").fields(&both)), "headers");
    assert_eq!(served(&router, &ask("h", "/").fields(&both).method("POST")), "method");
    assert_eq!(served(&router, &ask("h", "/p").fields(&both).method("POST")), "path");
    assert_eq!(served(&router, &ask("h", "/p").fields(&four).method("PATCH")), "all");
}

#[test]
fn http_route_hostname_intersection() {
    let listeners = json!([
        { "name": "a", "hostname": "very.specific.com", "port": 80, "protocol": "HTTP" },
        { "name": "b", "hostname": "*.wildcard.io", "port": 80, "protocol": "HTTP" },
        { "name": "c", "hostname": "*.anotherwildcard.io", "port": 80, "protocol": "HTTP" },
    ]);
    let all = |service: &str| json!([to(&json!([]), service)]);
    let (router, report) = behind(
        &listeners,
        &[
            route("specific", &json!(["non.matching.com", "*.specific.com"]), &all("specific")),
            route(
                "wildcard",
                &json!(["foo.wildcard.io", "bar.wildcard.io", "foo.bar.wildcard.io"]),
                &all("wildcard"),
            ),
            route("same", &json!(["*.anotherwildcard.io"]), &all("same")),
            route("none", &json!(["specific.but.wrong.com", "wildcard.io"]), &all("none")),
        ],
    );
    for (host, expected) in [
        ("very.specific.com", "specific"),
        ("very.specific.com:1234", "specific"),
        ("non.matching.com", "404"),
        ("foo.specific.com", "404"),
        ("foo.wildcard.io", "wildcard"),
        ("foo.bar.wildcard.io", "wildcard"),
        ("baz.wildcard.io", "404"),
        ("wildcard.io", "404"),
        ("one.anotherwildcard.io", "same"),
        ("one.two.anotherwildcard.io", "same"),
        ("anotherwildcard.io", "404"),
        ("specific.but.wrong.com", "404"),
    ] {
        assert_eq!(served(&router, &ask(host, "/")), expected, "{host}");
    }
    assert_eq!(accepted(&report, "same"), (true, "Accepted"));
    assert_eq!(accepted(&report, "none"), (false, "NoMatchingListenerHostname"));
}

#[test]
fn http_route_listener_hostname_matching_and_port() {
    let listeners = json!([
        { "name": "exact", "hostname": "bar.com", "port": 80, "protocol": "HTTP" },
        { "name": "wild", "hostname": "*.bar.com", "port": 80, "protocol": "HTTP" },
        { "name": "any", "port": 80, "protocol": "HTTP" },
        { "name": "other", "port": 8080, "protocol": "HTTP" },
    ]);
    let at = |name: &str, section: &str| {
        let mut route = route(name, &json!([]), &json!([to(&json!([]), name)]));
        route["spec"]["parentRefs"] = json!([{ "name": "gw", "sectionName": section }]);
        route
    };
    let mut by_port = route("by-port", &json!([]), &json!([to(&json!([]), "by-port")]));
    by_port["spec"]["parentRefs"] = json!([{ "name": "gw", "port": 8080 }]);
    let (router, report) = behind(
        &listeners,
        &[at("v1", "exact"), at("v2", "wild"), at("v3", "any"), at("lost", "nowhere"), by_port],
    );
    for (host, port, expected) in [
        ("bar.com", 80, "v1"),
        ("foo.bar.com", 80, "v2"),
        ("baz.foo.bar.com", 80, "v2"),
        ("other.com", 80, "v3"),
        ("bar.com", 8080, "by-port"),
        ("bar.com", 81, "404"),
    ] {
        assert_eq!(served(&router, &ask(host, "/").port(port)), expected, "{host}:{port}");
    }
    assert_eq!(accepted(&report, "lost"), (false, "NoMatchingParent"));
    let gateway = report.gateways.values().next().unwrap();
    let attached: Vec<usize> = gateway.listeners.iter().map(|listener| listener.attached).collect();
    assert_eq!(attached, [1, 1, 1, 1]);
}

#[test]
fn http_route_https_listener_and_misdirected_requests() {
    let mut objects = Objects::default();
    for (name, host) in [("a", "a.example"), ("wild", "*.example")] {
        let (chain, key) = pem(&[host]);
        put(&mut objects, Kind::Secrets, 0, &secret(name, &chain, &key));
    }
    let https = |name: &str, host: &str, secret: &str| json!({ "name": name, "hostname": host, "port": 443, "protocol": "HTTPS", "tls": { "certificateRefs": [{ "name": secret }] } });
    let listeners = json!([
        https("a", "a.example", "a"),
        https("wild", "*.example", "wild"),
        https("lost", "b.test", "missing")
    ]);
    put(&mut objects, Kind::Gateways, 0, &gateway(&listeners));
    let all = json!([to(&json!([]), "web")]);
    put(&mut objects, Kind::HttpRoutes, 1, &route("web", &json!(["a.example", "b.example"]), &all));
    let (router, report) = built(&objects);
    for (sni, host, expected) in [
        ("a.example", "a.example", "web"),
        ("b.example", "b.example", "web"),
        ("a.example", "b.example", "421"),
        ("b.example", "a.example", "421"),
        ("c.example", "c.example", "404"),
        ("a.example", "unknown.test", "404"),
        ("b.test", "b.test", "404"),
    ] {
        assert_eq!(served(&router, &ask(host, "/").tls(sni)), expected, "{sni} {host}");
    }
    assert_eq!(router.certificate(443, Some("a.example")).unwrap().secret.name.as_str(), "a");
    assert_eq!(router.certificate(443, Some("x.y.example")).unwrap().secret.name.as_str(), "wild");
    assert!(router.certificate(443, Some("b.test")).is_none());
    let gateway = report.gateways.values().next().unwrap();
    let lost = gateway.listeners.iter().find(|listener| listener.name == "lost").unwrap();
    let resolved = lost.conditions.iter().find(|one| one.type_ == "ResolvedRefs").unwrap();
    assert_eq!((resolved.holds, resolved.reason), (false, "InvalidCertificateRef"));
}

#[test]
fn http_route_weight() {
    let backends = |weights: &[(&str, u32)]| {
        let refs =
            weights.iter().map(|(name, weight)| json!({ "name": name, "port": 8080, "weight": weight }));
        json!([{ "backendRefs": refs.collect::<Vec<_>>() }])
    };
    let shares = |weights: &[(&str, u32)]| {
        let (router, _) = routed(&[route("weight", &json!([]), &backends(weights))]);
        let ask = ask("h", "/");
        let matched = matched(&router, &ask);
        let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let draws = (0..total.max(1)).map(|draw| matched.backend(&ask.view, draw << 32));
        let mut found = std::collections::BTreeMap::new();
        for backend in draws {
            let name = backend.map_or_else(
                || "500".to_owned(),
                |one| one.target.service().unwrap().service.name.to_string(),
            );
            *found.entry(name).or_insert(0u32) += 1;
        }
        found.into_iter().collect::<Vec<_>>()
    };
    let owned = |all: &[(&str, u32)]| {
        all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Vec<_>>()
    };
    assert_eq!(shares(&[("v1", 70), ("v2", 30), ("v3", 0)]), owned(&[("v1", 70), ("v2", 30)]));
    assert_eq!(shares(&[("v1", 0)]), owned(&[("500", 1)]));
    assert_eq!(shares(&[]), owned(&[("500", 1)]));
}

#[test]
fn http_route_invalid_backends_are_500_for_their_share() {
    let backend = |extra: Value| {
        let mut backend = json!({ "name": "web", "port": 8080 });
        backend.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!([{ "backendRefs": [backend] }])
    };
    for (extra, reason) in [
        (json!({ "group": "unknown.example.com", "kind": "NonExistent" }), "InvalidKind"),
        (json!({ "namespace": "other" }), "RefNotPermitted"),
    ] {
        let (router, report) = routed(&[route("invalid", &json!([]), &backend(extra))]);
        assert_eq!(served(&router, &ask("h", "/")), "500");
        assert_eq!(accepted(&report, "invalid"), (true, "Accepted"));
        let verdict = report.routes.values().next().unwrap();
        assert_eq!(verdict.parents[0].conditions[1].reason, reason);
    }
    let mut objects = Objects::default();
    put(&mut objects, Kind::Gateways, 0, &gateway(&http()));
    put(&mut objects, Kind::HttpRoutes, 1, &route("missing", &json!([]), &backend(json!({}))));
    let (_, report) = objects.build(&|_| ServiceState::NoService);
    assert_eq!(report.routes.values().next().unwrap().parents[0].conditions[1].reason, "BackendNotFound");
}

#[test]
fn http_route_filters() {
    let rules = json!([
        { "matches": [{ "path": { "value": "/mod" } }], "backendRefs": [{ "name": "web", "port": 8080 }], "filters": [
            { "type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{ "name": "X-Set", "value": "1" }], "add": [{ "name": "X-Add", "value": "2" }], "remove": ["X-Remove"] } },
            { "type": "ResponseHeaderModifier", "responseHeaderModifier": { "set": [{ "name": "X-Out", "value": "3" }] } },
            { "type": "RequestMirror", "requestMirror": { "backendRef": { "name": "copy", "port": 8080 } } },
            { "type": "RequestMirror", "requestMirror": { "backendRef": { "name": "some", "port": 8080 }, "percent": 20 } },
            { "type": "URLRewrite", "urlRewrite": { "hostname": "one.example", "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/" } } },
        ] },
        { "matches": [{ "path": { "value": "/go" } }], "filters": [
            { "type": "RequestRedirect", "requestRedirect": { "hostname": "example.org", "statusCode": 301 } } ] },
        { "matches": [{ "path": { "value": "/see" } }], "filters": [
            { "type": "RequestRedirect", "requestRedirect": { "scheme": "https", "statusCode": 303,
                "path": { "type": "ReplaceFullPath", "replaceFullPath": "/there" } } } ] },
    ]);
    let (router, _) = routed(&[route("filters", &json!([]), &rules)]);
    let ask_mod = ask("h", "/mod/x?q=1");
    let found = matched(&router, &ask_mod);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        found.rule.request_headers,
        HeaderEdits {
            set: vec![pair("x-set", "1")],
            add: vec![pair("x-add", "2")],
            remove: vec!["x-remove".to_owned()]
        }
    );
    assert_eq!(found.rule.response_headers.set, [pair("x-out", "3")]);
    assert_eq!(found.path_and_query(&ask_mod.view).as_deref(), Some("/x?q=1"));
    assert_eq!(found.host(), Some("one.example"));
    let copies: Vec<usize> = found
        .rule
        .mirrors
        .iter()
        .map(|mirror| (0..100).filter(|draw| mirror.is_drawn(*draw)).count())
        .collect();
    assert_eq!(copies, [100, 20]);
    let go = ask("h", "/go/x?q=1");
    assert_eq!(
        matched(&router, &go).redirect(&go.view),
        Some((301, "http://example.org/go/x?q=1".to_owned()))
    );
    let see = ask("h", "/see");
    assert_eq!(matched(&router, &see).redirect(&see.view), Some((303, "https://h/there".to_owned())));
}

#[test]
fn http_route_timeouts_retry_and_cors() {
    let rules = json!([{
        "backendRefs": [{ "name": "web", "port": 8080 }],
        "timeouts": { "request": "1m30s", "backendRequest": "0s" },
        "retry": { "codes": [500, 503], "attempts": 3, "backoff": "100ms" },
        "filters": [{ "type": "CORS", "cors": { "allowOrigins": ["https://*.example.com"], "allowMethods": ["GET"], "maxAge": 3600 } }],
    }]);
    let (router, _) = routed(&[route("policy", &json!([]), &rules)]);
    let policy = &matched(&router, &ask("h", "/")).rule.policy;
    assert_eq!(policy.timeouts.request.unwrap().as_secs(), 90);
    assert!(policy.timeouts.backend_request.unwrap().is_zero());
    assert_eq!(policy.retry.as_ref().unwrap().codes, [500, 503]);
    assert_eq!(policy.cors.as_ref().unwrap().max_age_seconds, Some(3600));
}

#[test]
fn http_route_is_refused_with_the_field_that_is_wrong() {
    let names = crate::check::names(Kind::HttpRoutes).unwrap();
    let redirect = json!({ "type": "RequestRedirect", "requestRedirect": { "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/x" } } });
    for (rule, field) in [
        (json!({ "matches": [{ "path": { "value": "no" } }] }), "spec.rules[0].matches[0].path.value"),
        (json!({ "matches": [{ "method": "get" }] }), "spec.rules[0].matches[0].method"),
        (
            json!({ "matches": [{ "headers": [{ "name": "a b", "value": "" }] }] }),
            "spec.rules[0].matches[0].headers[0].name",
        ),
        (json!({ "backendRefs": [{ "name": "web" }] }), "spec.rules[0].backendRefs[0].port: Required value"),
        (
            json!({ "backendRefs": [{ "name": "web", "port": 1, "weight": -1 }] }),
            "spec.rules[0].backendRefs[0].weight",
        ),
        (json!({ "timeouts": { "request": "1x" } }), "spec.rules[0].timeouts.request"),
        (json!({ "timeouts": { "request": "1s", "backendRequest": "2s" } }), "cannot be longer"),
        (
            json!({ "filters": [redirect], "matches": [{ "path": { "type": "Exact", "value": "/a" } }] }),
            "exactly one PathPrefix",
        ),
        (json!({ "filters": [{ "type": "URLRewrite" }] }), "must be specified for"),
        (json!({ "filters": [{ "type": "ExtensionRef" }] }), "Unsupported value"),
        (
            json!({ "filters": [{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": [{ "name": "a", "value": "x\r\ny: z" }] } }] }),
            "visible characters",
        ),
        (
            json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": { "statusCode": 304 } }] }),
            "statusCode",
        ),
        (json!({ "nosuch": 1 }), "unknown field `nosuch`"),
    ] {
        let error =
            crate::check::check(names, &route("bad", &json!([]), &json!([rule]))).unwrap_err().to_string();
        assert!(error.contains(field), "{error} has no {field}");
    }
}

#[test]
fn regular_expressions_refuse_the_route_as_a_whole() {
    let regex = json!([{ "path": { "type": "RegularExpression", "value": "/a.*" } }]);
    let rules = json!([to(&json!([]), "web"), to(&regex, "web")]);
    let (router, report) = routed(&[route("regex", &json!([]), &rules)]);
    assert_eq!(served(&router, &ask("h", "/")), "404");
    assert_eq!(accepted(&report, "regex"), (false, "UnsupportedValue"));
}

#[test]
fn listeners_that_contradict_each_other_are_conflicted() {
    let mut objects = Objects::default();
    let listeners = json!([{ "name": "wrong", "port": 443, "protocol": "HTTP" }, { "name": "tcp", "port": 9000, "protocol": "TCP" }]);
    put(&mut objects, Kind::Gateways, 0, &gateway(&listeners));
    let (router, report) = built(&objects);
    assert_eq!(router.listeners().count(), 0);
    let gateway = report.gateways.values().next().unwrap();
    let reasons: Vec<&str> = gateway.listeners.iter().map(|listener| listener.conditions[0].reason).collect();
    assert_eq!(reasons, ["ProtocolConflict", "UnsupportedProtocol"]);
    assert!(!gateway.conditions[1].holds);
}

#[test]
fn ingress_and_http_route_meet_in_one_order() {
    let mut objects = Objects::default();
    put(&mut objects, Kind::Gateways, 0, &gateway(&http()));
    let rules = json!([to(&json!([{ "path": { "value": "/a" } }]), "route")]);
    put(&mut objects, Kind::HttpRoutes, 5, &route("route", &json!(["a.example"]), &rules));
    let spec = json!({ "rules": [rule("a.example", &[path("/", "Prefix", "ingress"), path("/a/b", "Prefix", "deeper")])] });
    put(&mut objects, Kind::Ingresses, 1, &ingress("ingress", &json!({}), &spec));
    let (router, _) = built(&objects);
    for (path, expected) in [("/", "ingress"), ("/a", "route"), ("/a/b", "deeper"), ("/a/c", "route")] {
        assert_eq!(served(&router, &ask("a.example", path)), expected, "{path}");
    }
    let found = matched(&router, &ask("a.example", "/a"));
    assert!(matches!(found.rule.backends[0].target, Target::Service(_)));
}
