//! The services of a cluster as one node needs them, kept up to date change by change.
//!
//! A change marks the services that it can concern; [`Table::settle`] derives those again, however many changes came
//! in between. The result does not depend on the order of changes, except for the numbers.

mod balanced;
mod claims;
mod host_ports;
mod index;
mod named;
mod room;
mod sound;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use protocol::Namespace;
use protocol::link::{Frontend, FrontendKind, Scheduler, ServiceConfig};

pub use self::balanced::Health;
use self::claims::Claims;
use self::host_ports::HostPorts;
use self::index::Index;
use self::named::Names;
pub use self::named::Renamed;
use self::room::Room;
use super::change::ServiceState;
use super::endpoints::{Endpoint, Place, backends, of_pod, of_slice};
use super::ids::ServiceIds;
use super::map::Services;
use super::names::{ObjectRef, PortKey};
use super::pods::PodFacts;
use super::slice::SliceSpec;
use super::spec::{PortSpec, Reach, Spec};
use protocol::problem::Problem;

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where choices are made.
    pub place: Place,
    /// Cluster addresses of services.
    pub service_cidr: Ipv4Net,
    /// All pods.
    pub cluster_cidr: IpNet,
    /// What `spec.externalIPs` may hold.
    pub external_ips: Vec<IpNet>,
    /// For services that name no other.
    pub scheduler: Scheduler,
}

impl Settings {
    fn service_cidr_has(&self, ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V4(v4) if self.service_cidr.contains(&v4))
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    node_addresses: BTreeSet<IpAddr>,
    /// Of the node's network, which nobody can have, and what they are.
    link_addresses: BTreeMap<IpAddr, &'static str>,
    specs: BTreeMap<ObjectRef, Spec>,
    /// Those of load balancers.
    balanced: BTreeSet<ObjectRef>,
    slices: BTreeMap<ObjectRef, SliceSpec>,
    pods: BTreeMap<ObjectRef, PodFacts>,
    index: Index,
    claims: Claims,
    ids: ServiceIds,
    room: Room,
    host_ports: HostPorts,
    derived: BTreeMap<ObjectRef, Derived>,
    states: Arc<Services>,
    marked: BTreeSet<ObjectRef>,
    /// Something of load balancers' services has changed.
    balanced_changed: bool,
    /// Not yet told to anybody.
    new_problems: Vec<String>,
    names: Names,
    /// Pods that came, changed or went since somebody asked.
    changed_pods: BTreeSet<ObjectRef>,
}

/// What came of a service.
#[derive(Debug, Default)]
struct Derived {
    ports: Vec<PortKey>,
    problems: Vec<String>,
}

