//! Objects as Kubernetes writes them, and what is wrong with some.

use integration::TestNode;
use protocol::message::Kind;

use super::{
    Backend, apply, ask, cluster_ip, create_service, document, documents, endpoints, manifest, tcp,
    until_answer, until_answered_by,
};
use crate::stream::Place;

/// A service whose endpoints are given by hand.
const BY_HAND: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: hand}\nspec:\n  ports: \
                       [{name: one, port: 80}, {name: two, port: 81}]\n";

/// A slice of it: the port called `port` is `number` at `addresses`.
fn slice(name: &str, addresses: &[&str], port: &str, number: u32) -> String {
    let endpoints: String = addresses.iter().map(|ip| format!("- {{addresses: [\"{ip}\"]}}\n")).collect();
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: hand}}}}\n\
         addressType: IPv4\nports: [{{name: {port}, port: {number}}}]\nendpoints:\n{endpoints}"
    )
}

/// Pods that no selector matches.
fn pods<const N: usize>(node: &TestNode, names: [&str; N], ports: &str) -> [Backend; N] {
    names.map(|name| Backend::serving(node.create_pod(name), ports))
}

#[test]
fn sig_network_13_a_service_leads_to_the_endpoints_of_all_its_slices() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let backends = pods(&node, ["a", "b", "c"], "tcp:8080");
    let [a, b, c] = backends.each_ref().map(|backend| backend.pod.ip.to_string());
    let slices = slice("hand-1", &[&a, &b], "one", 8080) + &slice("hand-2", &[&c], "one", 8080);
    let text = format!("{BY_HAND}{slices}");
    apply(&node, &text);
    let at = tcp(cluster_ip(&node, "hand"), 80);
    until_answered_by(Place::Pod(&client), at, &["a", "b", "c"]);
    assert!(manifest(&node, "apply", &text).ok().lines().all(|line| line.ends_with(" unchanged")));
    // One slice changes, and one goes.
    apply(&node, &slice("hand-1", &[&a], "one", 8080));
    until_answered_by(Place::Pod(&client), at, &["a", "c"]);
    node.vpodctl("delete endpointslice hand-2").ok();
    until_answered_by(Place::Pod(&client), at, &["a"]);
    manifest(&node, "delete", &format!("{BY_HAND}{}", slice("hand-1", &[&a], "one", 8080))).ok();
    until_answer(Place::Pod(&client), at, "error ECONNREFUSED");
}

#[test]
fn sig_network_14_each_port_has_a_slice_of_its_own() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let backends = pods(&node, ["a", "b"], "tcp:8080 tcp:9090");
    let [a, b] = backends.each_ref().map(|backend| backend.pod.ip.to_string());
    apply(&node, &format!("{BY_HAND}{}{}", slice("h1", &[&a], "one", 8080), slice("h2", &[&b], "two", 9090)));
    let address = cluster_ip(&node, "hand");
    until_answered_by(Place::Pod(&client), tcp(address, 80), &["a"]);
    until_answered_by(Place::Pod(&client), tcp(address, 81), &["b"]);
}

#[test]
fn a_manifest_of_pods_and_a_service_with_a_named_port_works_as_in_kubernetes() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let pod = |name: &str, number: u16| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}\nspec:\n  \
             containers:\n  - name: c\n    command: [sh, -c, \"{} serve {name} tcp:{number}\"]\n    \
             ports: [{{name: http, containerPort: {number}}}]\n    \
             readinessProbe: {{tcpSocket: {{port: http}}, periodSeconds: 1}}\n",
            super::PEER
        )
    };
    let text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: web, namespace: shop}}\nspec:\n  selector: {{app: web}}\n  \
         ports: [{{port: 80, targetPort: http}}]\n{}{}",
        pod("a", 8080),
        pod("b", 8081)
    );
    apply(&node, &text);
    let at = tcp(cluster_ip(&node, "web"), 80);
    until_answered_by(Place::Pod(&client), at, &["a", "b"]);
    manifest(&node, "delete", &text).ok();
    until_answer(Place::Pod(&client), at, "error ECONNREFUSED");
    assert!(document(&node, Kind::Services, "web").is_none());
}

#[test]
fn a_field_that_does_not_exist_is_an_error_or_a_warning_as_asked() {
    let node = TestNode::start();
    let text =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  prots: []\n  ports: [{port: 80}]\n";
    let message = manifest(&node, "apply", text).fails(1);
    assert!(message.contains("spec.prots"), "{message}");
    assert!(document(&node, Kind::Services, "web").is_none(), "nothing of it is kept");
    let ran = manifest(&node, "apply --validate warn", text);
    assert!(ran.stderr.contains("Warning") && ran.stderr.contains("spec.prots"), "{ran}");
    assert_eq!(ran.ok(), "service/web created\n");
}

