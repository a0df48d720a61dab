//! Manifests and services: what is sent, what is printed, and what is refused before the daemon is asked.

use std::io::Write as _;

use protocol::message::{
    AdminRequest, ApiError, Applied, ErrorCode, Items, Kind, Outcome, ReadRequest, Response,
};
use protocol::object::{Document, Timestamp};

use crate::daemon::Daemon;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{port: 80}]
"#;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn outcome(outcome: Outcome) -> Vec<Response> {
    vec![Response::Applied(vec![Applied { object: "service/web".to_owned(), outcome, revision: Some(7) }])]
}

fn apply(daemon: &Daemon, text: &str, more: &[&str]) -> crate::daemon::Run {
    let file = file(text);
    let mut arguments = vec!["apply", "-f", file.path().to_str().unwrap()];
    arguments.extend(more);
    daemon.run(&arguments)
}

#[test]
fn what_became_of_each_object_is_printed_as_kubectl_does() {
    for (result, word) in [
        (Outcome::Created, "created"),
        (Outcome::Configured, "configured"),
        (Outcome::Unchanged, "unchanged"),
    ] {
        let daemon = Daemon::admin(move |_| outcome(result.clone()));
        apply(&daemon, SERVICE, &[]).prints(&format!("service/web {word}\n"));
        let [AdminRequest::Apply { manifests, dry_run: false }] = &daemon.seen()[..] else {
            panic!("{:?}", daemon.seen())
        };
        assert!(manifests[0].contains(r#""namespace":"default""#), "{}", manifests[0]);
    }
}

/// Refuses objects called "bad".
fn each(request: &AdminRequest) -> Vec<Response> {
    let AdminRequest::Apply { manifests, .. } = request else { return vec![Response::Done] };
    let applied = manifests.iter().map(|manifest| {
        let bad = || Outcome::Failed(ApiError::new(ErrorCode::Invalid, "The Service \"bad\" is invalid: x"));
        let outcome = if manifest.contains("\"bad\"") { bad() } else { Outcome::Created };
        Applied { object: String::new(), outcome, revision: Some(7) }
    });
    vec![Response::Applied(applied.collect())]
}

#[test]
fn many_documents_go_in_few_requests_and_each_has_its_answer() {
    let daemon = Daemon::admin(each);
    let named = |n: usize| if n == 700 { "bad".to_owned() } else { format!("web-{n}") };
    let text: Vec<String> = (0..1500).map(|n| SERVICE.replace("web", &named(n))).collect();
    let run = apply(&daemon, &text.join("---"), &[]);
    assert_eq!((run.status, &*run.err), (1, "error: The Service \"bad\" is invalid: x\n"));
    let said: Vec<String> =
        (0..1500).filter(|n| *n != 700).map(|n| format!("service/web-{n} created\n")).collect();
    assert_eq!(run.out, said.concat());
    assert!(daemon.seen().len() < 10, "{} requests", daemon.seen().len());
}

#[test]
fn several_documents_are_applied_in_order_and_a_refusal_does_not_stop_the_rest() {
    let daemon = Daemon::admin(each);
    let bad = SERVICE.replace("web", "bad");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let run = apply(&daemon, &format!("{namespace}---{bad}---{SERVICE}---\n"), &[]);
    assert_eq!((run.status, &*run.err), (1, "error: The Service \"bad\" is invalid: x\n"));
    assert_eq!(run.out, "namespace/shop created\nservice/web created\n");
}

#[test]
fn bad_manifests_are_refused_by_path_before_anything_is_applied() {
    let spec = |text: &str| SERVICE.replace("[{port: 80}]", text);
    for (text, parts) in [
        (spec("[{port: 80}]\n  foo: 1"), &["Service \"web\"", "unknown field \"spec.foo\""][..]),
        (spec("[{port: \"80\"}]"), &["invalid type: string \"80\", expected i32"]),
        (spec("[{port: 80}]\n  selector: {app: 1}"), &["invalid type"]),
        (spec("[{port: 80}]\n  type: NodePort\n  type: ClusterIP"), &["duplicate"]),
        (SERVICE.replace("v1", "v2"), &["no matches for kind \"Service\" in version \"v2\""]),
        (SERVICE.replace("kind: Service", ""), &["needs apiVersion and kind"]),
        (SERVICE.replace("{name: web}", "{}"), &["metadata.name: Required value"]),
        (SERVICE.replace("name: web", "name: Web"), &["metadata.name", "lower-case"]),
        ("{".to_owned(), &["error validating"]),
        (String::new(), &["no objects in it"]),
    ] {
        let daemon = Daemon::admin(|_| outcome(Outcome::Created));
        apply(&daemon, &text, &[]).fails(1, parts);
        assert_eq!(daemon.seen(), [], "{text}");
    }
}

#[test]
fn with_validate_warn_unknown_fields_are_named_and_ignored() {
    let daemon = Daemon::admin(|_| outcome(Outcome::Created));
    let run = apply(&daemon, &format!("{SERVICE}  foo: 1\n"), &["--validate", "warn"]);
    assert_eq!(run.out, "service/web created\n");
    assert!(run.err.contains("Warning: Service \"web\": spec.foo: unknown, ignored"), "{}", run.err);
}

#[test]
fn a_pod_that_could_not_run_as_written_is_refused() {
    let pod = |spec: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - {{name: p, command: [sleep]{spec}}}\n"
        )
    };
    for (spec, part) in [
        (", env: [{name: A, value: b}]", "spec.containers[0].env: not supported"),
        (", ports: [{containerPort: 0}]", "spec.containers[0].ports[0].containerPort"),
        (
            ", ports: [{containerPort: 80, hostPort: 0}]",
            "spec.containers[0].ports[0].hostPort: must be between",
        ),
        (
            ", ports: [{containerPort: 80, hostPort: 80, hostIP: x}]",
            "spec.containers[0].ports[0].hostIP: Invalid value: \"x\"",
        ),
        (", readinessProbe: {tcpSocket: {port: web}}", "no port is named \"web\""),
        (", readinessProbe: {}", "must have one of tcpSocket"),
    ] {
        let daemon = Daemon::admin(|_| vec![Response::Done]);
        apply(&daemon, &pod(spec), &[]).fails(1, &["The Pod \"p\" is invalid", part]);
        assert_eq!(daemon.seen(), []);
    }
}

