//! `apply -f` and `delete -f`: objects from manifests.

use protocol::client::ClientError;
use protocol::message::{AdminRequest, ApiError, ErrorCode, Kind, Outcome, Response};
use serde_json::{Value, json};

use crate::cli::Target;
use crate::cli::args::{ApplyArgs, Document, FileArgs};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::manifest::{self, Manifest, Named};
use crate::output::{self, document};
use crate::wait;

/// Objects in one request, and bytes of them; a message may have a MiB.
const OBJECTS_PER_REQUEST: usize = 256;
const BYTES_PER_REQUEST: usize = 512 << 10;

/// Goes on after an object that is refused, and fails in the end if there was one.
pub(crate) fn run(target: &Target, args: &ApplyArgs) -> Result<(), CliError> {
    let FileArgs { files, namespace, validate } = &args.files;
    let objects = manifest::read(files, &namespace.namespace, *validate)?;
    let mut daemon = Connection::admin(target, "apply")?;
    let mut report = Report::new(args);
    let mut batch = Batch::default();
    for object in &objects {
        match &object.manifest {
            Manifest::Pod(pod) => {
                report.all(batch.send(&mut daemon, args.dry_run)?)?;
                report.one(apply_pod(&mut daemon, object, pod, args.dry_run)?)?;
            }
            Manifest::Service(value)
            | Manifest::EndpointSlice(value)
            | Manifest::Namespace(value)
            | Manifest::Object(_, value) => {
                let text = value.to_string();
                if !batch.has_room(&text) {
                    report.all(batch.send(&mut daemon, args.dry_run)?)?;
                }
                batch.add(object, text);
            }
        }
    }
    report.all(batch.send(&mut daemon, args.dry_run)?)?;
    report.finish(&mut daemon)
}

/// What is said of each object, and at the end.
struct Report<'a> {
    args: &'a ApplyArgs,
    suffix: &'static str,
    failed: bool,
    revision: Option<u64>,
    said: Vec<Value>,
}

impl<'a> Report<'a> {
    const fn new(args: &'a ApplyArgs) -> Self {
        let suffix = if args.dry_run { " (dry run)" } else { "" };
        Self { args, suffix, failed: false, revision: None, said: Vec::new() }
    }

    fn all(&mut self, done: Vec<Done>) -> Result<(), CliError> {
        done.into_iter().try_for_each(|one| self.one(one))
    }

    fn one(&mut self, done: Done) -> Result<(), CliError> {
        match done {
            Ok(Applied { name, word, revision }) => {
                self.revision = self.revision.max(revision);
                if self.args.output.is_none() {
                    output::print(&format!("{name} {word}{}\n", self.suffix))?;
                }
                self.said.push(json!({ "object": name, "outcome": word, "revision": revision }));
            }
            Err(error) => {
                eprintln!("error: {error}");
                self.failed = true;
            }
        }
        Ok(())
    }

    fn finish(self, daemon: &mut Connection) -> Result<(), CliError> {
        let Self { args, failed, revision, said, .. } = self;
        let value = json!({ "revision": revision, "objects": said });
        match args.output {
            None => {}
            Some(Document::Json) => output::print(&document::json(&value)?)?,
            Some(Document::Yaml) => output::print(&document::yaml(&value)?)?,
        }
        if let Some(revision) = revision.filter(|_| args.wait) {
            let what = format!("revision {revision}");
            let found = wait::until_active(daemon, Some(revision), args.timeout, &what)?;
            if args.output.is_none() {
                output::print(&wait::said(&found))?;
            }
        }
        if failed { Err(CliError::Reported) } else { Ok(()) }
    }
}

/// What was done with an object.
pub(crate) struct Applied {
    pub(crate) name: String,
    word: &'static str,
    /// The store's, of what is waited for.
    revision: Option<u64>,
}

/// What was done with an object, or why nothing was.
type Done = Result<Applied, ApiError>;

pub(crate) fn apply_one(
    daemon: &mut Connection,
    object: &Named,
    value: &Value,
    dry_run: bool,
) -> Result<Done, CliError> {
    let mut batch = Batch::default();
    batch.add(object, value.to_string());
    let done = batch.send(daemon, dry_run)?.pop();
    done.ok_or_else(|| ClientError::Unexpected("an answer about no object".to_owned()).into())
}

/// Objects that go in one request.
#[derive(Default)]
struct Batch {
    names: Vec<String>,
    manifests: Vec<String>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, text: &str) -> bool {
        self.manifests.len() < OBJECTS_PER_REQUEST && self.bytes + text.len() <= BYTES_PER_REQUEST
    }

    fn add(&mut self, object: &Named, text: String) {
        self.names.push(format!("{}/{}", word(&object.manifest), object.name));
        self.bytes += text.len();
        self.manifests.push(text);
    }

    /// Leaves it empty. One answer an object, in order.
    fn send(&mut self, daemon: &mut Connection, dry_run: bool) -> Result<Vec<Done>, CliError> {
        let Self { names, manifests, .. } = std::mem::take(self);
        if manifests.is_empty() {
            return Ok(Vec::new());
        }
        let applied = match daemon.request(&AdminRequest::Apply { manifests, dry_run })? {
            Response::Applied(applied) => applied,
            other => return Err(unexpected(&other)),
        };
        if applied.len() != names.len() {
            let problem = format!("answers about {} objects, not {}", applied.len(), names.len());
            return Err(ClientError::Unexpected(problem).into());
        }
        let outcome = |(name, applied): (String, protocol::message::Applied)| {
            let revision = applied.revision;
            let done = |word| Ok(Applied { name, word, revision });
            match applied.outcome {
                Outcome::Created => done("created"),
                Outcome::Configured => done("configured"),
                Outcome::Unchanged => done("unchanged"),
                Outcome::Failed(error) => Err(error),
            }
        };
        Ok(names.into_iter().zip(applied).map(outcome).collect())
    }
}

