//! `create-pod`.

use std::collections::BTreeMap;

use protocol::message::{AdminRequest, CreatePod, PodRef, Response};
use protocol::object::{Resources, Serving, Timestamp};

use crate::cli::Target;
use crate::cli::args::CreatePodArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output::table::View;
use crate::output::{self, Format};

pub(crate) fn run(target: &Target, args: CreatePodArgs) -> Result<(), CliError> {
    let format = args.output;
    let request = request(args)?;
    let mut daemon = Connection::admin(target, "create-pod")?;
    let pod = match daemon.request(&AdminRequest::CreatePod(Box::new(request)))? {
        Response::Pod(pod) => *pod,
        other => return Err(unexpected(&other)),
    };
    match format {
        None => output::print(&format!("pod/{} created\n", pod.metadata.name)),
        Some(format) => {
            let view = View { wide: format == Format::Wide, ..View::default() };
            output::print(&output::render(&[pod], format, view, true, Timestamp::now())?)
        }
    }
}

fn request(args: CreatePodArgs) -> Result<CreatePod, CliError> {
    let mut labels = BTreeMap::new();
    for (key, value) in args.labels {
        if labels.insert(key.clone(), value).is_some() {
            return Err(CliError::Usage(format!("the label \"{key}\" is given twice")));
        }
    }
    let serving = Serving { ports: args.publish, readiness: args.readiness.probe(), weight: args.weight };
    Ok(CreatePod {
        pod: PodRef { namespace: args.namespace.namespace, name: args.name },
        labels,
        ip: args.ip,
        mac: args.mac,
        port_security: !args.no_port_security,
        resources: Resources { cpu_millicores: args.cpu, memory_bytes: args.memory },
        restart_policy: args.restart,
        command: args.command,
        serving,
        dns: args.dns.dns()?,
        hostname: args.dns.hostname,
        subdomain: args.dns.subdomain,
        bandwidth: args.bandwidth.bandwidth(),
    })
}
