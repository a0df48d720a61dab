//! `trace`: what the switch would do with a packet, and why.

use std::net::{IpAddr, SocketAddr};

use protocol::link::TraceProtocol;
use protocol::message::{PodRef, ReadRequest, Response, TraceDestination, TraceRequest};
use protocol::object::{ConnTuple, Trace};
use protocol::{NameError, Namespace, ObjectName};

use crate::cli::Target;
use crate::cli::args::{Document, TraceArgs};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::flow::{end, protocol_name};
use crate::output::{self, document, table};

pub(crate) fn run(target: &Target, args: &TraceArgs) -> Result<(), CliError> {
    let pod = args.pod.reference();
    let protocol = match (args.udp, args.icmp) {
        (true, _) => TraceProtocol::Udp,
        (_, true) => TraceProtocol::Icmp,
        (false, false) => TraceProtocol::Tcp,
    };
    let destination = destination(&args.to, &pod.namespace, protocol)?;
    let request = TraceRequest { pod, protocol, source_port: args.from_port, destination, size: args.size };
    let trace = match Connection::read(target)?.ask(ReadRequest::Trace(request))? {
        Response::Trace(trace) => trace,
        other => return Err(unexpected(&other)),
    };
    let value = || document::of_kind("Trace", &*trace);
    output::print(&match args.output {
        None => text(&trace),
        Some(Document::Json) => document::json(&value())?,
        Some(Document::Yaml) => document::yaml(&value())?,
    })
}

fn destination(text: &str, here: &Namespace, protocol: TraceProtocol) -> Result<TraceDestination, CliError> {
    let wrong = |problem: &str| CliError::Usage(format!("--to \"{text}\": {problem}"));
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(TraceDestination::Address { address: socket.ip(), port: socket.port() });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return match protocol {
            TraceProtocol::Icmp => Ok(TraceDestination::Address { address, port: 0 }),
            TraceProtocol::Tcp | TraceProtocol::Udp => Err(wrong("write ADDRESS:PORT")),
        };
    }
    let (kind, rest) =
        text.split_once('/').ok_or_else(|| wrong("write ADDRESS:PORT, service/NAME or pod/NAME"))?;
    let (object, port) = rest.split_once(':').map_or((rest, None), |(object, port)| (object, Some(port)));
    let (namespace, name) = match object.split_once('/') {
        Some((namespace, name)) => (namespace.parse().map_err(|e: NameError| wrong(&e.to_string()))?, name),
        None => (here.clone(), object),
    };
    let name: ObjectName = name.parse().map_err(|e: NameError| wrong(&e.to_string()))?;
    match kind {
        "service" | "services" | "svc" => {
            Ok(TraceDestination::Service { namespace, name, port: port.map(str::to_owned) })
        }
        "pod" | "pods" | "po" => {
            let port = match (port, protocol) {
                (Some(port), _) => port.parse().map_err(|_| wrong("the port of a pod is a number"))?,
                (None, TraceProtocol::Icmp) => 0,
                (None, TraceProtocol::Tcp | TraceProtocol::Udp) => return Err(wrong("write pod/NAME:PORT")),
            };
            Ok(TraceDestination::Pod { pod: PodRef { namespace, name }, port })
        }
        _ => Err(wrong("write ADDRESS:PORT, service/NAME or pod/NAME")),
    }
}

fn text(trace: &Trace) -> String {
    let head = format!(
        "{} {} of {} bytes, sent by {}\n\n",
        protocol_name(trace.protocol),
        words(&trace.packet),
        trace.size,
        trace.ingress
    );
    let header = ["STEP", "RESULT", "WHY"].map(str::to_owned).into();
    let rows =
        trace.steps.iter().map(|step| vec![step.step.clone(), step.result.clone(), step.reason.clone()]);
    let lines = table::aligned(std::iter::once(header).chain(rows).collect());
    let tail = match (&trace.becomes, &trace.egress) {
        (Some(becomes), Some(egress)) => format!("\nleaves by {egress} as {}\n", words(becomes)),
        _ => String::new(),
    };
    head + &lines.concat() + &tail
}

fn words(tuple: &ConnTuple) -> String {
    let ConnTuple { source, source_port, destination, destination_port } = *tuple;
    format!("{} → {}", end(source, source_port), end(destination, destination_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, protocol: TraceProtocol) -> Result<TraceDestination, String> {
        destination(text, &"shop".parse().unwrap(), protocol).map_err(|error| error.to_string())
    }

    #[test]
    fn destinations_are_addresses_services_and_pods() {
        let tcp = TraceProtocol::Tcp;
        let address = |text: &str, port| TraceDestination::Address { address: text.parse().unwrap(), port };
        let service = |namespace: &str, port: Option<&str>| TraceDestination::Service {
            namespace: namespace.parse().unwrap(),
            name: "web".parse().unwrap(),
            port: port.map(str::to_owned),
        };
        assert_eq!(parsed("10.0.0.1:80", tcp), Ok(address("10.0.0.1", 80)));
        assert_eq!(parsed("10.0.0.1", TraceProtocol::Icmp), Ok(address("10.0.0.1", 0)));
        assert_eq!(parsed("service/web", tcp), Ok(service("shop", None)));
        assert_eq!(parsed("svc/prod/web:http", tcp), Ok(service("prod", Some("http"))));
        let pod = PodRef { namespace: "shop".parse().unwrap(), name: "web".parse().unwrap() };
        assert_eq!(parsed("pod/web:8080", tcp), Ok(TraceDestination::Pod { pod, port: 8080 }));
        for wrong in ["10.0.0.1", "web", "pod/web", "pod/web:http", "node/a", "service/Web", "service/"] {
            let error = parsed(wrong, tcp).unwrap_err();
            assert!(error.contains("--to"), "{error}");
        }
    }
}
