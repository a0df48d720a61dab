//! Services as every subject that balances is given them: many, each with ten endpoints.
//!
//! Most endpoints are addresses where nobody is: they are there to be held, searched and loaded. Some
//! services, spread evenly among the rest, are live: their ten endpoints are ports of two pods, over TCP
//! and UDP. A server listens on its pod's own address and nowhere else, so whoever gets an answer at a
//! service's address got it through a translation.
//!
//! One more service has a single endpoint, which moves from one pod to the other when it is told to: by
//! that a change is timed. It also leads iperf3, whose connections belong to one server.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde_json::{Value, json};

use crate::load::PORT;

/// Endpoints of each service.
pub(crate) const ENDPOINTS: u32 = 10;
/// Pods that answer.
pub(crate) const SERVERS: usize = 2;
/// Ports at which each of them does.
const SERVER_PORTS: u16 = 5;
/// Live services, if there are so many services.
const LIVE: u32 = 64;
/// At which services answer.
const SERVICE_PORT: u16 = 80;
/// At which the pods behind the moving service answer.
pub(crate) const MOVING_PORT: u16 = PORT + 100;
/// The first address of a service: within Kubernetes' usual range, above its first addresses, which are
/// for other uses.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 16, 0);
/// The first address where nobody is.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 0);

/// What a service carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As netfilter and users write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One port of a service, which is what balancers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frontend {
    /// Of its service.
    pub(crate) number: u32,
    pub(crate) protocol: Protocol,
}

impl Frontend {
    pub(crate) fn address(self) -> SocketAddrV4 {
        address(self.number)
    }
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    count: u32,
    servers: [Ipv4Addr; SERVERS],
    /// Index of the pod behind the moving service.
    moved_to: usize,
}

impl Services {
    /// So many of them, in front of these pods.
    pub(crate) const fn new(count: u32, servers: [Ipv4Addr; SERVERS]) -> Self {
        Self { count, servers, moved_to: 0 }
    }

