//! `create-service` and `delete-service`, with kubectl's habits.

use protocol::Namespace;
use protocol::message::{AdminRequest, Kind};
use serde_json::{Value, json};

use crate::apply;
use crate::cli::Target;
use crate::cli::args::{CreateServiceArgs, DeleteServiceArgs, PortArg, ServiceType};
use crate::connection::Connection;
use crate::error::CliError;
use crate::manifest::{Manifest, Named};
use crate::{delete, output};

pub(crate) fn create(target: &Target, args: &CreateServiceArgs) -> Result<(), CliError> {
    let value = manifest(args)?;
    let namespace = args.namespace.namespace.clone();
    let object = Named {
        namespace: namespace.clone(),
        name: args.name.clone(),
        manifest: Manifest::Service(Value::Null),
    };
    let mut daemon = Connection::admin(target, "create-service")?;
    if daemon.list(Kind::Services, Some(namespace.clone())).is_ok_and(|pages| exists(pages, args)) {
        return Err(CliError::Exists { kind: "services", name: args.name.to_string() });
    }
    match apply::apply_one(&mut daemon, &object, &value, args.dry_run)? {
        Ok(apply::Applied { name, .. }) => {
            let suffix = if args.dry_run { " (dry run)" } else { "" };
            output::print(&format!("{name} created{suffix}\n"))
        }
        Err(error) => Err(protocol::client::ClientError::Api(error).into()),
    }
}

fn exists(pages: Vec<protocol::message::Items>, args: &CreateServiceArgs) -> bool {
    let rows = crate::get::rows_of::<crate::kept::Services>(pages).unwrap_or_default();
    rows.iter().any(|service| service.row.document.name == args.name)
}

fn manifest(args: &CreateServiceArgs) -> Result<Value, CliError> {
    let mut spec = json!({ "type": args.kind.word() });
    let all = [("TCP", &args.tcp), ("UDP", &args.udp), ("SCTP", &args.sctp)];
    let ports = all.iter().flat_map(|(protocol, ports)| ports.iter().map(move |port| (*protocol, port)));
    let ports: Vec<(&str, &PortArg)> = ports.collect();
    let wants_ports = args.kind != ServiceType::Externalname && args.cluster_ip.as_deref() != Some("None");
    if ports.is_empty() && wants_ports {
        return Err(CliError::Usage("at least one port is needed: --tcp PORT[:TARGET]".to_owned()));
    }
    if args.node_port.is_some() && ports.len() != 1 {
        return Err(CliError::Usage("--node-port goes with one port".to_owned()));
    }
    let entry = |(protocol, port): &(&str, &PortArg)| {
        let target = match port.target.parse::<u16>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(port.target.as_str()),
        };
        let mut entry = json!({ "port": port.number, "protocol": protocol, "targetPort": target });
        // As kubectl names them; TCP and UDP on one number need names of their own.
        let name = format!("{}-{}", port.number, port.target).to_ascii_lowercase();
        let twice = ports.iter().filter(|(_, other)| other.number == port.number).count() > 1;
        let name = if twice { format!("{}-{name}", protocol.to_ascii_lowercase()) } else { name };
        entry["name"] = name.into();
        if let Some(number) = args.node_port {
            entry["nodePort"] = number.into();
        }
        entry
    };
    if !ports.is_empty() {
        spec["ports"] = ports.iter().map(entry).collect();
    }
    if args.kind == ServiceType::Externalname {
        let name = args.external_name.as_ref();
        let missing = || CliError::Usage("an externalname service needs --external-name".to_owned());
        spec["externalName"] = name.ok_or_else(missing)?.as_str().into();
    } else {
        spec["selector"] = selector(args);
        if let Some(ip) = &args.cluster_ip {
            spec["clusterIP"] = ip.as_str().into();
        }
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": args.name,
            "namespace": args.namespace.namespace,
            "labels": { "app": args.name },
        },
        "spec": spec,
    }))
}

/// kubectl's default is `app=NAME`.
fn selector(args: &CreateServiceArgs) -> Value {
    if args.selector.is_empty() {
        return json!({ "app": args.name });
    }
    args.selector.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

pub(crate) fn delete(target: &Target, args: &DeleteServiceArgs) -> Result<(), CliError> {
    let mut daemon = Connection::admin(target, "delete-service")?;
    let namespace: &Namespace = &args.namespace.namespace;
    let requests = args.names.iter().map(|name| {
        let (namespace, name_of) = (namespace.clone(), name.clone());
        (name, AdminRequest::DeleteObject { kind: Kind::Services, namespace, name: name_of, dry_run: false })
    });
    delete::each(&mut daemon, "service", requests, args.ignore_not_found)
}
