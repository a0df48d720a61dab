//! Objects as Kubernetes writes them, and what is wrong with some.

use integration::TestNode;
use nix::unistd::Gid;
use protocol::message::Kind;

use super::{ADDRESS, INGRESS_SERVICE, apply, ingress, json, manifest, on_both_stores, rows, tls_secret};

const GATEWAY: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\n\
                       spec: {gatewayClassName: vpod, listeners: [{name: http, port: 80, protocol: HTTP}]}\n";
const ROUTE: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\nspec:\n  \
                     parentRefs: [{name: gw}]\n  hostnames: [b.example]\n  \
                     rules: [{backendRefs: [{name: web, port: 80}]}]\n";
const CLASS: &str = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\n\
                     spec: {controller: example.com/other}\n";
const WEB: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n\
                   ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web, labels: {kubernetes.io/service-name: web}}\n\
                   addressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.244.0.77]}]\n";

#[test]
fn every_kind_is_applied_shown_described_and_deleted() {
    on_both_stores(|node| {
        let tls = "  tls: [{hosts: [a.example], secretName: a-tls}]\n";
        let all = [
            WEB.to_owned(),
            INGRESS_SERVICE.to_owned(),
            tls_secret(node, "a-tls", "a.example"),
            CLASS.to_owned(),
            ingress("shop", "a.example", "web", tls),
            ingress("foreign", "f.example", "web", "  ingressClassName: other\n"),
            GATEWAY.to_owned(),
            ROUTE.to_owned(),
        ]
        .concat();
        assert!(apply(node, &all).lines().all(|line| line.ends_with(" created")));
        assert!(apply(node, &all).lines().all(|line| line.ends_with(" unchanged")));
        tables(node);
        descriptions(node);
        let yaml = node.vpodctl("get ingress shop -o yaml").ok();
        assert!(apply(node, &yaml).ends_with(" unchanged\n"), "what is shown can be applied: {yaml}");
        let gone = manifest(node, "delete", &all).ok();
        assert_eq!(gone.lines().count(), all.matches("kind: ").count(), "{gone}");
        for kind in ["ingresses", "secrets", "gateways", "httproutes"] {
            assert_eq!(
                json(node, &format!("get {kind} -A"))["items"].as_array().map(Vec::len),
                Some(0),
                "{kind}"
            );
        }
    });
}

fn tables(node: &TestNode) {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let table = |kind: &str| rows(&node.vpodctl(&format!("get {kind}")).ok());
    assert_eq!(
        table("ing"),
        [
            row(&["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS"]),
            // Of a foreign class: no address.
            row(&["foreign", "other", "f.example", "80"]),
            row(&["shop", "vpod", "a.example", ADDRESS, "80, 443"]),
        ]
    );
    assert_eq!(table("secrets")[1], row(&["a-tls", "kubernetes.io/tls", "2"]));
    assert_eq!(table("gateways")[1], row(&["gw", "vpod", ADDRESS, "True"]));
    assert_eq!(table("httproutes")[1], row(&["web", "b.example"]));
    assert_eq!(table("gatewayclasses")[1], row(&["vpod", "vpod.io/gateway", "True"]));
    let classes = table("ingressclasses");
    assert!(classes.contains(&row(&["other", "example.com/other", "<none>"])), "{classes:?}");
    assert!(classes.contains(&row(&["vpod", "vpod.io/ingress", "<none>"])), "{classes:?}");
    let shop = json(node, "get ingress shop");
    assert_eq!(shop["spec"]["ingressClassName"], "vpod", "the default class is written: {shop}");
    let route = json(node, "get httproute web");
    let conditions = route.pointer("/status/parents/0/conditions").expect("it has a parent");
    assert!(
        conditions.as_array().is_some_and(|all| all.iter().all(|one| one["status"] == "True")),
        "{route}"
    );
    assert_eq!(json(node, "get gateway gw")["status"]["listeners"][0]["attachedRoutes"], 1);
}

fn descriptions(node: &TestNode) {
    let text = node.vpodctl("describe ingress shop").ok();
    for part in ["a-tls terminates a.example", "/ (Prefix)  web:80 (10.244.0.77:8080)", ADDRESS] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("Problems"), "{text}");
    let text = node.vpodctl("describe secret a-tls").ok();
    assert!(text.contains("tls.key: ") && text.contains(" bytes") && !text.contains("LS0t"), "{text}");
    let text = node.vpodctl("describe gateway gw").ok();
    assert!(text.contains("Listener http (1 routes):") && text.contains("Programmed"), "{text}");
    let text = node.vpodctl("describe httproute web").ok();
    assert!(text.contains("At gw:") && text.contains("ResolvedRefs"), "{text}");
}

