//! The rules of kube-proxy's nftables mode (`pkg/proxy/nftables/proxier.go`): a map from address, protocol
//! and port to the chain of a service, there a random choice of the chain of an endpoint.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

use super::super::services::{Frontend, Services, name};
use super::CLUSTER_CIDR;

/// Whatever there is goes.
pub(super) const NONE: &str = "add table ip kube-proxy\ndelete table ip kube-proxy\n";

/// What does not depend on services.
const FRAME: &str = "\
add table ip kube-proxy
add set ip kube-proxy cluster-ips { type ipv4_addr ; }
add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
add set ip kube-proxy nodeport-ips { type ipv4_addr ; }
add chain ip kube-proxy filter-prerouting { type filter hook prerouting priority -110 ; }
add chain ip kube-proxy filter-forward { type filter hook forward priority -110 ; }
add chain ip kube-proxy filter-input { type filter hook input priority -110 ; }
add chain ip kube-proxy filter-output { type filter hook output priority -110 ; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add chain ip kube-proxy services
add chain ip kube-proxy service-endpoints-check
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy firewall-check
add chain ip kube-proxy masquerading
add chain ip kube-proxy mark-for-masquerade
add rule ip kube-proxy filter-prerouting ct state new jump firewall-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump firewall-check
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject
add rule ip kube-proxy cluster-ips-check ip daddr { 10.96.0.0/16 } drop
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
add rule ip kube-proxy masquerading mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading mark set mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
";

/// Everything, in place of whatever there is.
pub(super) fn all(services: &Services) -> String {
    let mut text = format!("{NONE}{FRAME}");
    services.frontends().for_each(|frontend| chains(&mut text, services, frontend));
    services.frontends().for_each(|frontend| rules(&mut text, services, frontend));
    services.frontends().for_each(|frontend| elements(&mut text, frontend));
    text
}

/// The chains of one service, as kube-proxy writes those that changed and nothing else.
pub(super) fn change(services: &Services, number: u32) -> String {
    let mut text = String::new();
    for frontend in services.frontends_of(number) {
        chains(&mut text, services, frontend);
        let _ = writeln!(text, "flush chain ip kube-proxy {}", service_chain(frontend));
        for endpoint in services.endpoints(number) {
            let _ = writeln!(text, "flush chain ip kube-proxy {}", endpoint_chain(frontend, &endpoint));
        }
        rules(&mut text, services, frontend);
    }
    text
}

/// kube-proxy begins with a hash of what follows.
fn service_chain(frontend: Frontend) -> String {
    let (number, protocol) = (frontend.number, frontend.protocol.name());
    format!("service-{number:08}-bench/{}/{protocol}/{protocol}", name(number))
}

fn endpoint_chain(frontend: Frontend, endpoint: &SocketAddrV4) -> String {
    let (number, protocol) = (frontend.number, frontend.protocol.name());
    let (name, ip, port) = (name(number), endpoint.ip(), endpoint.port());
    format!("endpoint-{number:08}-bench/{name}/{protocol}/{protocol}__{ip}/{port}")
}

fn chains(text: &mut String, services: &Services, frontend: Frontend) {
    let _ = writeln!(text, "add chain ip kube-proxy {}", service_chain(frontend));
    for endpoint in services.endpoints(frontend.number) {
        let _ = writeln!(text, "add chain ip kube-proxy {}", endpoint_chain(frontend, &endpoint));
    }
}

fn rules(text: &mut String, services: &Services, frontend: Frontend) {
    let (address, protocol) = (frontend.address(), frontend.protocol.name());
    let chain = service_chain(frontend);
    let endpoints = services.endpoints(frontend.number);
    let choices: Vec<String> = endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| format!("{index} : goto {}", endpoint_chain(frontend, endpoint)))
        .collect();
    let _ = write!(
        text,
        "add rule ip kube-proxy {chain} ip daddr {} {protocol} dport {} ip saddr != {CLUSTER_CIDR} \
         jump mark-for-masquerade\n\
         add rule ip kube-proxy {chain} numgen random mod {} vmap {{ {} }}\n",
        address.ip(),
        address.port(),
        choices.len(),
        choices.join(" , ")
    );
    for endpoint in &endpoints {
        let its = endpoint_chain(frontend, endpoint);
        let _ = write!(
            text,
            "add rule ip kube-proxy {its} ip saddr {} jump mark-for-masquerade\n\
             add rule ip kube-proxy {its} meta l4proto {protocol} dnat to {endpoint}\n",
            endpoint.ip()
        );
    }
}

fn elements(text: &mut String, frontend: Frontend) {
    let (address, protocol) = (frontend.address(), frontend.protocol.name());
    let (ip, port) = (address.ip(), address.port());
    let _ = write!(
        text,
        "add element ip kube-proxy cluster-ips {{ {ip} }}\n\
         add element ip kube-proxy service-ips {{ {ip} . {protocol} . {port} : goto {} }}\n",
        service_chain(frontend)
    );
}

#[cfg(test)]
mod tests {
    use super::super::super::services::tests::two;
    use super::*;

    #[test]
    fn a_service_is_laid_out_as_kube_proxy_does() {
        let services = two();
        assert_eq!(change(&services, services.moving()), include_str!("change.nft"));
        let all = all(&services);
        let mine = |line: &&str| line.contains(" service-00000000-bench/service-0/tcp/tcp ");
        let lines: Vec<&str> = all.lines().filter(mine).collect();
        assert_eq!(lines.join("\n") + "\n", include_str!("service.nft"));
        assert!(all.starts_with(NONE) && all.contains(FRAME));
    }
}