impl Table {
    /// Without any object.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            node_addresses: BTreeSet::new(),
            link_addresses: BTreeMap::new(),
            specs: BTreeMap::new(),
            balanced: BTreeSet::new(),
            slices: BTreeMap::new(),
            pods: BTreeMap::new(),
            index: Index::default(),
            claims: Claims::default(),
            ids: ServiceIds::default(),
            room: Room::default(),
            host_ports: HostPorts::default(),
            derived: BTreeMap::new(),
            states: Arc::default(),
            marked: BTreeSet::new(),
            balanced_changed: false,
            new_problems: Vec::new(),
            names: Names::default(),
            changed_pods: BTreeSet::new(),
        }
    }

    /// A service is new or changed.
    pub fn put_service(&mut self, spec: Spec) {
        if self.specs.get(&spec.object) == Some(&spec) {
            return;
        }
        self.remove_service(&spec.object.clone());
        self.index.add_service(&spec);
        if spec.reach == Reach::LoadBalancer {
            self.balanced.insert(spec.object.clone());
        }
        self.names.enter(&spec.object.namespace);
        self.specs.insert(spec.object.clone(), spec);
    }

    /// A service is gone.
    pub fn remove_service(&mut self, object: &ObjectRef) {
        if let Some(old) = self.specs.remove(object) {
            self.index.remove_service(&old);
            self.names.leave(&object.namespace);
            self.balanced_changed |= self.balanced.remove(object);
        }
        self.marked.insert(object.clone());
    }

    /// A slice given by hand is new or changed.
    pub fn put_slice(&mut self, slice: SliceSpec) {
        if self.slices.get(&slice.object) == Some(&slice) {
            return;
        }
        self.remove_slice(&slice.object.clone());
        self.marked.extend(slice.service.clone());
        self.index.add_slice(&slice);
        self.slices.insert(slice.object.clone(), slice);
    }

    /// A slice given by hand is gone.
    pub fn remove_slice(&mut self, object: &ObjectRef) {
        if let Some(old) = self.slices.remove(object) {
            self.index.remove_slice(&old);
            self.marked.extend(old.service);
        }
    }

    /// A pod is new or changed.
    pub fn put_pod(&mut self, pod: PodFacts) {
        if self.pods.get(&pod.object) == Some(&pod) {
            return;
        }
        self.remove_pod(&pod.object.clone());
        self.index.add_pod(&pod);
        self.host_ports.on_pod(&pod, &self.settings.place.node);
        self.mark_of_pod(&pod);
        self.names.enter(&pod.object.namespace);
        self.names.renamed.pods.insert(pod.object.clone());
        self.changed_pods.insert(pod.object.clone());
        self.pods.insert(pod.object.clone(), pod);
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, object: &ObjectRef) {
        if let Some(old) = self.pods.remove(object) {
            self.index.remove_pod(&old);
            self.names.leave(&object.namespace);
            self.names.renamed.pods.insert(object.clone());
            self.changed_pods.insert(object.clone());
            self.host_ports.on_pod_gone(object);
            self.mark_of_pod(&old);
        }
    }

    /// Addresses of all nodes, which neither services nor endpoints given by hand may have.
    pub fn set_node_addresses(&mut self, addresses: BTreeSet<IpAddr>) {
        if self.node_addresses != addresses {
            let changed: BTreeSet<IpAddr> =
                self.node_addresses.symmetric_difference(&addresses).copied().collect();
            self.node_addresses = addresses;
            let slices = changed.iter().flat_map(|ip| self.index.slices_at(*ip));
            self.marked.extend(slices.filter_map(|slice| self.slices.get(slice)?.service.clone()));
            self.mark_by_address(&changed);
        }
    }

    /// Addresses of the network that the node is on, which no service may have, and what they are: "the uplink's gateway".
    pub fn set_link_addresses(&mut self, addresses: BTreeMap<IpAddr, &'static str>) {
        if self.link_addresses != addresses {
            let old = std::mem::replace(&mut self.link_addresses, addresses);
            let changed = old.into_keys().chain(self.link_addresses.keys().copied()).collect();
            self.mark_by_address(&changed);
        }
    }

    fn mark_by_address(&mut self, changed: &BTreeSet<IpAddr>) {
        let concerned = self.specs.values().filter(|spec| spec.addresses().any(|ip| changed.contains(&ip)));
        self.marked.extend(concerned.map(|spec| spec.object.clone()));
    }

    /// The configuration has changed.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.marked.extend(self.specs.keys().cloned());
        }
    }

    fn mark_of_pod(&mut self, pod: &PodFacts) {
        let selecting = self.index.may_select(pod).into_iter();
        let selecting =
            selecting.filter(|object| self.specs.get(object).is_some_and(|spec| spec.selects(&pod.labels)));
        self.marked.extend(selecting);
        // Endpoints given by hand may or may not have this address now, and are where the pod is.
        let slices = pod.addresses.iter().flat_map(|ip| self.index.slices_at(*ip));
        let services = slices.filter_map(|slice| self.slices.get(slice)?.service.clone());
        self.marked.extend(services);
    }

    /// Derives what was marked. True if the datapath is to be told something.
    pub fn settle(&mut self) -> bool {
        let mut concerned = std::mem::take(&mut self.marked);
        concerned.extend(self.room.retry());
        for object in concerned.clone() {
            let wanted = self.specs.get(&object).map(|spec| self.frontends(spec, &mut Vec::new()));
            let wanted = wanted.unwrap_or_default();
            let wanted = wanted.iter().flat_map(|(key, all)| all.iter().map(move |one| (key, one)));
            concerned.extend(self.claims.set(&object, wanted));
        }
        self.names.renamed.services.extend(concerned.iter().cloned());
        self.balanced_changed |= concerned.iter().any(|object| self.balanced.contains(object));
        let (mut gone, mut new) = self.host_port_changes();
        for object in concerned {
            let derived = self.derive(&object, &mut new);
            let kept: BTreeSet<PortKey> = derived.iter().flat_map(|derived| derived.ports.clone()).collect();
            let said = self.problems_of(&object);
            let problems = derived.iter().flat_map(|derived| &derived.problems);
            let new_problems: Vec<String> =
                problems.filter(|problem| !said.contains(problem)).cloned().collect();
            self.new_problems.extend(new_problems);
            let before = match derived {
                Some(derived) => self.derived.insert(object, derived),
                None => self.derived.remove(&object),
            };
            let before = before.into_iter().flat_map(|before| before.ports);
            gone.extend(before.filter(|port| !kept.contains(port)));
        }
        self.apply(&gone, new)
    }

    /// Numbers are released before new ones are given, so that they stay low.
    fn apply(&mut self, gone: &[PortKey], new: Vec<(PortKey, ServiceState)>) -> bool {
        let mut changed = false;
        for key in gone {
            changed |= self.drop_port(key);
        }
        for (key, mut state) in new {
            let Some(id) = self.ids.assign(&key) else {
                self.leave_out(&key, "all numbers of service ports are taken");
                continue;
            };
            state.config.id = id;
            let old = self.states.get(id).cloned();
            if !self.room.take(old.as_deref(), &state) {
                // What it had is given back already.
                self.ids.release(&key);
                changed |= Arc::make_mut(&mut self.states).remove(id).is_some();
                self.leave_out(&key, "there are too many addresses or endpoints in all");
            } else if old.is_none_or(|old| *old != state) {
                Arc::make_mut(&mut self.states).insert(id, Arc::new(state));
                self.room.is_served(&key);
                changed = true;
            }
        }
        changed
    }

    fn drop_port(&mut self, key: &PortKey) -> bool {
        self.room.is_served(key);
        let Some(id) = self.ids.release(key) else { return false };
        if let Some(old) = Arc::make_mut(&mut self.states).remove(id) {
            self.room.give_back(&old);
        }
        true
    }

    fn leave_out(&mut self, key: &PortKey, why: &str) {
        let text = format!("service port {key} is not served: {why}");
        if self.room.wait(key) {
            self.new_problems.push(text.clone());
        }
        if let Some(derived) = self.derived.get_mut(&key.service) {
            derived.problems.push(text);
            derived.ports.retain(|port| port != key);
        }
    }

    fn derive(&self, object: &ObjectRef, new: &mut Vec<(PortKey, ServiceState)>) -> Option<Derived> {
        let spec = self.specs.get(object)?;
        let mut derived = Derived::default();
        let endpoints = self.endpoints(spec, &mut derived.problems);
        let wanted = self.frontends(spec, &mut derived.problems);
        for (index, (key, mut frontends)) in wanted.into_iter().enumerate() {
            frontends.retain(|frontend| match self.claims.owner(&key, frontend) {
                Some(owner) if *owner != key => {
                    let Frontend { address, port, .. } = frontend;
                    derived.problems.push(format!(
                        "service {object}: {address} port {port} is that of service {}",
                        owner.service
                    ));
                    false
                }
                Some(_) | None => true,
            });
            if frontends.is_empty() {
                continue;
            }
            let backends = backends(&endpoints, index, &self.settings.place);
            let backends = Self::sound_backends(spec, backends, &mut derived.problems);
            let config = self.config(spec, &key, frontends);
            new.push((key.clone(), ServiceState { config, backends }));
            derived.ports.push(key);
        }
        Some(derived)
    }

    fn config(&self, spec: &Spec, key: &PortKey, frontends: Vec<Frontend>) -> ServiceConfig {
        ServiceConfig {
            // Known once it is applied.
            id: protocol::ServiceId(0),
            name: key.to_string(),
            transport: key.transport,
            frontends,
            scheduler: spec.scheduler.unwrap_or(self.settings.scheduler),
            affinity_seconds: spec.affinity_seconds,
            internal_policy: spec.internal_policy,
            external_policy: spec.external_policy,
            source_ranges: spec.source_ranges.clone(),
        }
    }

    /// What each port wants to be found at; nothing if the switch does not serve it.
    fn frontends(&self, spec: &Spec, problems: &mut Vec<String>) -> Vec<(PortKey, Vec<Frontend>)> {
        if spec.is_foreign || !spec.reach.is_virtual() {
            return Vec::new();
        }
        let allowed = |ip: &IpAddr| self.is_allowed(*ip);
        let external: BTreeSet<IpAddr> = spec.external_ips.iter().copied().filter(allowed).collect();
        let ingress: BTreeSet<IpAddr> = spec.ingress.iter().copied().collect();
        let mut of_port = |port: &PortSpec| {
            let at = |kind, address, port| Frontend { kind, address, port };
            let number = port.number;
            let mut all = Vec::new();
            all.extend(spec.cluster_ip.map(|ip| at(FrontendKind::ClusterIp, IpAddr::V4(ip), number)));
            let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            if spec.reach.is_external() {
                all.extend(port.node_port.map(|number| at(FrontendKind::NodePort, everywhere, number)));
            }
            all.extend(ingress.iter().map(|ip| at(FrontendKind::LoadBalancer, *ip, number)));
            let external = external.iter().filter(|ip| !ingress.contains(ip));
            all.extend(external.map(|ip| at(FrontendKind::ExternalIp, *ip, number)));
            self.sound_frontends(spec, all, problems)
        };
        spec.ports.iter().map(|port| (spec.key(port), of_port(port))).collect()
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        self.settings.external_ips.iter().any(|range| range.contains(&ip))
    }

    /// Selected pods, and what is given by hand and may be.
    fn endpoints(&self, spec: &Spec, problems: &mut Vec<String>) -> Vec<Endpoint> {
        let candidates = self.index.candidates(spec).filter_map(|pod| self.pods.get(pod));
        let selected = candidates.filter(|pod| spec.selects(&pod.labels));
        let mut endpoints: Vec<Endpoint> = selected.filter_map(|pod| of_pod(spec, pod)).collect();
        for slice in self.index.slices_of(&spec.object).filter_map(|slice| self.slices.get(slice)) {
            for given in &slice.endpoints {
                if let Some(why) = self.refuse_endpoint(&slice.object.namespace, given.address) {
                    problems.push(format!(
                        "EndpointSlice {}: endpoint {} is left out: it {why}",
                        slice.object, given.address
                    ));
                    continue;
                }
                let of_pod = || self.index.pods_at(given.address).find_map(|pod| self.pods.get(pod));
                let node = given.node.clone().or_else(|| of_pod().map(|pod| pod.node.clone()));
                endpoints.push(of_slice(spec, slice, given, node));
            }
        }
        endpoints
    }

    /// Why nobody in `namespace` may give this endpoint by hand, if so.
    #[must_use]
    pub fn refuse_endpoint(&self, namespace: &Namespace, ip: IpAddr) -> Option<String> {
        if self.node_addresses.contains(&ip) {
            return Some("is an address of a node".to_owned());
        }
        if matches!(ip, IpAddr::V4(v4) if self.settings.service_cidr.contains(&v4)) {
            return Some(format!("is in the range of services, {}", self.settings.service_cidr));
        }
        let mut pods = self.index.pods_at(ip).peekable();
        let first = pods.peek().copied()?;
        if pods.any(|pod| pod.namespace == *namespace) {
            return None;
        }
        Some(format!("is the address of pod {first}, in another namespace"))
    }

    /// What is wrong with a service in this cluster.
    #[must_use]
    pub fn check_service(&self, spec: &Spec) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, ip) in spec.external_ips.iter().enumerate() {
            let why = match self.owner(*ip) {
                Some(owner) => format!("is {owner}"),
                None if self.is_allowed(*ip) => continue,
                None => "is not in services.external_ips of vswitchd's configuration".to_owned(),
            };
            problems.push(Problem::invalid(format!("spec.externalIPs[{index}]"), ip, why));
        }
        problems
    }

    /// What is wrong with a slice in this cluster.
    #[must_use]
    pub fn check_slice(&self, slice: &SliceSpec) -> Vec<Problem> {
        let refused = slice.endpoints.iter().enumerate().filter_map(|(index, given)| {
            let why = self.refuse_endpoint(&slice.object.namespace, given.address)?;
            Some(Problem::invalid(format!("endpoints[{index}].addresses[0]"), given.address, why))
        });
        refused.collect()
    }

    /// For the datapath.
    #[must_use]
    pub const fn states(&self) -> &Arc<Services> {
        &self.states
    }

    /// The pod that a service's backend at an address is: its selector's, so none where endpoints are given by hand only.
    #[must_use]
    pub fn backend_pod(&self, service: &ObjectRef, address: IpAddr) -> Option<&ObjectRef> {
        let spec = self.specs.get(service)?;
        let pods = self.index.pods_at(address).filter_map(|pod| self.pods.get(pod));
        let its = pods.filter(|pod| pod.object.namespace == service.namespace && !pod.ended);
        its.filter(|pod| spec.selects(&pod.labels)).map(|pod| &pod.object).next()
    }

    /// Where a pod is.
    #[must_use]
    pub fn node_of(&self, pod: &ObjectRef) -> Option<&str> {
        self.pods.get(pod).map(|pod| pod.node.as_str())
    }

    /// The first address of a pod.
    #[must_use]
    pub fn address_of(&self, pod: &ObjectRef) -> Option<IpAddr> {
        self.pods.get(pod)?.addresses.first().copied()
    }

    /// What became of pods since the last call; none: it is gone.
    pub fn take_changed_pods(&mut self) -> Vec<(ObjectRef, Option<&PodFacts>)> {
        let changed = std::mem::take(&mut self.changed_pods).into_iter();
        changed.map(|pod| (pod.clone(), self.pods.get(&pod))).collect()
    }

    /// Pods of a node.
    pub fn pods_of(&self, node: &str) -> impl Iterator<Item = &ObjectRef> {
        self.pods.iter().filter(move |(_, pod)| pod.node == node).map(|(object, _)| object)
    }

    /// All services.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.specs.values()
    }

    /// A service.
    #[must_use]
    pub fn spec(&self, object: &ObjectRef) -> Option<&Spec> {
        self.specs.get(object)
    }

    /// The endpoints of a service, derived and given. They are not kept: all of a cluster's would take more memory than
    /// everything else here.
    #[must_use]
    pub fn endpoints_of(&self, object: &ObjectRef) -> Vec<Endpoint> {
        self.specs.get(object).map_or_else(Vec::new, |spec| self.endpoints(spec, &mut Vec::new()))
    }

    /// What could not be done for one service, one sentence each.
    #[must_use]
    pub fn problems_of(&self, object: &ObjectRef) -> &[String] {
        self.derived.get(object).map_or(&[], |derived| &derived.problems)
    }

    /// What could not be done and could be before, or was not asked for; each is told once.
    pub fn take_new_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new_problems)
    }

    /// What could not be done, one sentence each.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.derived.values().flat_map(|derived| &derived.problems).map(String::as_str)
    }
}
