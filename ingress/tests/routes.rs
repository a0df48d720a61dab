//! HTTPRoutes on real connections: filters, retries, mirrors, and requests that came to the wrong listener.

mod common;

use std::net::SocketAddr;

use common::backend::Backend;
use common::client::{Raw, Reply, get};
use common::{ANNOTATION, Bed, annotations, eventually, object, rule, rules, secret};
use protocol::message::Kind;
use serde_json::{Value, json};

fn gateway(listeners: Value) -> protocol::feed::RouteChange {
    object(
        Kind::Gateways,
        "gw",
        &json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "gw", "namespace": "default"},
            "spec": {"gatewayClassName": "vpod", "listeners": listeners},
        }),
    )
}

fn route(name: &str, host: &str, rule: &Value) -> protocol::feed::RouteChange {
    object(
        Kind::HttpRoutes,
        name,
        &json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"parentRefs": [{"name": "gw"}], "hostnames": [host], "rules": [rule]},
        }),
    )
}

/// A bed where `a.example` goes to a backend by this rule; `web` is added as where it leads.
fn bed(rule: Value) -> (Bed, Backend) {
    bed_with(rule, &[])
}

fn bed_with(rule: Value, others: &[(&str, SocketAddr)]) -> (Bed, Backend) {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    for (name, address) in others {
        bed.service(name, &[*address]);
    }
    let mut rule = rule;
    if rule["filters"].as_array().is_none_or(|all| all.iter().all(|f| f["type"] != "RequestRedirect")) {
        rule["backendRefs"] = json!([{"name": "web", "port": 80}]);
    }
    bed.apply(vec![
        gateway(json!([{"name": "http", "port": 80, "protocol": "HTTP"}])),
        route("route", "a.example", &rule),
    ]);
    assert_eq!(bed.ingress.problems(), Vec::<String>::new());
    (bed, backend)
}

fn ask(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Reply {
    Raw::connect(address).request("GET", "a.example", path, fields, b"")
}

#[test]
fn request_fields_are_set_added_and_removed() {
    let (bed, _backend) =
        bed(json!({"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {
            "set": [{"name": "X-Set", "value": "new"}],
            "add": [{"name": "X-Add", "value": "second"}],
            "remove": ["X-Gone"],
        }}]}));
    let reply = ask(bed.http, "/", &[("X-Set", "old"), ("X-Add", "first"), ("X-Gone", "1")]);
    assert_eq!(reply.told("x-set").unwrap(), "new");
    assert_eq!(reply.told("x-gone"), None);
    let added: Vec<Value> = reply.json()["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f[0] == "x-add")
        .map(|f| f[1].clone())
        .collect();
    assert_eq!(added, ["first", "second"]);
}

/// A filter is no way to make head and body disagree.
#[test]
fn request_fields_cannot_say_where_the_body_ends() {
    let (bed, backend) = bed(json!({"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {
        "set": [{"name": "Content-Length", "value": "1"}, {"name": "Transfer-Encoding", "value": "chunked"}],
    }}]}));
    let mut client = Raw::connect(bed.http);
    let reply = client.request("GET", "a.example", "/", &[], b"");
    assert_eq!((reply.status, &reply.json()["body"]), (200, &json!(0)));
    assert_eq!(backend.count(), 1);
}

#[test]
fn response_fields_are_set_added_and_removed() {
    let (bed, _backend) =
        bed(json!({"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {
            "set": [{"name": "Server", "value": "other"}],
            "add": [{"name": "X-Add", "value": "1"}],
            "remove": ["X-Name"],
        }}]}));
    let reply = ask(bed.http, "/", &[]);
    assert_eq!(
        (reply.header("server"), reply.header("x-add"), reply.header("x-name")),
        (Some("other"), Some("1"), None)
    );
}

#[test]
fn redirects_say_where_to_go() {
    let filter = json!({"type": "RequestRedirect", "requestRedirect": {
        "scheme": "https", "hostname": "b.example", "statusCode": 301,
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
    }});
    let (bed, backend) =
        bed(json!({"matches": [{"path": {"type": "PathPrefix", "value": "/old"}}], "filters": [filter]}));
    let reply = ask(bed.http, "/old/page?x=y", &[]);
    assert_eq!((reply.status, reply.header("location")), (301, Some("https://b.example/new/page?x=y")));
    assert_eq!(backend.count(), 0);
}

#[test]
fn urls_are_rewritten() {
    let filter = json!({"type": "URLRewrite", "urlRewrite": {
        "hostname": "inner.example", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
    }});
    let (bed, _backend) =
        bed(json!({"matches": [{"path": {"type": "PathPrefix", "value": "/old"}}], "filters": [filter]}));
    let reply = ask(bed.http, "/old/page?x=y", &[]);
    assert_eq!(reply.json()["path"], "/new/page?x=y");
    assert_eq!(reply.told("host").unwrap(), "inner.example");
    assert_eq!(reply.told("x-forwarded-host").unwrap(), "a.example");
}