#[test]
fn annotations_of_kubernetes_limit_a_pods_bandwidth() {
    let pod = |annotations: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {{{annotations}}}\n\
             spec:\n  containers:\n  - {{name: p, command: [sleep]}}\n"
        )
    };
    let daemon = Daemon::admin(|request| match request {
        AdminRequest::Read(ReadRequest::GetPod(_)) => {
            vec![Response::Error(ApiError::new(ErrorCode::NotFound, "there is none"))]
        }
        _ => vec![Response::Done],
    });
    let limits = "kubernetes.io/ingress-bandwidth: 10M, kubernetes.io/egress-bandwidth: 1Gi";
    apply(&daemon, &pod(limits), &[]);
    let asked = daemon.seen().into_iter().find_map(|request| match request {
        AdminRequest::CreatePod(request) => Some(request.bandwidth),
        _ => None,
    });
    let Some(bandwidth) = asked else { panic!("{:?}", daemon.seen()) };
    assert_eq!((bandwidth.ingress_rate, bandwidth.egress_rate), (Some(10_000_000), Some(1 << 30)));
    assert_eq!((bandwidth.ingress_burst, bandwidth.egress_burst), (None, None));
    for value in ["fast", "999", "2P", "\"0\""] {
        let daemon = Daemon::admin(|_| vec![Response::Done]);
        let annotation = format!("kubernetes.io/egress-bandwidth: {value}");
        let text = pod(&annotation.replace(": 999", ": \"999\""));
        apply(&daemon, &text, &[]).fails(1, &["metadata.annotations[kubernetes.io/egress-bandwidth]"]);
        assert_eq!(daemon.seen(), []);
    }
}

#[test]
fn create_service_has_kubectls_habits() {
    let daemon = Daemon::admin(|request| match request {
        AdminRequest::Apply { .. } => outcome(Outcome::Created),
        _ => vec![Response::Done],
    });
    let run = ["create-service", "nodeport", "web", "--tcp", "80:http", "--node-port", "30080"];
    daemon.run(&run).prints("service/web created\n");
    let seen = daemon.seen();
    let Some(AdminRequest::Apply { manifests, .. }) = seen.last() else { panic!("{seen:?}") };
    let object: serde_json::Value = serde_json::from_str(&manifests[0]).unwrap();
    assert_eq!(object["spec"]["selector"], serde_json::json!({ "app": "web" }));
    assert_eq!(object["spec"]["ports"][0]["targetPort"], "http");
    assert_eq!(object["spec"]["ports"][0]["nodePort"], 30080);
    for (arguments, part) in [
        (&["clusterip", "web"][..], "at least one port"),
        (&["clusterip", "web", "--tcp", "0"], "not a port"),
        (&["clusterip", "web", "--tcp", "65536"], "not a port"),
        (&["clusterip", "web", "--tcp", "80:99999"], "not a port"),
        (&["externalname", "web"], "--external-name"),
    ] {
        let all: Vec<&str> = std::iter::once("create-service").chain(arguments.iter().copied()).collect();
        daemon.run(&all).fails(2, &[part]);
    }
}

#[test]
fn services_are_listed_as_kubectl_does() {
    let json = serde_json::json!({ "metadata": { "name": "web" }, "spec": {
        "type": "NodePort", "clusterIP": "10.96.0.7", "selector": { "app": "web" },
        "ports": [{ "port": 80, "nodePort": 30080, "protocol": "TCP" }],
    } });
    let document = Document {
        namespace: Some("default".parse().unwrap()),
        name: "web".parse().unwrap(),
        created: Timestamp::now(),
        json: json.to_string(),
        ready: 1,
        endpoints: 2,
    };
    let daemon = Daemon::admin(move |request| match request {
        AdminRequest::Read(ReadRequest::List { kind: Kind::Services, .. }) => {
            vec![Response::Items(Items::Services(vec![document.clone()])), Response::Done]
        }
        _ => vec![Response::Done],
    });
    let run = daemon.run(&["get", "svc"]);
    assert!(
        run.out.starts_with("NAME   TYPE       CLUSTER-IP   EXTERNAL-IP   PORT(S)        AGE\n"),
        "{}",
        run.out
    );
    assert!(run.out.contains("web    NodePort   10.96.0.7    <none>        80:30080/TCP"), "{}", run.out);
    daemon.run(&["get", "svc", "web", "-o", "name"]).prints("service/web\n");
    daemon.run(&["get", "svc", "db"]).fails(1, &["service \"db\" not found"]);
}
