//! A result in the version that was asked for, with exactly the keys that it has there.

use serde_json::{Map, Value};

use super::read::family;
use super::{AddResult, Dns, Interface, Ip, Route};
use crate::version::Version;

/// An object that is being written; what is not there is left out.
struct Object(Map<String, Value>);

impl Object {
    /// Known keys are written over unknown ones, never the other way round.
    fn with(extra: &Map<String, Value>) -> Self {
        Self(extra.clone())
    }

    fn set(&mut self, key: &str, value: Option<impl Into<Value>>) {
        match value {
            Some(value) => drop(self.0.insert(key.to_owned(), value.into())),
            None => drop(self.0.remove(key)),
        }
    }

    fn set_list(&mut self, key: &str, list: Vec<Value>) {
        self.set(key, (!list.is_empty()).then_some(list));
    }

    fn set_texts(&mut self, key: &str, texts: &[String]) {
        self.set_list(key, texts.iter().map(|text| Value::from(text.as_str())).collect());
    }

    fn set_text(&mut self, key: &str, text: Option<&String>) {
        self.set(key, text.map(String::as_str));
    }
}

impl AddResult {
    /// The object that goes to standard output, or to the next plugin as `prevResult`.
    #[must_use]
    pub fn to_value(&self, version: Version) -> Value {
        let mut object = Object::with(&self.extra);
        object.set("cniVersion", Some(version.as_str()));
        object.set_list("interfaces", self.interfaces.iter().map(|one| interface(one, version)).collect());
        object.set_list("ips", self.ips.iter().map(|one| ip(one, version)).collect());
        object.set_list("routes", self.routes.iter().map(|one| route(one, version)).collect());
        // Before 1.0.0 the key is not optional; the reference library writes it empty there, and not at all later.
        let has_dns = !self.dns.is_empty() || version.has_ip_version();
        object.set("dns", has_dns.then(|| dns(&self.dns)));
        Value::Object(object.0)
    }

    /// [`Self::to_value`] as text.
    #[must_use]
    pub fn to_json(&self, version: Version) -> String {
        self.to_value(version).to_string()
    }
}

fn interface(interface: &Interface, version: Version) -> Value {
    let mut object = Object::with(&interface.extra);
    object.set("name", Some(interface.name.as_str()));
    object.set_text("mac", interface.mac.as_ref());
    object.set_text("sandbox", interface.sandbox.as_ref());
    let since_1_1 = version.has_attributes();
    object.set("mtu", interface.mtu.filter(|_| since_1_1));
    object.set_text("socketPath", interface.socket_path.as_ref().filter(|_| since_1_1));
    object.set_text("pciID", interface.pci_id.as_ref().filter(|_| since_1_1));
    Value::Object(object.0)
}

fn ip(ip: &Ip, version: Version) -> Value {
    let mut object = Object::with(&ip.extra);
    object.set("version", version.has_ip_version().then(|| family(&ip.address)));
    object.set("address", Some(ip.address.to_string()));
    object.set("gateway", ip.gateway.map(|gateway| gateway.to_string()));
    object.set("interface", ip.interface);
    Value::Object(object.0)
}

fn route(route: &Route, version: Version) -> Value {
    let mut object = Object::with(&route.extra);
    object.set("dst", Some(route.dst.to_string()));
    object.set("gw", route.gw.map(|gw| gw.to_string()));
    let attributes = [
        ("mtu", route.mtu),
        ("advmss", route.advmss),
        ("priority", route.priority),
        ("table", route.table),
        ("scope", route.scope),
    ];
    for (key, value) in attributes {
        object.set(key, value.filter(|_| version.has_attributes()));
    }
    Value::Object(object.0)
}

fn dns(dns: &Dns) -> Value {
    let mut object = Object::with(&dns.extra);
    object.set_texts("nameservers", &dns.nameservers);
    object.set_text("domain", dns.domain.as_ref());
    object.set_texts("search", &dns.search);
    object.set_texts("options", &dns.options);
    Value::Object(object.0)
}
