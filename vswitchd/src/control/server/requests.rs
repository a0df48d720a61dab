//! What each request does. Changes pass the gate and leave one line in the audit log.

use std::fmt::Display;
use std::time::Duration;

use protocol::codec::{CodecError, MAX_ADMIN_FRAME_BYTES};
use store::services::write::Run;

use protocol::message::{AdminRequest, ApiError, ErrorCode, ReadRequest, Response};

use super::super::error::chain;
use super::super::node::Control;
use super::super::pods::{self, containers, create, delete};
use super::super::{
    capture, cluster, container_logs, feed, ingress, label, metrics, policy, services, tables, trace,
};
use super::attachments;
use super::connection::Client;

/// Bytes of metrics in one response.
const METRICS_BYTES: usize = MAX_ADMIN_FRAME_BYTES / 4;

/// Answers one request.
pub(super) fn answer(
    control: &Control,
    client: &mut Client,
    request: AdminRequest,
) -> Result<(), CodecError> {
    let response = match request {
        AdminRequest::Read(request) => return read(control, client, request),
        AdminRequest::CreatePod(request) => {
            let pod = request.pod.clone();
            change(control, client, "create-pod", &pod, || {
                create::create(control, *request).map(|pod| Response::Pod(Box::new(pod)))
            })
        }
        AdminRequest::DeletePod(pod) => change(control, client, "delete-pod", &pod, || {
            delete::delete_asked(control, &pod).map(|()| Response::Done)
        }),
        AdminRequest::RunContainer { pod, name, command } => {
            let object = format!("{pod} {name}");
            change(control, client, "run-container", &object, || {
                containers::run(control, &pod, name, command).map(|pod| Response::Pod(Box::new(pod)))
            })
        }
        AdminRequest::EnterPod(pod) => change(control, client, "exec", &pod, || {
            containers::usable(control, &pod).map(|record| Response::Entry(pods::entry(control, &record)))
        }),
        AdminRequest::DeleteNode(name) => change(control, client, "delete-node", &name, || {
            cluster::delete_node(control, name.as_str()).map(|()| Response::Done)
        }),
        AdminRequest::Apply { manifests, dry_run } => {
            let what = format!("{} objects", manifests.len());
            let run = if dry_run { Run::Dry } else { Run::Real };
            change(control, client, "apply", &what, || {
                Ok(Response::Applied(services::apply(control, &manifests, run)))
            })
        }
        AdminRequest::DeleteObject { kind, namespace, name, dry_run } => {
            let what = format!("{kind:?} {namespace}/{name}");
            let run = if dry_run { Run::Dry } else { Run::Real };
            change(control, client, "delete", &what, || {
                services::delete(control, kind, &namespace, &name, run).map(|()| Response::Done)
            })
        }
        AdminRequest::Label { kind, namespace, name, set, remove, overwrite } => {
            let what = format!("{kind:?} {namespace}/{name}");
            let labels = label::Labels { set, remove, overwrite };
            change(control, client, "label", &what, || {
                label::label(control, kind, &namespace, &name, &labels).map(|()| Response::Done)
            })
        }
        AdminRequest::Attachment(request) => return attachments::answer(control, client, request),
        AdminRequest::SetLogFilter(filter) => change(control, client, "set-log-filter", &filter, || {
            control
                .set_log_filter(&filter)
                .map(|()| Response::Done)
                .map_err(|e| ApiError::new(ErrorCode::Invalid, e.to_string()))
        }),
        AdminRequest::Logs { pod, container, follow, tail, previous } => {
            let wanted = container_logs::Wanted { container, follow, tail, previous };
            match container_logs::open(control, &pod, &wanted) {
                Ok(logs) => return logs.send(client),
                Err(error) => Response::Error(error),
            }
        }
        AdminRequest::Capture { pod, snaplen } => {
            tracing::info!(target: "audit", uid = client.peer.uid, pid = client.peer.pid, verb = "capture", object = %pod);
            match capture::start(control, &pod, snaplen) {
                Ok(capture) => return capture.send(client),
                Err(error) => Response::Error(error),
            }
        }
    };
    client.send(&response)
}

fn read(control: &Control, client: &mut Client, request: ReadRequest) -> Result<(), CodecError> {
    let unavailable =
        |e: &dyn std::error::Error| Response::Error(ApiError::new(ErrorCode::Unavailable, chain(e)));
    let is_readable = match &request {
        ReadRequest::List { kind, .. } | ReadRequest::GetObject { kind, .. } => {
            ingress::is_readable(control, *kind, client.uid())
        }
        _ => Ok(()),
    };
    if let Err(error) = is_readable {
        return client.send(&Response::Error(error));
    }
    let response = match request {
        ReadRequest::List { kind, namespace } => match tables::list(control, kind, namespace.as_ref()) {
            Ok(pages) => {
                for page in pages {
                    client.send_items(page)?;
                }
                Response::Done
            }
            Err(error) => unavailable(&error),
        },
        ReadRequest::GetObject { kind, namespace, name } => {
            match tables::object(control, kind, &namespace, &name) {
                Some(items) => {
                    client.send_items(items)?;
                    Response::Done
                }
                None => {
                    let text = format!("{namespace}/{name} does not exist");
                    Response::Error(ApiError::new(ErrorCode::NotFound, text))
                }
            }
        }
        ReadRequest::GetPod(pod) => match pods::show(control, &pod) {
            Ok(pod) => Response::Pod(Box::new(pod)),
            Err(error) => Response::Error(error),
        },
        ReadRequest::Status => Response::Status(Box::new(tables::status(control))),
        ReadRequest::Metrics => {
            // Thousands of services with their backends are more than a frame has room for.
            for piece in metrics::text(control).into_bytes().chunks(METRICS_BYTES) {
                client.send(&Response::Bytes(piece.to_vec()))?;
            }
            Response::Done
        }
        ReadRequest::Programming { revision, patience_ms } => {
            match services::report(control, revision, Duration::from_millis(patience_ms.into())) {
                Ok(programming) => Response::Programming(programming),
                Err(error) => unavailable(&error),
            }
        }
        ReadRequest::Follow(request) => return feed::follow(control, client, &request),
        ReadRequest::TestPolicy(request) => match policy::test(control, &request) {
            Ok(verdicts) => Response::PolicyVerdicts(verdicts),
            Err(error) => Response::Error(error),
        },
        ReadRequest::AuditPolicies { manifests } => match policy::audit(control, &manifests) {
            Ok(audit) => Response::PolicyAudit(Box::new(audit)),
            Err(error) => Response::Error(error),
        },
        ReadRequest::Trace(request) => match trace::trace(control, &request) {
            Ok(trace) => Response::Trace(Box::new(trace)),
            Err(error) => Response::Error(error),
        },
    };
    client.send(&response)
}

/// Does what changes something, unless the daemon is stopping.
pub(super) fn change(
    control: &Control,
    client: &Client,
    verb: &str,
    object: &dyn Display,
    work: impl FnOnce() -> Result<Response, ApiError>,
) -> Response {
    let result = match control.gate.enter() {
        Some(_inside) => work(),
        None => Err(ApiError::new(ErrorCode::Unavailable, "vswitchd is stopping; try again once it runs")),
    };
    let (uid, pid) = (client.peer.uid, client.peer.pid);
    match result {
        Ok(response) => {
            tracing::info!(target: "audit", uid, pid, verb, %object, result = "ok");
            response
        }
        Err(error) => {
            tracing::info!(target: "audit", uid, pid, verb, %object, result = ?error.code, "{error}");
            Response::Error(error)
        }
    }
}