    /// Numbers of all, the moving one last.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> + use<> {
        0..=self.count
    }

    /// The same, port by port.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = Frontend> + '_ {
        self.all().flat_map(|number| self.frontends_of(number))
    }

    /// Ports of one service.
    pub(crate) fn frontends_of(&self, number: u32) -> impl Iterator<Item = Frontend> + use<> {
        let is_live = self.is_live(number);
        let udp = is_live.then_some(Frontend { number, protocol: Protocol::Udp });
        [Frontend { number, protocol: Protocol::Tcp }].into_iter().chain(udp)
    }

    /// Number of the moving one.
    pub(crate) const fn moving(&self) -> u32 {
        self.count
    }

    /// Where the moving one answers.
    pub(crate) fn moving_address(&self) -> SocketAddrV4 {
        address(self.moving())
    }

    /// Lets the moving one lead to this server.
    pub(crate) const fn move_to(&mut self, server: usize) {
        self.moved_to = server % SERVERS;
    }

    /// Where the live ones answer.
    pub(crate) fn live(&self) -> Vec<SocketAddrV4> {
        (0..self.count).filter(|number| self.is_live(*number)).map(address).collect()
    }

    /// Where the live one in the middle answers: as far down as a service is on average, for those who
    /// look through a list.
    pub(crate) fn middle(&self) -> SocketAddrV4 {
        let live = self.live();
        live[live.len() / 2]
    }

    fn is_live(&self, number: u32) -> bool {
        let stride = (self.count / LIVE).max(1);
        number < self.count && number % stride == stride / 2
    }

    /// Where one leads.
    pub(crate) fn endpoints(&self, number: u32) -> Vec<SocketAddrV4> {
        if number == self.moving() {
            return vec![SocketAddrV4::new(self.servers[self.moved_to], MOVING_PORT)];
        }
        if self.is_live(number) {
            let of_port = |port| self.servers.map(|server| SocketAddrV4::new(server, port));
            return server_ports().flat_map(of_port).collect();
        }
        let nobody = |index| SocketAddrV4::new(plus(NOBODY, number * ENDPOINTS + index), PORT);
        (0..ENDPOINTS).map(nobody).collect()
    }

    /// All endpoints of all frontends.
    pub(crate) fn endpoint_count(&self) -> usize {
        self.frontends().map(|frontend| self.endpoints(frontend.number).len()).sum()
    }

    /// As a Kubernetes object.
    pub(crate) fn manifest(&self, number: u32, namespace: &str) -> Value {
        let port = |frontend: Frontend| {
            let name = frontend.protocol.name();
            json!({ "name": name, "protocol": name.to_uppercase(), "port": SERVICE_PORT, "targetPort": PORT })
        };
        let ports: Vec<Value> = self.frontends_of(number).map(port).collect();
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name(number), "namespace": namespace },
            "spec": { "clusterIP": address(number).ip(), "ports": ports },
        })
    }

    /// Its endpoints as Kubernetes objects: one for each port, since all endpoints of one have its port.
    pub(crate) fn slices(&self, number: u32, namespace: &str) -> Vec<Value> {
        let mut by_port = std::collections::BTreeMap::<u16, Vec<Value>>::new();
        for endpoint in self.endpoints(number) {
            let ready = json!({ "addresses": [endpoint.ip()], "conditions": { "ready": true } });
            by_port.entry(endpoint.port()).or_default().push(ready);
        }
        let slice = |(port, endpoints): (u16, Vec<Value>)| {
            let of = |frontend: Frontend| {
                let name = frontend.protocol.name();
                json!({ "name": name, "protocol": name.to_uppercase(), "port": port })
            };
            let ports: Vec<Value> = self.frontends_of(number).map(of).collect();
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{}-{port}", name(number)), "namespace": namespace,
                    "labels": { "kubernetes.io/service-name": name(number) },
                },
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints,
            })
        };
        by_port.into_iter().map(slice).collect()
    }
}

/// Ports at which each server answers for the live services.
pub(crate) fn server_ports() -> impl Iterator<Item = u16> {
    PORT..PORT + SERVER_PORTS
}

/// A service's name, everywhere.
pub(crate) fn name(number: u32) -> String {
    format!("service-{number}")
}

fn address(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(plus(FIRST_ADDRESS, number), SERVICE_PORT)
}

fn plus(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PODS: [Ipv4Addr; SERVERS] = [Ipv4Addr::new(10, 97, 0, 3), Ipv4Addr::new(10, 97, 0, 4)];

    /// What the golden texts are about: so few endpoints that a text can be read.
    pub(in crate::subject) fn two() -> Services {
        Services::new(1, PODS)
    }

    #[test]
    fn live_services_lead_to_ten_ports_of_two_pods_and_others_to_nobody() {
        for count in [1, 10, 1000, 10_000] {
            let services = Services::new(count, PODS);
            let live = services.live();
            assert!(live.contains(&services.middle()));
            assert!((1..=2 * LIVE as usize).contains(&live.len()), "{count}: {}", live.len());
            for number in 0..count {
                let mut endpoints = services.endpoints(number);
                endpoints.sort_unstable();
                endpoints.dedup();
                assert_eq!(endpoints.len(), ENDPOINTS as usize);
                let is_live = live.contains(&address(number));
                assert_eq!(services.frontends_of(number).count(), if is_live { 2 } else { 1 });
                assert!(endpoints.iter().all(|endpoint| PODS.contains(endpoint.ip()) == is_live));
            }
        }
    }

    #[test]
    fn the_moving_service_has_one_endpoint_which_moves() {
        let mut services = two();
        for server in [1, 0] {
            services.move_to(server);
            let expected = vec![SocketAddrV4::new(PODS[server], MOVING_PORT)];
            assert_eq!(services.endpoints(services.moving()), expected);
        }
    }
}