#[test]
fn a_mirror_sees_requests_and_is_not_heard() {
    let mirror = Backend::start("mirror");
    let filter =
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "mirror", "port": 80}}});
    let (bed, backend) = bed_with(json!({"filters": [filter]}), &[("mirror", mirror.address)]);
    for _ in 0..5 {
        assert_eq!(ask(bed.http, "/x", &[]).header("x-name"), Some("one"));
    }
    eventually("the mirror has seen them", || mirror.count() == 5);
    mirror.stop();
    assert_eq!(ask(bed.http, "/x", &[]).status, 200);
    assert_eq!(backend.count(), 6);
}

#[test]
fn responses_are_tried_again_where_the_rule_says_so() {
    let (bed, backend) = bed(json!({"retry": {"attempts": 2, "codes": [503]}}));
    assert_eq!(ask(bed.http, "/status/503", &[]).status, 503);
    assert_eq!(backend.count(), 3);
    assert_eq!(ask(bed.http, "/status/500", &[]).status, 500);
    assert_eq!(backend.count(), 4);
    let posted = Raw::connect(bed.http).request("POST", "a.example", "/status/503", &[], b"x");
    assert_eq!((posted.status, backend.count()), (503, 5));
}

#[test]
fn a_try_has_its_time_and_a_request_has_its_own() {
    let (bed, backend) = bed(json!({
        "timeouts": {"request": "10s", "backendRequest": "200ms"}, "retry": {"attempts": 2, "codes": [503]},
    }));
    assert_eq!(ask(bed.http, "/slow/60000", &[]).status, 504);
    assert_eq!(backend.count(), 3);
    let (bed, backend) = self::bed(json!({"timeouts": {"request": "200ms"}}));
    assert_eq!(ask(bed.http, "/slow/60000", &[]).status, 504);
    assert_eq!(backend.count(), 1);
}

#[test]
fn a_host_of_another_listener_is_misdirected() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    let listener = |name: &str| {
        json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": format!("{name}.example"),
            "tls": {"certificateRefs": [{"name": name}]}})
    };
    let mut changes = vec![gateway(json!([listener("a"), listener("b")]))];
    for name in ["a", "b"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec![format!("{name}.example")];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        changes.push(secret(name, &certificate.pem(), &key.serialize_pem()));
        changes.push(route(
            name,
            &format!("{name}.example"),
            &json!({"backendRefs": [{"name": "web", "port": 80}]}),
        ));
    }
    bed.apply(changes);
    assert_eq!(bed.ingress.problems(), Vec::<String>::new());
    let mut client = Raw::tls(bed.https, "a.example");
    assert_eq!(client.get("a.example", "/").status, 200);
    assert_eq!(client.get("b.example", "/").status, 421);
    assert_eq!(client.get("a.example", "/").status, 200);
}

#[test]
fn only_routes_of_classes_that_are_served_are() {
    let backend = Backend::start("one");
    for (class, name, expected) in
        [("vpod", "vpod", 200), ("vpod", "outer", 404), ("outer", "outer", 200), ("outer", "vpod", 404)]
    {
        let bed = Bed::with(|s| s.class = class.to_owned());
        bed.service("web", &[backend.address]);
        let spec = rules(&[rule("a.example", "/", "web")]);
        bed.apply(vec![common::ingress_of_class(name, "web", json!({}), spec)]);
        assert_eq!(get(bed.http, "a.example", "/").status, expected, "{name} where {class} is served");
    }
}

#[test]
fn addresses_may_be_let_in_and_kept_out() {
    let cases = [
        (json!({ format!("{ANNOTATION}/whitelist-source-range"): "127.0.0.0/8" }), 200),
        (json!({ format!("{ANNOTATION}/whitelist-source-range"): "10.0.0.0/8" }), 403),
        (json!({ format!("{ANNOTATION}/denylist-source-range"): "127.0.0.1/32" }), 403),
        (json!({ format!("{ANNOTATION}/denylist-source-range"): "10.0.0.0/8" }), 200),
    ];
    for (said, expected) in cases {
        let (bed, backend) = (Bed::new(), Backend::start("one"));
        bed.service("web", &[backend.address]);
        bed.route("web", said.clone(), rules(&[rule("a.example", "/", "web")]));
        assert_eq!(get(bed.http, "a.example", "/").status, expected, "{said}");
    }
}

#[test]
fn a_client_has_so_many_requests_under_way() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", annotations(&[("limit-connections", "2")]), rules(&[rule("a.example", "/", "web")]));
    let mut busy: Vec<Raw> = (0..2).map(|_| Raw::connect(bed.http)).collect();
    for client in &mut busy {
        client.send("GET /slow/2000 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    eventually("both are under way", || backend.count() == 2);
    assert_eq!(get(bed.http, "a.example", "/").status, 429);
    for client in &mut busy {
        assert_eq!(client.reply().status, 200);
    }
    eventually("there is room again", || get(bed.http, "a.example", "/").status == 200);
}
