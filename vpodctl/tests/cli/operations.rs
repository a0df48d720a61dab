//! What is waited for, traced, and shown of services at work.

use protocol::link::TraceProtocol;
use protocol::message::{
    AdminRequest, Applied, Items, Kind, Outcome, PodRef, ReadRequest, Response, TraceDestination,
    TraceRequest,
};
use protocol::object::{
    Backend, ConnTuple, Document, NodeProgramming, Programming, ServiceCounters, Timestamp, Trace, TraceStep,
    Traffic,
};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Run};

fn programming(revision: u64, store_revision: u64, nodes: &[(&str, Option<u64>)]) -> Response {
    let node =
        |(name, active): &(&str, Option<u64>)| NodeProgramming { name: (*name).to_owned(), active: *active };
    Response::Programming(Programming { revision, store_revision, nodes: nodes.iter().map(node).collect() })
}

fn document(name: &str, value: &Value) -> Document {
    Document {
        namespace: Some("default".parse().unwrap()),
        name: name.parse().unwrap(),
        created: Timestamp(0),
        json: value.to_string(),
        ready: 1,
        endpoints: 3,
    }
}

/// A load balancer, which a node announces.
fn service() -> Document {
    let condition = |name: &str, status: &str, reason: &str, message: &str| {
        json!({ "type": name, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    document(
        "web",
        &json!({
            "metadata": { "name": "web", "namespace": "default" },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.7", "selector": { "app": "web" },
                "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": "TCP" }],
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 600 } },
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
                "loadBalancerSourceRanges": ["198.51.100.0/24"],
            },
            "status": {
                "loadBalancer": { "ingress": [{ "ip": "192.0.2.200" }] },
                "conditions": [
                    condition("vpod.io/Announced", "True", "Owner", "192.0.2.200 is announced by node-b"),
                    condition("vpod.io/Served", "False", "LeftOut", "port http: node port 30080 is another service's"),
                ],
            },
        }),
    )
}

fn slice() -> Document {
    let endpoint = |address: &str, node: &str, pod: &str, [ready, serving, terminating]: [bool; 3]| {
        json!({ "addresses": [address], "nodeName": node,
                "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
                "targetRef": { "kind": "Pod", "namespace": "default", "name": pod } })
    };
    document(
        "web-0",
        &json!({
            "metadata": { "name": "web-0", "labels": { "kubernetes.io/service-name": "web" } },
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": [
                endpoint("10.244.0.2", "node-a", "one", [true, true, false]),
                endpoint("10.244.1.2", "node-b", "two", [false, true, true]),
                endpoint("10.244.1.3", "node-b", "three", [false, false, false]),
                { "addresses": ["192.0.2.77"] },
            ],
        }),
    )
}

/// Of another service, in the same namespace.
fn others_slice() -> Document {
    let labels = json!({ "kubernetes.io/service-name": "db" });
    document(
        "db-0",
        &json!({ "metadata": { "labels": labels }, "endpoints": [{ "addresses": ["10.244.9.9"] }] }),
    )
}

fn traffic() -> Vec<Traffic> {
    let counters = ServiceCounters {
        active: 1,
        connections: 7,
        packets_in: 20,
        bytes_in: 2000,
        packets_out: 30,
        bytes_out: 9000,
        refused: Vec::new(),
    };
    let row = |port: &str, backend| Traffic {
        namespace: "default".parse().unwrap(),
        service: "web".parse().unwrap(),
        port: port.to_owned(),
        protocol: 6,
        backend,
        counters: counters.clone(),
    };
    let backend =
        Backend { address: "10.244.0.2".parse().unwrap(), port: 8080, pod: "default/one".to_owned() };
    vec![row("http", None), row("http", Some(backend)), row("admin", None)]
}

/// Knows the service; whether its datapath does is another question.
fn daemon(has_datapath: bool) -> Daemon {
    Daemon::admin(move |request| {
        let AdminRequest::Read(ReadRequest::List { kind, .. }) = request else { return vec![Response::Done] };
        let items = match kind {
            Kind::Services => Items::Services(vec![service()]),
            Kind::EndpointSlices => Items::EndpointSlices(vec![slice(), others_slice()]),
            Kind::Endpoints => Items::Endpoints(Vec::new()),
            Kind::Traffic if has_datapath => Items::Traffic(traffic()),
            Kind::Traffic => {
                let code = protocol::message::ErrorCode::Unavailable;
                return vec![Response::Error(protocol::message::ApiError::new(code, "it is being started"))];
            }
            _ => return vec![Response::Done],
        };
        vec![Response::Items(items), Response::Done]
    })
}

