//! The resolvers that programs bring along, asked for the same names in a real pod: glibc's, musl's in a static binary, Go's manner of
//! asking, and `busybox`'s.

use std::path::Path;
use std::process::Command;

use integration::{TestNode, wait};

use super::answers::{client, dig, headless, named_service, node, said, status, until};
use crate::services::apply;

/// One of them, and how it is called.
struct Resolver {
    name: &'static str,
    words: Vec<String>,
    /// It asks over TCP for what was cut off; musl does since 1.2.4.
    is_thorough: bool,
}

impl Resolver {
    /// All of them; `dir` is for what has to be compiled.
    fn all(dir: &Path) -> Vec<Self> {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promises/names");
        let compiled = |compiler: &str, name: &str, flags: &[&str]| {
            let program = dir.join(name);
            let done = Command::new(compiler)
                .args(["-o".as_ref(), program.as_os_str()])
                .args(flags)
                .arg(format!("{sources}/resolve.c"))
                .status()
                .expect("a compiler: scripts/setup.sh installs it");
            assert!(done.success(), "{compiler}");
            vec![program.display().to_string()]
        };
        vec![
            Self { name: "glibc", words: compiled("cc", "with-glibc", &[]), is_thorough: true },
            Self { name: "musl", words: compiled("musl-gcc", "with-musl", &["-static"]), is_thorough: false },
            Self {
                name: "Go",
                words: vec![
                    "/usr/bin/python3".to_owned(),
                    "-B".to_owned(),
                    format!("{sources}/as_go_asks.py"),
                ],
                is_thorough: true,
            },
        ]
    }

    /// What it finds, sorted, each once.
    #[track_caller]
    fn found(&self, node: &TestNode, name: &str) -> Vec<String> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).chain([name]).collect();
        let mut found = said(node, &words);
        found.dedup();
        found
    }
}

/// A headless service with `count` endpoints that nothing is behind.
fn with_endpoints(name: &str, count: u8) -> String {
    let endpoints: String = (1..=count).map(|last| format!("- addresses: [10.99.0.{last}]\n")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: None\n  ports: [{{name: http, port: 80}}]\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata:\n  name: {name}-1\n  labels: {{kubernetes.io/service-name: {name}}}\n\
         ports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n{endpoints}"
    )
}

/// sig-network 9: DNS should resolve DNS of partial qualified names. And what is missing, an alias, and what is too long for UDP.
#[test]
fn every_resolver_finds_the_same() {
    let node = node();
    let _client = client(&node);
    let service = named_service(&node, "web");
    apply(&node, &with_endpoints("many", 120));
    apply(
        &node,
        "{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: default}, \
         spec: {type: ExternalName, externalName: web.default.svc.cluster.local}}",
    );
    until(&node, "web", &[&service]);
    wait::until("the endpoints are named", || {
        (dig(&node, "many.default.svc.cluster.local +tcp").len() == 120).then_some(())
    });
    until(&node, "alias", &[&service, "web.default.svc.cluster.local."]);
    let mut many: Vec<String> = (1..=120).map(|last| format!("10.99.0.{last}")).collect();
    many.sort();
    let dir = tempfile::tempdir().expect("a directory");
    for resolver in Resolver::all(dir.path()) {
        let what = resolver.name;
        for name in [
            "web",
            "web.default",
            "web.default.svc",
            "web.default.svc.cluster.local",
            "WEB.Default.svc.cluster.local.",
        ] {
            assert_eq!(resolver.found(&node, name), [service.as_str()], "{what}: {name}");
        }
        assert_eq!(resolver.found(&node, "kubernetes.default"), ["10.96.0.1"], "{what}");
        assert_eq!(resolver.found(&node, "alias"), [service.as_str()], "{what}: an alias");
        for name in ["nope", "web.nope", "nope.default.svc.cluster.local"] {
            let found = resolver.found(&node, name);
            assert!(found.len() == 1 && !found[0].contains("10."), "{what}: {name}: {found:?}");
        }
        let found = resolver.found(&node, "many");
        if resolver.is_thorough {
            assert_eq!(found, many, "{what}");
        } else {
            assert!(
                !found.is_empty() && found.iter().all(|address| many.contains(address)),
                "{what}: {found:?}"
            );
        }
    }
}

/// sig-network 3: DNS should provide `/etc/hosts` entries for the cluster: a pod finds its own host name.
#[test]
fn a_pod_finds_its_own_name() {
    let node = node();
    let client = client(&node);
    let found = said(&node, &["getent", "hosts", "client"]);
    assert_eq!(found.len(), 1, "{found:?}");
    let words: Vec<_> = found[0].split_whitespace().collect();
    assert_eq!(words.first().copied(), Some(client.ip.to_string().as_str()), "{found:?}");
    assert!(words.contains(&"client"), "{found:?}");
}

/// sig-network 33: a service becomes an ExternalName: its address is gone, its name an alias, its ports unnamed.
#[test]
fn a_service_that_becomes_an_external_name_is_an_alias_only() {
    let node = node();
    let _client = client(&node);
    let service = named_service(&node, "web");
    until(&node, "web", &[&service]);
    until(&node, &format!("-x {service}"), &["web.default.svc.cluster.local."]);
    apply(
        &node,
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, \
         spec: {type: ExternalName, externalName: kubernetes.default.svc.cluster.local}}",
    );
    until(&node, "web.default.svc.cluster.local CNAME", &["kubernetes.default.svc.cluster.local."]);
    wait::until("its address has no name", || {
        status(&node, &format!("-x {service}")).contains("NXDOMAIN").then_some(())
    });
    let port = "_http._tcp.web.default.svc.cluster.local SRV";
    assert!(status(&node, port).contains("ANSWER: 0"), "{}", status(&node, port));
}

/// Endpoints that are not ready have no name, unless the service says that they have (`publishNotReadyAddresses`).
#[test]
fn endpoints_are_named_when_they_are_ready_or_published() {
    let node = node();
    let _client = client(&node);
    for (name, published) in [("quiet", false), ("loud", true)] {
        let service = headless(name)
            .replace("clusterIP: None", &format!("clusterIP: None, publishNotReadyAddresses: {published}"));
        apply(&node, &service);
        apply(
            &node,
            &format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, spec: {{containers: [{{name: a, \
                 command: [sleep, \"600\"], readinessProbe: {{tcpSocket: {{port: 9}}, periodSeconds: 1}}}}]}}}}"
            ),
        );
    }
    wait::until("the published one is named", || {
        (dig(&node, "loud.default.svc.cluster.local").len() == 1).then_some(())
    });
    assert!(status(&node, "quiet.default.svc.cluster.local").contains("NXDOMAIN"));
}
