//! Prometheus metrics. Those of a service are looked up when the tables are built, not for each request.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: fine where a proxy's own share is, coarse up to its timeouts.
const BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Statuses by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

type Labels = Vec<(&'static str, String)>;

/// What goes wrong with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointError {
    /// It could not be reached.
    Connect,
    /// It broke off.
    Broken,
    /// It did not answer in time.
    Timeout,
}

/// The metrics of one service, or of requests that no service has seen.
#[derive(Debug, Clone)]
pub(crate) struct ServiceMetrics {
    by_class: [Counter; CLASSES.len()],
    duration: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    connect_errors: Counter,
    broken: Counter,
    timeouts: Counter,
    pub(crate) retries: Counter,
    pub(crate) ejections: Counter,
}

impl ServiceMetrics {
    /// A request is answered.
    pub(crate) fn on_request(&self, status: u16, seconds: f64, request_bytes: u64, response_bytes: u64) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(counter) = self.by_class.get(class) {
            counter.inc();
        }
        self.duration.observe(seconds);
        self.request_bytes.inc_by(request_bytes);
        self.response_bytes.inc_by(response_bytes);
    }

    pub(crate) fn on_error(&self, error: EndpointError) {
        match error {
            EndpointError::Connect => self.connect_errors.inc(),
            EndpointError::Broken => self.broken.inc(),
            EndpointError::Timeout => self.timeouts.inc(),
        };
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    request_bytes: Family<Labels, Counter>,
    response_bytes: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    ejections: Family<Labels, Counter>,
    connections: Family<Labels, Counter>,
    pub(crate) open_connections: Gauge,
    pub(crate) refused_connections: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) rate_limited: Counter,
    pub(crate) malformed: Counter,
    pub(crate) upgrades: Gauge,
    pub(crate) log_lines_dropped: Counter,
    pub(crate) reloads: Counter,
    pub(crate) problems: Gauge,
    pub(crate) routes: Gauge,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ingress"),
            requests: Family::default(),
            duration: Family::new_with_constructor(histogram),
            request_bytes: Family::default(),
            response_bytes: Family::default(),
            errors: Family::default(),
            retries: Family::default(),
            ejections: Family::default(),
            connections: Family::default(),
            open_connections: Gauge::default(),
            refused_connections: Counter::default(),
            tls_failures: Counter::default(),
            rate_limited: Counter::default(),
            malformed: Counter::default(),
            upgrades: Gauge::default(),
            log_lines_dropped: Counter::default(),
            reloads: Counter::default(),
            problems: Gauge::default(),
            routes: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Requests answered, by service and status class", self.requests.clone());
        r.register(
            "request_duration_seconds",
            "From head to last byte of the response",
            self.duration.clone(),
        );
        r.register("request_bytes", "Bytes of request bodies", self.request_bytes.clone());
        r.register("response_bytes", "Bytes of response bodies", self.response_bytes.clone());
        r.register("upstream_errors", "Failures of endpoints, by reason", self.errors.clone());
        r.register("retries", "Requests sent again", self.retries.clone());
        r.register("ejections", "Endpoints left alone for a while after failures", self.ejections.clone());
        r.register("connections", "Client connections accepted", self.connections.clone());
        r.register("open_connections", "Client connections now", self.open_connections.clone());
        r.register(
            "refused_connections",
            "Client connections beyond a limit",
            self.refused_connections.clone(),
        );
        r.register("tls_failures", "TLS handshakes that failed", self.tls_failures.clone());
        r.register("rate_limited", "Requests answered 429", self.rate_limited.clone());
        r.register("malformed", "Requests refused because they are ambiguous", self.malformed.clone());
        r.register("upgrades", "Upgraded connections now, as of WebSockets", self.upgrades.clone());
        r.register(
            "log_lines_dropped",
            "Lines the access log had no room for",
            self.log_lines_dropped.clone(),
        );
        r.register("reloads", "Times the routes were replaced", self.reloads.clone());
        r.register("problems", "Objects that are not used as they are", self.problems.clone());
        r.register("routes", "Rules that are served", self.routes.clone());
    }

    /// Those of a service.
    pub(crate) fn service(&self, namespace: &str, service: &str) -> ServiceMetrics {
        let labels = || service_labels(namespace, service);
        let with = |key: &'static str, value: &str| {
            let mut labels = labels();
            labels.push((key, value.to_owned()));
            labels
        };
        let error = |reason: &str| self.errors.get_or_create(&with("reason", reason)).clone();
        ServiceMetrics {
            by_class: CLASSES.map(|class| self.requests.get_or_create(&with("code", class)).clone()),
            duration: self.duration.get_or_create(&labels()).clone(),
            request_bytes: self.request_bytes.get_or_create(&labels()).clone(),
            response_bytes: self.response_bytes.get_or_create(&labels()).clone(),
            connect_errors: error("connect"),
            broken: error("broken"),
            timeouts: error("timeout"),
            retries: self.retries.get_or_create(&labels()).clone(),
            ejections: self.ejections.get_or_create(&labels()).clone(),
        }
    }

    /// Forgets a service that is gone, so that their number stays bounded by that of services.
    pub(crate) fn forget(&self, namespace: &str, service: &str) {
        let labels = service_labels(namespace, service);
        for class in CLASSES {
            let mut labels = labels.clone();
            labels.push(("code", class.to_owned()));
            self.requests.remove(&labels);
        }
        for reason in ["connect", "broken", "timeout"] {
            let mut labels = labels.clone();
            labels.push(("reason", reason.to_owned()));
            self.errors.remove(&labels);
        }
        self.duration.remove(&labels);
        self.request_bytes.remove(&labels);
        self.response_bytes.remove(&labels);
        self.retries.remove(&labels);
        self.ejections.remove(&labels);
    }

    /// Connections accepted.
    pub(crate) fn connections(&self, scheme: &str) -> Counter {
        self.connections.get_or_create(&vec![("scheme", scheme.to_owned())]).clone()
    }

    /// As Prometheus reads them.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // A string has room for everything.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn service_labels(namespace: &str, service: &str) -> Labels {
    vec![("namespace", namespace.to_owned()), ("service", service.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_counted_and_forgotten() {
        let metrics = Metrics::new();
        let service = metrics.service("default", "web");
        service.on_request(200, 0.004, 10, 20);
        service.on_request(503, 0.004, 0, 0);
        service.on_error(EndpointError::Connect);
        let text = metrics.text();
        for line in [
            "ingress_requests_total{namespace=\"default\",service=\"web\",code=\"2xx\"} 1",
            "ingress_requests_total{namespace=\"default\",service=\"web\",code=\"5xx\"} 1",
            "ingress_upstream_errors_total{namespace=\"default\",service=\"web\",reason=\"connect\"} 1",
            "ingress_request_duration_seconds_count{namespace=\"default\",service=\"web\"} 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        metrics.forget("default", "web");
        assert!(!metrics.text().contains("web"));
    }
}