/// Cells of a table's line that begins with `first`.
#[track_caller]
fn line(run: &Run, first: &str) -> Vec<String> {
    let found = run.out.lines().find(|line| line.trim_start().starts_with(first));
    let found = found.unwrap_or_else(|| panic!("no line {first}: {run:?}"));
    found.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn wide_services_say_who_announces_them_and_what_they_have_to_do() {
    let run = daemon(true).run(&["get", "services", "-o", "wide"]);
    let wide =
        ["SELECTOR", "ENDPOINTS", "ANNOUNCED-BY", "CONNS", "PKTS-IN", "PKTS-OUT", "BYTES-IN", "BYTES-OUT"];
    assert_eq!(line(&run, "NAME")[6..], wide);
    // Both ports together, backends not once more.
    assert_eq!(line(&run, "web")[6..], ["app=web", "1/3", "node-b", "14", "40", "60", "4000", "18000"]);
    assert_eq!((run.status, &*run.err), (0, ""));
}

#[test]
fn traffic_is_asked_for_only_where_it_is_shown() {
    let daemon = daemon(true);
    for arguments in [&["get", "services"][..], &["get", "services", "-o", "json"]] {
        assert_eq!(daemon.run(arguments).status, 0);
    }
    let asked = |request: &AdminRequest| {
        matches!(request, AdminRequest::Read(ReadRequest::List { kind: Kind::Traffic, .. }))
    };
    assert!(!daemon.seen().iter().any(asked), "{:?}", daemon.seen());
}

#[test]
fn services_are_listed_although_the_datapath_cannot_be_asked() {
    let run = daemon(false).run(&["get", "services", "-o", "wide"]);
    assert_eq!(
        line(&run, "web")[8..],
        ["node-b", "<unknown>", "<unknown>", "<unknown>", "<unknown>", "<unknown>"]
    );
}

#[test]
fn describe_service_says_who_serves_it_who_announces_it_and_what_is_left_out() {
    let run = daemon(true).run(&["describe", "service", "web"]);
    for part in [
        "Type:                     LoadBalancer",
        "LoadBalancer Ingress:     192.0.2.200",
        "NodePort:                 http  30080/TCP",
        "Session Affinity:         ClientIP (600 s)",
        "External Traffic Policy:  Local",
        "Source Ranges:            198.51.100.0/24",
        "Announcement:             192.0.2.200 is announced by node-b",
        "Left Out:                 port http: node port 30080 is another service's",
        "Traffic on this node:",
    ] {
        assert!(run.out.contains(part), "no {part:?} in {}", run.out);
    }
    for (address, cells) in [
        ("10.244.0.2 ", ["http 8080/TCP", "Ready", "node-a", "pod/default/one"]),
        ("10.244.1.2 ", ["http 8080/TCP", "Draining", "node-b", "pod/default/two"]),
        ("10.244.1.3 ", ["http 8080/TCP", "NotReady", "node-b", "pod/default/three"]),
        ("192.0.2.77 ", ["http 8080/TCP", "Ready", "<none>", "<none>"]),
    ] {
        assert_eq!(line(&run, address)[1..], cells);
    }
    assert!(!run.out.contains("10.244.9.9"), "{}", run.out);
    let announced = line(&run, "Announced");
    assert_eq!((&*announced[1], &*announced[2]), ("True", "Owner"));
    assert_eq!(&line(&run, "Served")[1..3], ["False", "LeftOut"]);
}

#[test]
fn wait_asks_until_all_nodes_run_the_revision() {
    let mut asked = 0;
    let daemon = Daemon::admin(move |_| {
        asked += 1;
        vec![match asked {
            1 => programming(12, 11, &[("a", Some(11))]),
            2 => programming(12, 12, &[("a", Some(12)), ("b", Some(11)), ("c", None)]),
            _ => programming(12, 13, &[("a", Some(12)), ("b", Some(13)), ("c", Some(12))]),
        }]
    });
    daemon.run(&["wait", "--revision", "12"]).prints("revision 12 is active on 3 nodes\n");
    let seen = daemon.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        let AdminRequest::Read(ReadRequest::Programming { revision, .. }) = request else {
            panic!("{request:?}")
        };
        assert_eq!(revision, Some(12));
    }
}

#[test]
fn a_wait_that_is_over_says_who_is_behind() {
    let behind =
        Daemon::admin(|_| vec![programming(12, 12, &[("a", Some(12)), ("b", Some(11)), ("c", None)])]);
    let run = behind.run(&["wait", "--revision", "12", "--timeout", "0s"]);
    run.fails(1, &["revision 12", "active on all nodes", "b (at 11), c"]);
    let store = Daemon::admin(|_| vec![programming(12, 9, &[("a", Some(9))])]);
    store
        .run(&["wait", "--revision", "12", "--timeout", "0s"])
        .fails(1, &["the store has come to revision 9 only"]);
    let many: Vec<String> = (10..40).map(|n| format!("node-{n}")).collect();
    let many = Daemon::admin(move |_| {
        vec![programming(5, 5, &many.iter().map(|name| (name.as_str(), None)).collect::<Vec<_>>())]
    });
    let run = many.run(&["wait", "--revision", "5", "--timeout", "0s"]);
    run.fails(1, &["node-10", "node-19", " and 20 more"]);
}

