//! `policy test`: whether policies allow a connection, and why.

use std::net::{IpAddr, SocketAddr};

use protocol::message::{PodRef, PolicyEnd, PolicyTest, ReadRequest, Response};
use protocol::object::PolicyVerdict;
use protocol::{NameError, Namespace, ObjectName};

use super::words;
use crate::cli::Target;
use crate::cli::args::Document;
use crate::cli::policy::PolicyTestArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output::{self, document};

// IANA protocol numbers.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

pub(crate) fn run(target: &Target, args: &PolicyTestArgs) -> Result<(), CliError> {
    let here = &args.namespace.namespace;
    let from = source(&args.from, here)?;
    let (to, port) = destination(&args.to, here, args.protocol)?;
    let request = PolicyTest { from, to, protocol: args.protocol, port };
    let verdicts = match Connection::read(target)?.ask(ReadRequest::TestPolicy(request))? {
        Response::PolicyVerdicts(verdicts) => verdicts,
        other => return Err(unexpected(&other)),
    };
    let value =
        || document::list(verdicts.iter().map(|one| document::of_kind("PolicyVerdict", one)).collect());
    output::print(&match args.output {
        None => verdicts.iter().map(text).collect::<Vec<_>>().join("\n"),
        Some(Document::Json) => document::json(&value())?,
        Some(Document::Yaml) => document::yaml(&value())?,
    })?;
    if verdicts.iter().all(|verdict| verdict.allowed) { Ok(()) } else { Err(CliError::Reported) }
}

/// One verdict for people.
pub(super) fn text(verdict: &PolicyVerdict) -> String {
    let word = if verdict.allowed { "allowed" } else { "denied" };
    let PolicyVerdict { flow, egress, ingress, .. } = verdict;
    format!("{}: {word}\n  egress   {}\n  ingress  {}\n", words(flow), egress.reason, ingress.reason)
}

fn source(text: &str, here: &Namespace) -> Result<PolicyEnd, CliError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(PolicyEnd::Address(address)),
        Err(_) => pod(text, here).map(PolicyEnd::Pod).map_err(|problem| wrong("--from", text, &problem)),
    }
}

fn wrong(option: &str, text: &str, problem: &str) -> CliError {
    CliError::Usage(format!("{option} \"{text}\": {problem}"))
}

fn pod(text: &str, here: &Namespace) -> Result<PodRef, String> {
    let text = text.strip_prefix("pod/").unwrap_or(text);
    let (namespace, name) = object(text, here)?;
    Ok(PodRef { namespace, name })
}

fn object(text: &str, here: &Namespace) -> Result<(Namespace, ObjectName), String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace.parse().map_err(|e: NameError| e.to_string())?, name),
        None => (here.clone(), text),
    };
    Ok((namespace, name.parse().map_err(|e: NameError| e.to_string())?))
}

fn destination(text: &str, here: &Namespace, protocol: u8) -> Result<(PolicyEnd, u16), CliError> {
    let has_ports = WITH_PORTS.contains(&protocol);
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok((PolicyEnd::Address(socket.ip()), socket.port()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let missing = || Err(wrong("--to", text, "write ADDRESS:PORT"));
        return if has_ports { missing() } else { Ok((PolicyEnd::Address(address), 0)) };
    }
    let (place, port) = text.split_once(':').map_or((text, None), |(place, port)| (place, Some(port)));
    let service = ["service/", "svc/"].into_iter().find_map(|word| place.strip_prefix(word));
    if let Some(service) = service {
        let (namespace, name) = object(service, here).map_err(|problem| wrong("--to", text, &problem))?;
        return Ok((PolicyEnd::Service { namespace, name, port: port.map(str::to_owned) }, 0));
    }
    let pod = pod(place, here).map_err(|problem| wrong("--to", text, &problem))?;
    let port = match port {
        Some(port) => {
            port.parse().map_err(|_| wrong("--to", text, "the port of a pod is a number up to 65535"))?
        }
        None if has_ports => return Err(wrong("--to", text, "write POD:PORT")),
        None => 0,
    };
    Ok((PolicyEnd::Pod(pod), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, protocol: u8) -> Result<(PolicyEnd, u16), String> {
        destination(text, &"shop".parse().unwrap(), protocol).map_err(|error| error.to_string())
    }

    fn pod_end(namespace: &str, name: &str) -> PolicyEnd {
        PolicyEnd::Pod(PodRef { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() })
    }

    #[test]
    fn ends_are_pods_addresses_and_services() {
        assert_eq!(parsed("web:80", 6), Ok((pod_end("shop", "web"), 80)));
        assert_eq!(parsed("prod/web:80", 17), Ok((pod_end("prod", "web"), 80)));
        assert_eq!(parsed("pod/web:80", 6), Ok((pod_end("shop", "web"), 80)));
        assert_eq!(parsed("web", 1), Ok((pod_end("shop", "web"), 0)));
        assert_eq!(parsed("192.0.2.1:443", 6), Ok((PolicyEnd::Address("192.0.2.1".parse().unwrap()), 443)));
        assert_eq!(parsed("192.0.2.1", 1), Ok((PolicyEnd::Address("192.0.2.1".parse().unwrap()), 0)));
        let service = |namespace: &str, port: Option<&str>| PolicyEnd::Service {
            namespace: namespace.parse().unwrap(),
            name: "db".parse().unwrap(),
            port: port.map(str::to_owned),
        };
        assert_eq!(parsed("service/db", 6), Ok((service("shop", None), 0)));
        assert_eq!(parsed("svc/prod/db:sql", 6), Ok((service("prod", Some("sql")), 0)));
        for text in ["web", "web:http", "192.0.2.1", "Web:80", "a/b/c:80", "web:99999"] {
            let error = parsed(text, 6).unwrap_err();
            assert!(error.contains("--to") && error.contains(text), "{error}");
        }
        let here = "shop".parse().unwrap();
        assert!(matches!(source("192.0.2.1", &here), Ok(PolicyEnd::Address(_))));
        assert_eq!(source("a/b", &here).unwrap(), pod_end("a", "b"));
        assert!(source("service/a/b", &here).is_err());
    }
}
