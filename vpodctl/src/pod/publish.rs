//! `create-pod --publish`, as podman and docker have it: `[HOST_IP:]HOST_PORT:CONTAINER_PORT[/PROTOCOL]`.

use std::net::{IpAddr, Ipv4Addr};

use protocol::link::Transport;
use protocol::object::ContainerPort;

const FORM: &str = "[IP:]PORT:PORT[/PROTOCOL], as in 8080:80, 127.0.0.1:8080:80 or 53:53/udp";

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<ContainerPort, String> {
    let bad = || format!("\"{text}\" is not {FORM}");
    let (ports, transport) = match text.split_once('/') {
        None => (text, Transport::Tcp),
        Some((ports, word)) => (ports, transport(word).ok_or_else(bad)?),
    };
    let mut words: Vec<&str> = ports.split(':').collect();
    let number = number(words.pop().ok_or_else(bad)?).ok_or_else(bad)?;
    let host_port = self::number(words.pop().ok_or_else(bad)?).ok_or_else(bad)?;
    let host_ip = match words.as_slice() {
        [] => None,
        [address] => Some(address.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| bad())?),
        _ => return Err(bad()),
    };
    Ok(ContainerPort { name: String::new(), number, transport, host_port: Some(host_port), host_ip })
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|number| *number > 0)
}

fn transport(word: &str) -> Option<Transport> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        "sctp" => Some(Transport::Sctp),
        _ => None,
    }
}

/// For people: `192.0.2.1:8080 -> 80/TCP`.
pub(super) fn shown(port: &ContainerPort) -> Option<String> {
    let host_port = port.host_port?;
    let at = port.host_address().map(|ip| format!("{ip}:")).unwrap_or_default();
    let protocol = match port.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
        Transport::Sctp => "SCTP",
    };
    Some(format!("{at}{host_port} -> {}/{protocol}", port.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_for_podman() {
        for (text, expected) in [
            ("8080:80", "8080 -> 80/TCP"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080 -> 80/TCP"),
            ("0.0.0.0:53:5353/udp", "53 -> 5353/UDP"),
            ("9:9/SCTP", "9 -> 9/SCTP"),
        ] {
            assert_eq!(shown(&parse(text).unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_form() {
        for text in [
            "",
            "80",
            "0:80",
            "80:0",
            "80:65536",
            "x:80",
            "1:2:3:4",
            "::1:80:80",
            "80:80/icmp",
            "300.0.0.1:80:80",
        ] {
            assert!(parse(text).unwrap_err().ends_with(FORM), "{text}");
        }
    }
}
