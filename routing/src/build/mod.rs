//! Objects in, a router and what is to be said about each object out.
//!
//! An object is checked when it comes; one that is wrong as a whole changes nothing: what was known of it before stays in force, and the
//! reason is in the [`Report`]. What is wrong between objects (two that want the same host and path, a Secret that is missing) is found when
//! the router is built: the older object has what both want, and only the part that cannot be is left out.

mod gateways;
mod ingresses;
mod report;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use protocol::ObjectRef;
use protocol::feed::RouteChange;
use protocol::message::Kind;
use protocol::object::Document;
use serde_json::Value;

use crate::certificate::{self, Certificate, CertificateError};
use crate::check::{self, CheckError, Checked, object_of, part};
use crate::gateway_api::{Gateway, GatewayClass, HttpRoute};
use crate::router::Router;
use crate::rule::ServicePort;

pub use report::{ListenerVerdict, ParentVerdict, Report, StatusCondition, Verdict};

/// The controller of Ingresses.
pub const INGRESS_CONTROLLER: &str = "vpod.io/ingress";
/// The controller of Gateways.
pub const GATEWAY_CONTROLLER: &str = "vpod.io/gateway";
/// The class of Ingresses, and that of Gateways, that is always there.
pub const CLASS: &str = "vpod";
/// Marks the class of Ingresses that name none.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Why an object changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    NoJson(String),
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] CheckError),
    /// It is of another kind.
    #[error("the ingress reads no {0:?}")]
    Kind(Kind),
}

/// What is known of a service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// It is there, with so many endpoints.
    Known(usize),
    /// There is no such service.
    NoService,
    /// The service has no such port.
    NoPort,
}

/// An object with its age.
#[derive(Debug)]
struct Kept<T> {
    created: u64,
    object: T,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Objects {
    own_class: OwnClass,
    ingresses: BTreeMap<ObjectRef, Kept<Box<Ingress>>>,
    classes: BTreeMap<String, Kept<Box<IngressClass>>>,
    secrets: BTreeMap<ObjectRef, Result<Arc<Certificate>, CertificateError>>,
    gateway_classes: BTreeMap<String, Kept<Box<GatewayClass>>>,
    gateways: BTreeMap<ObjectRef, Kept<Box<Gateway>>>,
    routes: BTreeMap<ObjectRef, Kept<Box<HttpRoute>>>,
    /// The reason, by plural and name.
    refused: BTreeMap<(&'static str, String), Refused>,
}

/// The class that is always there.
#[derive(Debug)]
struct OwnClass(String);

impl Default for OwnClass {
    fn default() -> Self {
        Self(CLASS.to_owned())
    }
}

impl Objects {
    /// None yet. The class that is always there has this name instead of [`CLASS`].
    #[must_use]
    pub fn with_class(class: &str) -> Self {
        Self { own_class: OwnClass(class.to_owned()), ..Self::default() }
    }

    /// Takes what a feed says. Backends are for somebody else.
    ///
    /// # Errors
    /// See [`Objects::put`].
    pub fn take(&mut self, change: &RouteChange) -> Result<(), Refused> {
        match change {
            RouteChange::Object { kind, document } => self.put(*kind, document),
            RouteChange::ObjectGone { kind, namespace, name } => {
                let name = match namespace {
                    Some(namespace) => format!("{namespace}/{name}"),
                    None => name.to_string(),
                };
                self.remove(*kind, &name);
                Ok(())
            }
            RouteChange::Backends(_) | RouteChange::BackendsGone { .. } => Ok(()),
        }
    }

    /// An object is there, or is another.
    ///
    /// # Errors
    /// When it is wrong. What was known of it before stays.
    pub fn put(&mut self, kind: Kind, document: &Document) -> Result<(), Refused> {
        let names = check::names(kind).ok_or(Refused::Kind(kind))?;
        let key = match &document.namespace {
            Some(namespace) => format!("{namespace}/{}", document.name),
            None => document.name.to_string(),
        };
        let value: Result<Value, _> = serde_json::from_str(&document.json);
        let checked = value
            .map_err(|error| Refused::NoJson(error.to_string()))
            .and_then(|value| Ok(check::check(names, &value)?));
        match checked {
            Ok(checked) => {
                self.refused.remove(&(names.plural, key));
                self.keep(checked, document.created.0);
                Ok(())
            }
            Err(refused) => {
                self.refused.insert((names.plural, key), refused.clone());
                Err(refused)
            }
        }
    }

    fn keep(&mut self, checked: Checked, created: u64) {
        match checked {
            Checked::Ingress(object) => {
                let Some(name) = object_of(&object.metadata) else { return };
                self.ingresses.insert(name, Kept { created, object });
            }
            Checked::IngressClass(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                self.classes.insert(name, Kept { created, object });
            }
            Checked::Secret(object) => {
                let Some(name) = object_of(&object.metadata) else { return };
                let certificate = certificate_of(&name, &object);
                self.secrets.insert(name, certificate);
            }
            Checked::GatewayClass(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                self.gateway_classes.insert(name, Kept { created, object });
            }
            Checked::Gateway(object) => {
                let Some(name) = object_of(&object.metadata) else { return };
                self.gateways.insert(name, Kept { created, object });
            }
            Checked::HttpRoute(object) => {
                let Some(name) = object_of(&object.metadata) else { return };
                self.routes.insert(name, Kept { created, object });
            }
        }
    }