#[test]
fn a_service_can_be_waited_for_to_be_active() {
    let daemon = Daemon::admin(|request| match request {
        AdminRequest::Read(ReadRequest::Programming { revision: None, .. }) => {
            vec![programming(7, 7, &[("a", Some(7)), ("b", Some(6))])]
        }
        // Of what there was when it was first asked for, not of whatever comes meanwhile.
        AdminRequest::Read(ReadRequest::Programming { revision: Some(7), .. }) => {
            vec![programming(7, 9, &[("a", Some(9)), ("b", Some(7))])]
        }
        AdminRequest::Read(ReadRequest::GetObject { .. }) => {
            vec![Response::Items(Items::Services(vec![service()])), Response::Done]
        }
        other => panic!("{other:?}"),
    });
    daemon.run(&["wait", "service", "web", "--for=active"]).prints("service/web condition met\n");
    daemon
        .run(&["wait", "pod", "web", "--for=active"])
        .fails(2, &["only services and policies to be active"]);
}

#[test]
fn apply_waits_for_the_highest_revision_of_what_it_applied() {
    let mut revision = 20;
    let daemon = Daemon::admin(move |request| match request {
        AdminRequest::Apply { manifests, .. } => {
            let applied = manifests.iter().map(|_| {
                revision += 1;
                let object = "service/x".to_owned();
                Applied { object, outcome: Outcome::Created, revision: Some(revision) }
            });
            vec![Response::Applied(applied.collect())]
        }
        AdminRequest::Read(ReadRequest::Programming { revision: Some(22), .. }) => {
            vec![programming(22, 22, &[("a", Some(22))])]
        }
        other => panic!("{other:?}"),
    });
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}---\n{}", service("one"), service("two"))).unwrap();
    let run = daemon.run(&["apply", "-f", file.path().to_str().unwrap(), "--wait"]);
    run.prints("service/one created\nservice/two created\nrevision 22 is active on 1 node\n");
}

fn trace() -> Trace {
    let step = |step: &str, result: &str, reason: &str| TraceStep {
        step: step.to_owned(),
        result: result.to_owned(),
        reason: reason.to_owned(),
    };
    let tuple = |destination: &str, port| ConnTuple {
        source: "10.244.0.2".parse().unwrap(),
        source_port: 40_000,
        destination: destination.parse().unwrap(),
        destination_port: port,
    };
    Trace {
        ingress: "default/client".to_owned(),
        protocol: 17,
        packet: tuple("10.96.0.10", 53),
        size: 60,
        steps: vec![
            step("service", "default/dns:dns", "10.96.0.10 is its cluster address"),
            step("backend", "10.244.0.3:53", "1 of 2 that are ready"),
        ],
        egress: Some("default/dns".to_owned()),
        becomes: Some(tuple("10.244.0.3", 53)),
        drop: None,
        error: None,
    }
}

#[test]
fn trace_prints_each_decision_with_its_reason() {
    let daemon = Daemon::read_only(|_| vec![Response::Trace(Box::new(trace()))]);
    let run = daemon.run(&["trace", "client", "--to", "service/dns:dns", "--udp"]);
    assert_eq!(
        run.out,
        "udp 10.244.0.2:40000 → 10.96.0.10:53 of 60 bytes, sent by default/client\n\n\
         STEP      RESULT            WHY\n\
         service   default/dns:dns   10.96.0.10 is its cluster address\n\
         backend   10.244.0.3:53     1 of 2 that are ready\n\n\
         leaves by default/dns as 10.244.0.2:40000 → 10.244.0.3:53\n"
    );
    let name = |name: &str| name.parse().unwrap();
    let destination = TraceDestination::Service {
        namespace: "default".parse().unwrap(),
        name: name("dns"),
        port: Some("dns".to_owned()),
    };
    let pod = PodRef { namespace: "default".parse().unwrap(), name: name("client") };
    let [
        AdminRequest::Read(ReadRequest::Trace(TraceRequest {
            pod: asked, protocol, destination: to, ..
        })),
    ] = &daemon.seen()[..]
    else {
        panic!("{:?}", daemon.seen())
    };
    assert_eq!((asked, *protocol, to), (&pod, TraceProtocol::Udp, &destination));
}

#[test]
fn trace_is_a_document_too_and_refuses_what_it_cannot_mean() {
    let daemon = Daemon::read_only(|_| vec![Response::Trace(Box::new(trace()))]);
    let run = daemon.run(&["trace", "client", "--to", "10.96.0.10:53", "--udp", "-o", "json"]);
    let value: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&value["kind"], &value["steps"][1]["result"]), (&json!("Trace"), &json!("10.244.0.3:53")));
    let asked = daemon.seen().len();
    for to in ["10.96.0.10", "web", "pod/web", "service/"] {
        daemon.run(&["trace", "client", "--to", to]).fails(2, &["--to"]);
    }
    assert_eq!(daemon.seen().len(), asked, "the daemon is not asked what cannot be answered");
}