/// Every refusal names the field, and leaves everything as it was.
#[test]
fn bad_services_are_refused_by_field_and_nothing_is_kept() {
    let node = TestNode::start();
    let pod = node.create_pod("pod");
    node.vpodctl("create-service nodeport taken --tcp 80 --node-port 30080").ok();
    let taken = cluster_ip(&node, "taken");
    let pod_address = pod.ip.to_string();
    let spec = |text: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: bad}}\nspec: {{selector: {{app: bad}}, {text}}}\n"
        )
    };
    let port = "ports: [{port: 80}]";
    let node_port = |number: u32| format!("type: NodePort, ports: [{{port: 80, nodePort: {number}}}]");
    let external = |address: &str| format!("{port}, externalIPs: [\"{address}\"]");
    let [of_pod, of_node] = [pod_address.as_str(), node.address()].map(|ip| ["spec.externalIPs[0]", ip]);
    let cases: Vec<(String, &[&str])> = vec![
        ("ports: [{port: 0}]".to_owned(), &["spec.ports[0].port", "65535"]),
        ("ports: [{port: 65536}]".to_owned(), &["spec.ports[0].port", "65535"]),
        ("ports: [{port: 80, targetPort: 65536}]".to_owned(), &["spec.ports[0].targetPort"]),
        ("ports: []".to_owned(), &["spec.ports", "Required"]),
        (node_port(30080), &["spec.ports[0].nodePort", "30080", "allocated"]),
        (node_port(80), &["spec.ports[0].nodePort", "30000-32767"]),
        (node_port(70_000), &["spec.ports[0].nodePort"]),
        (format!("{port}, clusterIP: {taken}"), &["spec.clusterIP", "default/taken"]),
        (format!("{port}, clusterIP: 192.0.2.7"), &["spec.clusterIP", "10.96.0.0/16"]),
        (format!("{port}, clusterIP: 010.096.000.009"), &["spec.clusterIP", "leading zeros"]),
        (format!("{port}, clusterIP: 10.96.0.0"), &["spec.clusterIP", "10.96.0.0/16"]),
        (external("127.0.0.1"), &["spec.externalIPs[0]", "loopback"]),
        (external("203.0.113.09"), &["spec.externalIPs[0]", "leading zeros"]),
        (external(&pod_address), &of_pod),
        (external(node.address()), &of_node),
        (format!("{port}, sessionAffinity: Cookie"), &["spec.sessionAffinity"]),
        (format!("{port}, type: Cluster"), &["spec.type"]),
    ];
    for (text, parts) in cases {
        let ran = manifest(&node, "apply", &spec(&text));
        let shown = format!("{text}\n{ran}");
        let message = ran.fails(1);
        assert!(message.contains("\"bad\""), "names the object: {shown}");
        for part in parts {
            assert!(message.contains(part), "no {part:?}: {shown}");
        }
        assert_eq!(documents(&node, Kind::Services).len(), 1, "nothing is kept: {shown}");
    }
    // What was refused has taken nothing: the numbers it asked for beside are free.
    apply(&node, &spec(&node_port(30081)));
}

#[test]
fn endpoints_that_are_not_theirs_to_give_are_refused_and_nothing_is_kept() {
    let node = TestNode::start();
    let mut request = integration::node::pod_request("secret", &[]);
    request.pod = integration::node::reference("other", "secret");
    let foreign = node.create(&request).ip.to_string();
    let service = create_service(&node, "hand", "--tcp 80").to_string();
    let cases: Vec<(&str, &[&str])> = vec![
        ("127.0.0.1", &["loopback"]),
        ("169.254.169.254", &["link-local"]),
        ("224.0.0.1", &["multicast"]),
        ("0.0.0.0", &["unspecified"]),
        ("192.0.2.077", &["leading zeros"]),
        (node.address(), &["node"]),
        (&foreign, &["other/secret", "namespace"]),
        (&service, &["services"]),
    ];
    for (address, parts) in cases {
        let ran = manifest(&node, "apply", &slice("bad", &[address], "one", 80));
        let shown = ran.to_string();
        let message = ran.fails(1);
        for part in parts.iter().chain(&["\"bad\"", address, "endpoints[0].addresses"]) {
            assert!(message.contains(part), "no {part:?}: {shown}");
        }
        assert!(document(&node, Kind::EndpointSlices, "bad").is_none(), "nothing is kept: {shown}");
    }
    for number in [0, 65_536] {
        let message = manifest(&node, "apply", &slice("bad", &["192.0.2.77"], "one", number)).fails(1);
        assert!(message.contains("ports[0].port"), "{message}");
    }
    assert!(document(&node, Kind::EndpointSlices, "bad").is_none());
}

/// A slice was right when it was given; then its address became a pod's of another namespace.
#[test]
fn an_endpoint_that_becomes_another_namespaces_pod_gets_no_traffic() {
    let mut node = TestNode::start();
    node.allow_log("is left out: it is the address of pod other/secret");
    let client = node.create_pod("client");
    apply(&node, &format!("{BY_HAND}{}", slice("early", &["10.244.0.99"], "one", 80)));
    let mut request = integration::node::pod_request("secret", &[]);
    request.pod = integration::node::reference("other", "secret");
    request.ip = Some("10.244.0.99".parse().expect("an address"));
    let secret = Backend::serving(node.create(&request), "tcp:80");
    assert_eq!(ask(Place::Pod(&client), tcp(secret.pod.ip, 80), 1), [format!("secret {}", client.ip)]);
    until_answer(Place::Pod(&client), tcp(cluster_ip(&node, "hand"), 80), "error ECONNREFUSED");
}

#[test]
fn a_selector_that_matches_nothing_is_a_service_without_endpoints() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _other = Backend::start(&node, "a", "web", "tcp:80");
    let address = create_service(&node, "lonely", "--tcp 80 --selector app=nobody");
    until_answer(Place::Pod(&client), tcp(address, 80), "error ECONNREFUSED");
    assert!(endpoints(&node, "lonely").is_empty());
    assert!(node.vpodctl("get endpoints lonely").ok().contains("<none>"));
}

#[test]
fn a_service_that_does_not_exist_is_named() {
    let node = TestNode::start();
    for command in ["delete-service ghost", "get service ghost", "delete endpointslice ghost"] {
        assert!(node.vpodctl(command).fails(1).contains("ghost"), "{command}");
    }
    node.vpodctl("delete-service ghost --ignore-not-found").ok();
}