    /// An object is gone; `name` is `namespace/name` where its kind has namespaces.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        if let Some(names) = check::names(kind) {
            self.refused.remove(&(names.plural, name.to_owned()));
        }
        let Some(object) = ObjectRef::parse(name) else {
            match kind {
                Kind::IngressClasses => drop(self.classes.remove(name)),
                Kind::GatewayClasses => drop(self.gateway_classes.remove(name)),
                _ => {}
            }
            return;
        };
        match kind {
            Kind::Ingresses => drop(self.ingresses.remove(&object)),
            Kind::Secrets => drop(self.secrets.remove(&object)),
            Kind::Gateways => drop(self.gateways.remove(&object)),
            Kind::HttpRoutes => drop(self.routes.remove(&object)),
            _ => {}
        }
    }

    /// Makes the router. `services` says what is known of a service's port; it makes no difference for the router, only for what is reported.
    #[must_use]
    pub fn build(&self, services: &dyn Fn(&ServicePort) -> ServiceState) -> (Router, Report) {
        let mut router = Router::default();
        let mut report = Report::default();
        for ((plural, name), refused) in &self.refused {
            report.refuse(plural, name, refused);
        }
        ingresses::build(self, &mut router, &mut report, services);
        gateways::build(self, &mut router, &mut report, services);
        router.finish();
        (router, report)
    }

    /// The class of Ingresses that name none: of those marked so the newest, then by name; else the one that is always there.
    #[must_use]
    pub fn default_class(&self) -> &str {
        let is_default = |class: &Kept<Box<IngressClass>>| {
            let annotations = class.object.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|word| word == "true")
        };
        let marked = self.classes.iter().filter(|(_, class)| is_default(class));
        let best = marked.min_by_key(|(name, class)| (std::cmp::Reverse(class.created), name.as_str()));
        best.map_or(self.own_class.0.as_str(), |(name, _)| name.as_str())
    }

    /// Whether vpod serves a class of Ingresses.
    fn serves(&self, class: &str) -> bool {
        match self.classes.get(class) {
            Some(known) => {
                let spec = known.object.spec.as_ref();
                spec.and_then(|spec| spec.controller.as_deref()) == Some(INGRESS_CONTROLLER)
            }
            None => class == self.own_class.0,
        }
    }

    /// Whether vpod serves a class of Gateways.
    fn serves_gateways(&self, class: &str) -> bool {
        match self.gateway_classes.get(class) {
            Some(known) => known.object.spec.controller_name == GATEWAY_CONTROLLER,
            None => class == self.own_class.0,
        }
    }

    /// The services that rules lead to, of objects that vpod serves.
    #[must_use]
    pub fn services(router: &Router) -> BTreeSet<ObjectRef> {
        let rules = router.rules().iter();
        let targets = rules.flat_map(|rule| {
            let backends = rule.backends.iter().chain(rule.canary.iter().map(|canary| &canary.backend));
            backends.map(|backend| &backend.target).chain(rule.mirrors.iter().map(|mirror| &mirror.target))
        });
        targets.filter_map(|target| Some(target.service()?.service.clone())).collect()
    }

    /// The Secrets that objects name which vpod serves, whether they are there or not.
    #[must_use]
    pub fn wanted_secrets(&self) -> BTreeSet<ObjectRef> {
        let mut all = BTreeSet::new();
        for (name, kept) in
            self.ingresses.iter().filter(|(_, kept)| self.serves(ingresses::class(self, &kept.object)))
        {
            let tls = kept.object.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
            let secrets = tls.filter_map(|tls| tls.secret_name.as_deref()?.parse().ok());
            all.extend(secrets.map(|secret| ObjectRef { namespace: name.namespace.clone(), name: secret }));
        }
        for (name, kept) in &self.gateways {
            if self.serves_gateways(&kept.object.spec.gateway_class_name) {
                let tls = kept.object.spec.listeners.iter().filter_map(|listener| listener.tls.as_ref());
                let secrets = tls.flat_map(|tls| tls.certificate_refs.iter().flatten());
                all.extend(secrets.filter_map(|secret| gateways::secret(name, secret).ok()));
            }
        }
        all
    }
}

fn certificate_of(name: &ObjectRef, secret: &Secret) -> Result<Arc<Certificate>, CertificateError> {
    let chain = part(secret, "tls.crt").ok_or(CertificateError::NoCertificate)?;
    let key = part(secret, "tls.key").ok_or(CertificateError::NoKey)?;
    Ok(Arc::new(Certificate { secret: name.clone(), key: certificate::read(chain, key)? }))
}
