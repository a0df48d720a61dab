//! The rules of kube-proxy's iptables mode (`pkg/proxy/iptables/proxier.go`), without comments, as it
//! writes them when there are more than 1000 endpoints.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

use super::super::services::{Frontend, Services};
use super::CLUSTER_CIDR;

/// Nothing, in place of whatever there is.
pub(super) const NONE: &str = "*filter\nCOMMIT\n*nat\nCOMMIT\n";

/// What is filtered; services without endpoints, of which there are none here, would be refused.
const FILTER: &str = "\
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

/// What does not depend on services, after all chains.
const NAT: &str = "\
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
";

/// Everything, in place of whatever there is.
pub(super) fn all(services: &Services) -> String {
    let mut text = FILTER.to_owned()
        + "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
           :KUBE-MARK-MASQ - [0:0]\n";
    services.frontends().for_each(|frontend| chains(&mut text, services, frontend));
    text += NAT;
    services.frontends().for_each(|frontend| rules(&mut text, services, frontend));
    list(&mut text, services);
    text + "COMMIT\n"
}

/// For `--noflush`: the list of all services, which kube-proxy writes each time, and the chains of one.
pub(super) fn change(services: &Services, number: u32) -> String {
    let mut text = "*nat\n:KUBE-SERVICES - [0:0]\n".to_owned();
    services.frontends_of(number).for_each(|frontend| chains(&mut text, services, frontend));
    services.frontends_of(number).for_each(|frontend| rules(&mut text, services, frontend));
    list(&mut text, services);
    text + "COMMIT\n"
}

/// kube-proxy hashes names into sixteen characters; ours say something.
fn service_chain(frontend: Frontend) -> String {
    format!("KUBE-SVC-{}{:013}", frontend.protocol.name().to_uppercase(), frontend.number)
}

fn endpoint_chain(frontend: Frontend, endpoint: &SocketAddrV4) -> String {
    let initial = &frontend.protocol.name().to_uppercase()[..1];
    // All addresses are in 10.0.0.0/8.
    let [_, high, middle, low] = endpoint.ip().octets();
    let host = format!("{high:02X}{middle:02X}{low:02X}");
    format!("KUBE-SEP-{initial}{:05X}{host}{:04X}", frontend.number, endpoint.port())
}

fn chains(text: &mut String, services: &Services, frontend: Frontend) {
    let _ = writeln!(text, ":{} - [0:0]", service_chain(frontend));
    for endpoint in services.endpoints(frontend.number) {
        let _ = writeln!(text, ":{} - [0:0]", endpoint_chain(frontend, &endpoint));
    }
}

fn rules(text: &mut String, services: &Services, frontend: Frontend) {
    let (address, protocol) = (frontend.address(), frontend.protocol.name());
    let chain = service_chain(frontend);
    let _ = writeln!(
        text,
        "-A {chain} -m {protocol} -p {protocol} -d {} --dport {} ! -s {CLUSTER_CIDR} -j KUBE-MARK-MASQ",
        address.ip(),
        address.port()
    );
    let endpoints = services.endpoints(frontend.number);
    for (endpoint, left) in endpoints.iter().zip((1..=endpoints.len()).rev()) {
        let its = endpoint_chain(frontend, endpoint);
        // The first of those that are left takes its share of what the ones before it let pass.
        let random = match left {
            1 => String::new(),
            #[expect(clippy::cast_precision_loss, reason = "ten at most")]
            _ => format!(" -m statistic --mode random --probability {:.10}", 1.0 / left as f64),
        };
        let _ = write!(
            text,
            "-A {chain}{random} -j {its}\n-A {its} -s {} -j KUBE-MARK-MASQ\n\
             -A {its} -m {protocol} -p {protocol} -j DNAT --to-destination {endpoint}\n",
            endpoint.ip()
        );
    }
}

fn list(text: &mut String, services: &Services) {
    for frontend in services.frontends() {
        let (address, protocol) = (frontend.address(), frontend.protocol.name());
        let _ = writeln!(
            text,
            "-A KUBE-SERVICES -m {protocol} -p {protocol} -d {} --dport {} -j {}",
            address.ip(),
            address.port(),
            service_chain(frontend)
        );
    }
    *text += "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n";
}

#[cfg(test)]
mod tests {
    use super::super::super::services::tests::two;
    use super::*;

    /// The part that makes a service, as kube-proxy's own tests show it.
    #[test]
    fn a_service_is_laid_out_as_kube_proxy_does() {
        let services = two();
        assert_eq!(change(&services, services.moving()), include_str!("change.iptables"));
        let all = all(&services);
        let mine = |line: &&str| line.contains("KUBE-SVC-TCP0000000000000");
        let lines: Vec<&str> = all.lines().filter(mine).collect();
        assert_eq!(lines.join("\n") + "\n", include_str!("service.iptables"));
        assert!(all.starts_with(FILTER) && all.contains(NAT));
    }
}