/// As kubectl names an object's kind.
pub(crate) const fn word(manifest: &Manifest) -> &'static str {
    match manifest {
        Manifest::Pod(_) => "pod",
        Manifest::Service(_) => "service",
        Manifest::EndpointSlice(_) => "endpointslice.discovery.k8s.io",
        Manifest::Namespace(_) => "namespace",
        Manifest::Object(kind, _) => match kind {
            Kind::Ingresses => "ingress.networking.k8s.io",
            Kind::IngressClasses => "ingressclass.networking.k8s.io",
            Kind::GatewayClasses => "gatewayclass.gateway.networking.k8s.io",
            Kind::Gateways => "gateway.gateway.networking.k8s.io",
            Kind::HttpRoutes => "httproute.gateway.networking.k8s.io",
            Kind::NetworkPolicies => "networkpolicy.networking.k8s.io",
            Kind::ClusterNetworkPolicies => "clusternetworkpolicy.policy.vpod.io",
            _ => "secret",
        },
    }
}

/// A pod is made once; what it is made of cannot be changed.
fn apply_pod(
    daemon: &mut Connection,
    object: &Named,
    pod: &k8s_openapi::api::core::v1::Pod,
    dry_run: bool,
) -> Result<Done, CliError> {
    let name = format!("pod/{}", object.name);
    let invalid = |problem: String| {
        ApiError::new(ErrorCode::Invalid, format!("The Pod \"{}\" is invalid: {problem}", object.name))
    };
    let request = match manifest::pod::request(object, pod) {
        Ok(request) => request,
        Err(problem) => return Ok(Err(invalid(problem))),
    };
    for warning in &request.warnings {
        eprintln!("Warning: {name}: {warning}");
    }
    match daemon.pod(request.create.pod.clone()) {
        Ok(known) => {
            let same = known.metadata.labels == request.create.labels
                && known.spec.serving == request.create.serving
                && known.spec.containers.first().map(|c| c.command.clone()).unwrap_or_default()
                    == request.create.command;
            let problem = "pod updates may not change fields; delete it and apply again";
            return Ok(if same {
                Ok(Applied { name, word: "unchanged", revision: None })
            } else {
                Err(invalid(problem.to_owned()))
            });
        }
        Err(CliError::Client(ClientError::Api(error))) if error.code == ErrorCode::NotFound => {}
        Err(error) => return Err(error),
    }
    if dry_run {
        return Ok(Ok(Applied { name, word: "created", revision: None }));
    }
    let reference = request.create.pod.clone();
    let mut requests = vec![AdminRequest::CreatePod(Box::new(request.create))];
    for (container, command) in request.more {
        let Ok(container) = container.parse() else {
            return Ok(Err(invalid(format!("container \"{container}\": its name is no DNS name"))));
        };
        requests.push(AdminRequest::RunContainer { pod: reference.clone(), name: container, command });
    }
    for request in &requests {
        match daemon.request(request) {
            Ok(_) => {}
            Err(CliError::Client(ClientError::Api(error))) => return Ok(Err(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(Applied { name, word: "created", revision: None }))
}

/// Deletes what the files describe, the last first, so that nothing is left without what it needs.
pub(crate) fn delete(target: &Target, files: &FileArgs, ignore_not_found: bool) -> Result<(), CliError> {
    let objects = manifest::read(&files.files, &files.namespace.namespace, files.validate)?;
    let mut daemon = Connection::admin(target, "delete")?;
    let mut failed = false;
    for object in objects.iter().rev() {
        let (namespace, name) = (object.namespace.clone(), object.name.clone());
        let of_kind = |kind| AdminRequest::DeleteObject { kind, namespace, name, dry_run: false };
        let request = match &object.manifest {
            Manifest::Pod(_) => AdminRequest::DeletePod(protocol::message::PodRef {
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            }),
            Manifest::Service(_) => of_kind(Kind::Services),
            Manifest::EndpointSlice(_) => of_kind(Kind::EndpointSlices),
            Manifest::Namespace(_) => of_kind(Kind::Namespaces),
            Manifest::Object(kind, _) => of_kind(*kind),
        };
        let one = std::iter::once((&object.name, request));
        match crate::delete::each(&mut daemon, word(&object.manifest), one, ignore_not_found) {
            Err(CliError::Reported) => failed = true,
            other => other?,
        }
    }
    if failed { Err(CliError::Reported) } else { Ok(()) }
}
