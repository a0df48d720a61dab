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

/// Goes on after an object that is refused, and fails in the end if there was one.
pub(crate) fn run(target: &Target, args: &ApplyArgs) -> Result<(), CliError> {
    let FileArgs { files, namespace, validate } = &args.files;
    let objects = manifest::read(files, &namespace.namespace, *validate)?;
    let mut daemon = Connection::admin(target, "apply")?;
    let suffix = if args.dry_run { " (dry run)" } else { "" };
    let mut failed = false;
    let mut revision = None;
    let mut said = Vec::new();
    for object in &objects {
        let done = match &object.manifest {
            Manifest::Pod(pod) => apply_pod(&mut daemon, object, pod, args.dry_run)?,
            Manifest::Service(value) | Manifest::EndpointSlice(value) | Manifest::Namespace(value) => {
                apply_one(&mut daemon, object, value, args.dry_run)?
            }
        };
        match done {
            Ok(Applied { name, word, revision: its }) => {
                revision = revision.max(its);
                if args.output.is_none() {
                    output::print(&format!("{name} {word}{suffix}\n"))?;
                }
                said.push(json!({ "object": name, "outcome": word, "revision": its }));
            }
            Err(error) => {
                eprintln!("error: {error}");
                failed = true;
            }
        }
    }
    let value = json!({ "revision": revision, "objects": said });
    match args.output {
        None => {}
        Some(Document::Json) => output::print(&document::json(&value)?)?,
        Some(Document::Yaml) => output::print(&document::yaml(&value)?)?,
    }
    if let Some(revision) = revision.filter(|_| args.wait) {
        let what = format!("revision {revision}");
        let found = wait::until_active(&mut daemon, Some(revision), args.timeout, &what)?;
        if args.output.is_none() {
            output::print(&wait::said(&found))?;
        }
    }
    if failed { Err(CliError::Reported) } else { Ok(()) }
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
    let request = AdminRequest::Apply { manifests: vec![value.to_string()], dry_run };
    let applied = match daemon.request(&request)? {
        Response::Applied(applied) => applied,
        other => return Err(unexpected(&other)),
    };
    let Some(applied) = applied.into_iter().next() else {
        return Err(ClientError::Unexpected("an answer about no object".to_owned()).into());
    };
    let name = format!("{}/{}", word(&object.manifest), object.name);
    let revision = applied.revision;
    let done = |word| Ok(Applied { name, word, revision });
    Ok(match applied.outcome {
        Outcome::Created => done("created"),
        Outcome::Configured => done("configured"),
        Outcome::Unchanged => done("unchanged"),
        Outcome::Failed(error) => Err(error),
    })
}

/// As kubectl names an object's kind.
pub(crate) const fn word(manifest: &Manifest) -> &'static str {
    match manifest {
        Manifest::Pod(_) => "pod",
        Manifest::Service(_) => "service",
        Manifest::EndpointSlice(_) => "endpointslice.discovery.k8s.io",
        Manifest::Namespace(_) => "namespace",
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
    let mut requests = vec![AdminRequest::CreatePod(request.create)];
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
        };
        let one = std::iter::once((&object.name, request));
        match crate::delete::each(&mut daemon, word(&object.manifest), one, ignore_not_found) {
            Err(CliError::Reported) => failed = true,
            other => other?,
        }
    }
    if failed { Err(CliError::Reported) } else { Ok(()) }
}
