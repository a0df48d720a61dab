//! `gateway.networking.k8s.io/v1`: GatewayClass, Gateway and HTTPRoute as manifests have them, the standard channel of 1.4 with the retries and CORS of
//! the experimental one. A field that is not here is an error, so that nothing is left out silently.

mod gateway;
mod http_route;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use gateway::{
    AllowedRoutes, Gateway, GatewayClass, GatewayClassSpec, GatewaySpec, Listener, ListenerTls,
    RouteGroupKind, RouteNamespaces, SecretRef,
};
pub use http_route::{
    BackendRef, CorsFilter, Filter, Fraction, HeaderFilter, HeaderMatch, HttpRoute, HttpRouteSpec,
    MirrorFilter, NameValue, ParentRef, PathMatch, PathModifier, RedirectFilter, RewriteFilter, RouteMatch,
    RouteRetry, RouteRule, RouteTimeouts,
};

/// `apiVersion` of its kinds.
pub const VERSION: &str = "gateway.networking.k8s.io/v1";
/// Its group.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// What all kinds have around their specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object<S> {
    /// [`VERSION`].
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Names, labels, annotations.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: S,
    /// Not what is applied: it is derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}
