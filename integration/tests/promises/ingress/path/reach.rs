//! What clients of any kind get, from outside and from a pod.

use integration::{binary, wait};
use serde_json::Value;

use super::{
    ADDRESS, OUTSIDER, Talk, Web, ask, asked, asked_by, cluster, curl_at, path, rules, service, service_at,
    socket_server, status, until_answered_by,
};
use crate::ingress::{apply, tls_secret};
use crate::stream::Place;

/// Of what `describe` says of an Ingress, a part.
#[track_caller]
fn until_described(node: &integration::TestNode, ingress: &str, part: &str) {
    let mut said = String::new();
    for _ in 0..400 {
        said = node.vpodctl(&format!("describe ingress {ingress}")).stdout;
        if said.contains(part) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no {part:?} in\n{said}");
}

#[test]
fn two_hosts_and_two_paths_are_reached_over_http_and_https_from_outside_and_from_pods() {
    let cluster = cluster("");
    let (one, two) = (cluster.node(0), cluster.node(1));
    let _webs =
        [Web::start(one, "shop", "shop"), Web::start(two, "cart", "cart"), Web::start(two, "blog", "blog")];
    let client = one.create_pod("client");
    apply(one, &["shop", "cart", "blog"].map(|name| service(name, name)).concat());
    apply(
        one,
        &[tls_secret(one, "shop-tls", "shop.example"), tls_secret(one, "blog-tls", "blog.example")].concat(),
    );
    let tls = "  tls:\n  - {hosts: [shop.example], secretName: shop-tls}\n  - {hosts: [blog.example], secretName: blog-tls}\n";
    let shop = [path("/", "Prefix", "shop"), path("/cart", "Prefix", "cart")];
    let blog = [path("/", "Prefix", "blog")];
    let both: [(&str, &[String]); 2] = [("shop.example", &shop), ("blog.example", &blog)];
    // Without TLS, HTTP is served; with it, it is redirected.
    apply(one, &rules("web", "", &both, ""));
    let table = [
        ("shop.example", "/", "shop"),
        ("shop.example", "/cart", "cart"),
        ("shop.example", "/cart/7", "cart"),
        ("shop.example", "/cartoon", "shop"),
        ("blog.example", "/cart", "blog"),
    ];
    for (host, path, name) in table {
        until_answered_by(&cluster, "", &format!("http://{host}{path}"), name);
    }
    // Nobody has a certificate for it yet.
    let ran = ask(&cluster, "", "https://shop.example/");
    assert!(!ran.succeeded(), "{ran}");
    until_answered_by(&cluster, "-k", "https://shop.example/", "shop");
    apply(one, &rules("web", "", &both, tls));
    let authority = |host: &str| {
        format!("{}/{}-tls.crt", one.dir().display(), host.split('.').next().unwrap_or_default())
    };
    wait::until("the certificate is used", || {
        ask(&cluster, &format!("--cacert {}", authority("shop.example")), "https://shop.example/")
            .succeeded()
            .then_some(())
    });
    for (host, path, name) in table {
        let verified = format!("--cacert {}", authority(host));
        let url = format!("https://{host}{path}?q=1");
        let said = asked(&cluster, &verified, &url);
        assert_eq!(said["name"], name, "{said}");
        assert_eq!(said["path"], format!("{path}?q=1"));
        let fields = &said["headers"];
        assert_eq!(fields["x-forwarded-for"], OUTSIDER, "{said}");
        assert_eq!(fields["x-forwarded-proto"], "https");
        assert_eq!(fields["x-forwarded-host"], host);
        let said = asked_by(Place::Pod(&client), &verified, &url);
        assert_eq!(
            (said["name"].as_str(), said["headers"]["x-forwarded-for"].as_str()),
            (Some(name), Some(&*client.ip.to_string()))
        );
        // As browsers ask first.
        let redirect = ask(
            &cluster,
            "-o /dev/null -w '%{http_code} %{redirect_url}'",
            &format!("http://{host}{path}?q=1"),
        );
        assert_eq!(redirect.ok(), format!("308 https://{host}{path}?q=1"));
    }
    // A name without a certificate has the ingress's own.
    let own = ask(&cluster, "-k -v -o /dev/null", "https://other.example/");
    assert!(own.stderr.contains("CN=") && !own.stderr.contains("shop.example"), "{own}");
    assert_eq!(status(&cluster, "https://other.example/"), "404");
    for part in [ADDRESS, "shop.example", "/cart", "cart:http ("] {
        until_described(one, "web", part);
    }
    // The other node says the same.
    until_described(two, "web", "shop-tls terminates shop.example");
}

#[test]
fn browsers_websockets_and_grpc_go_through() {
    let cluster = cluster("");
    let node = cluster.node(0);
    let _webs = [Web::start(node, "a", "web"), Web::start(cluster.node(1), "b", "web")];
    let _server = socket_server(cluster.node(1));
    apply(
        node,
        &[
            service("web", "web"),
            service("socket", "socket"),
            service_at("grpc", "web", 8080, ", appProtocol: kubernetes.io/h2c"),
        ]
        .concat(),
    );
    apply(node, &tls_secret(node, "web-tls", "web.example"));
    let tls = "  tls: [{hosts: [web.example], secretName: web-tls}]\n";
    let paths = [path("/", "Prefix", "web"), path("/socket", "Prefix", "socket")];
    let calls = [path("/", "Prefix", "grpc")];
    apply(node, &rules("web", "ingress.vpod.io/ssl-redirect: 'false'", &[("web.example", &paths)], tls));
    apply(node, &rules("grpc", "", &[("grpc.example", &calls)], ""));
    for url in ["http://web.example/", "http://grpc.example/"] {
        wait::until("an endpoint answers", || (status(&cluster, url) == "200").then_some(()));
    }
    let authority = format!("{}/web-tls.crt", node.dir().display());
    for (words, protocol) in [("--http1.1", "1.1"), ("--http2", "2"), ("--tlsv1.2 --tls-max 1.2", "2")] {
        let said = ask(
            &cluster,
            &format!("--cacert {authority} {words} -o /dev/null -w '%{{http_code}} %{{http_version}}'"),
            "https://web.example/",
        );
        assert_eq!(said.ok(), format!("200 {protocol}"), "{words}");
    }
    let mut talks = [
        Talk::start(&cluster, "ws://web.example/socket", 80, ""),
        Talk::start(&cluster, "wss://web.example/socket", 443, &authority),
    ];
    for talk in &mut talks {
        talk.repeats("hello");
    }
    // HTTP/2 in cleartext, as gRPC clients inside of clusters speak it, unary and both ways at once.
    let called =
        cluster.underlay().sh(&format!("{} grpc {ADDRESS}:80 grpc.example 50", binary("web").display())).ok();
    assert!(called.ends_with("hello\nFailedPrecondition\ntalked 50\n"), "{called}");
    for (words, url) in [
        ("-n 2000 -c 10 -m 10", "https://web.example/"),
        ("-n 2000 -c 10 --h1", "https://web.example/"),
        ("-n 2000 -c 10 --h1", "http://web.example/"),
    ] {
        let port = if url.starts_with("https") { 443 } else { 80 };
        let said = cluster.underlay().sh(&format!("h2load {words} --connect-to={ADDRESS}:{port} {url}")).ok();
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{words} {url}: {said}");
        assert!(said.contains("status codes: 2000 2xx"), "{words} {url}: {said}");
    }
    for talk in &mut talks {
        talk.repeats("still there");
    }
}

/// `ingress.host_ports`: without a load balancer.
#[test]
fn ports_80_and_443_of_each_node_lead_to_its_ingress() {
    let cluster = cluster("host_ports = true\naccess_log = true\n");
    let node = cluster.node(0);
    let _webs = [Web::start(node, "a", "web"), Web::start(cluster.node(1), "b", "web")];
    apply(node, &service("web", "web"));
    apply(node, &rules("web", "", &[("web.example", &[path("/", "Prefix", "web")])], ""));
    for node in cluster.nodes() {
        for scheme in ["http", "https"] {
            let said = wait::until("its own ports lead to the ingress", || {
                let ran = cluster.underlay().sh(&curl_at(
                    node.address(),
                    "-k",
                    &format!("{scheme}://web.example/"),
                ));
                serde_json::from_str::<Value>(&ran.stdout).ok()
            });
            assert_eq!(said["headers"]["x-forwarded-for"], OUTSIDER, "{said}");
        }
        let log = node.vpodctl(&format!("logs -n kube-system vpod-ingress-{}", node.name())).ok();
        let line = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
        let line = line.unwrap_or_else(|| panic!("no line of a request: {log}"));
        assert_eq!(
            (line["host"].as_str(), line["status"].as_u64(), line["client"].as_str()),
            (Some("web.example"), Some(200), Some(OUTSIDER))
        );
    }
}