#[test]
fn a_wrong_object_is_refused_with_its_field_and_what_was_there_stays() {
    on_both_stores(|node| {
        apply(
            node,
            &[tls_secret(node, "a-tls", "a.example"), ingress("shop", "a.example", "web", "")].concat(),
        );
        let before = (json(node, "get ingress shop"), json(node, "get secret a-tls"));
        let other_key = tls_secret(node, "b-tls", "b.example");
        let (_, key) = other_key.split_once("tls.key: ").expect("it has a key");
        let swapped = tls_secret(node, "c-tls", "a.example").replace("c-tls", "a-tls");
        let (head, _) = swapped.split_once("tls.key: ").expect("it has a key");
        let bad = |from: &str, to: &str| ingress("shop", "a.example", "web", "").replace(from, to);
        for (text, field) in [
            (
                bad("path: /", "path: foo"),
                "spec.rules[0].http.paths[0].path: Invalid value: \"foo\": must be an absolute path",
            ),
            (bad("path: /", "path: /a/../b"), "must not contain '/../'"),
            (
                bad("pathType: Prefix", "pathType: Regex"),
                "spec.rules[0].http.paths[0].pathType: Unsupported value",
            ),
            (bad("a.example", "'*.*.example'"), "spec.rules[0].host: Invalid value"),
            (bad("a.example", "192.0.2.1"), "must be a DNS name, not an IP address"),
            (
                bad("port: {number: 80}", "port: {number: 80000}"),
                "backend.service.port.number: Invalid value",
            ),
            (
                bad(
                    "metadata: {name: shop}",
                    "metadata: {name: shop, annotations: {ingress.vpod.io/limit-rps: many}}",
                ),
                "metadata.annotations[ingress.vpod.io/limit-rps]",
            ),
            (format!("{head}tls.key: {key}"), "tls.key is not the key of the first certificate"),
            (swapped.replace("tls.crt: ", "tls.crt: AAAA"), "data[tls.crt]"),
            (GATEWAY.replace("port: 80", "port: 0"), "spec.listeners[0].port: Invalid value"),
            (ROUTE.replace("port: 80", "port: 80, weight: -1"), "spec.rules[0].backendRefs[0].weight"),
            (ROUTE.replace("hostnames", "hostname"), "unknown field `hostname`"),
        ] {
            let error = manifest(node, "apply", &text).fails(1);
            assert!(error.contains(field), "no {field:?} in {error}");
        }
        assert_eq!((json(node, "get ingress shop"), json(node, "get secret a-tls")), before);
    });
}

#[test]
fn what_is_not_in_force_is_said_by_describe() {
    on_both_stores(|node| {
        let old =
            ingress("a-old", "a.example", "missing", "  tls: [{hosts: [a.example], secretName: gone}]\n");
        apply(node, &old);
        // Ages are in seconds; of the same age the name decides.
        apply(node, &ingress("b-new", "a.example", "missing", ""));
        let text = node.vpodctl("describe ingress b-new").ok();
        assert!(text.contains("is served by ingress/default/a-old[0] already"), "{text}");
        let text = node.vpodctl("describe ingress a-old").ok();
        for part in [
            "secret default/gone not found",
            "service default/missing not found",
            "services \"missing\" not found",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    });
}

#[test]
fn secrets_are_read_by_root_alone() {
    let node = TestNode::start();
    apply(&node, &tls_secret(&node, "a-tls", "a.example"));
    assert_eq!(node.list(Kind::Secrets).len(), 1);
    let socket = node.dir().join("run/ro.sock");
    let group = Gid::from_raw(12_345);
    nix::unistd::chown(&socket, None, Some(group)).expect("the socket is ours");
    // The directories of a test are root's.
    let dirs = [node.dir().to_owned(), node.dir().join("run")];
    node.sh(&format!("chmod o+x {} {}", dirs[0].display(), dirs[1].display())).ok();
    let program = node.vpodctl("get nodes").ok();
    assert!(!program.is_empty());
    let as_other = |arguments: &str| {
        node.sh(&format!(
            "setpriv --reuid=12345 --regid={group} --clear-groups {} --socket {} {arguments}",
            integration::binary("vpodctl").display(),
            socket.display()
        ))
    };
    as_other("get ingresses").ok();
    for arguments in ["get secrets", "get secret a-tls -o yaml", "describe secret a-tls"] {
        let error = as_other(arguments).fails(1);
        assert!(error.contains("may not read secrets"), "{error}");
    }
}
