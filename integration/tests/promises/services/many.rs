//! More services than metrics tell of. A debug build takes its time to read them; with ten thousand of them of ten endpoints each, run the test
//! with `SERVICES=10000`.

use std::time::Instant;

use integration::{TestNode, wait};

use super::manifest;

const SERVICES: usize = 2400;
const ENDPOINTS: usize = 10;
/// Service ports with metrics, and backends.
const SERIES: usize = 2000;

fn object(n: usize) -> String {
    let address = |host| format!("{{addresses: [10.{}.{}.{}]}}", 128 + n / 250, n % 250, 1 + host);
    let endpoints: Vec<String> = (0..ENDPOINTS).map(address).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: s{n}-1, labels: {{kubernetes.io/service-name: s{n}}}}}\n\
         endpoints: [{}]\nports: [{{port: 80}}]\n---\n",
        endpoints.join(", ")
    )
}

fn count(text: &str, start: &str) -> usize {
    text.lines().filter(|line| line.starts_with(start)).count()
}

/// How long each takes is printed: what a scrape shows has a limit, so more services do not make it slower.
#[test]
fn metrics_of_many_services_tell_of_some_and_tables_of_all() {
    let services = std::env::var("SERVICES").map_or(SERVICES, |text| text.parse().expect("a number"));
    let node = TestNode::start();
    let began = Instant::now();
    // A command has its time limit as well.
    let all: Vec<String> = (0..services).map(object).collect();
    for some in all.chunks(1000) {
        manifest(&node, "apply", &some.concat()).ok();
    }
    wait::until_within(3 * wait::PATIENCE, "the last one is active", || {
        node.vpodctl(&format!("wait service/s{} --for=active --timeout 10s", services - 1))
            .succeeded()
            .then_some(())
    });
    println!("applied and active after {:.2?}", began.elapsed());
    for _ in 0..3 {
        let began = Instant::now();
        let metrics = crate::metrics::scrape(&node);
        println!("metrics: {:.3?}", began.elapsed());
        assert_eq!(count(&metrics, "vpod_service_connections_total{"), SERIES);
        assert_eq!(count(&metrics, "vpod_service_backend_connections_total{"), SERIES);
    }
    let began = Instant::now();
    let rows = node.vpodctl("get traffic --no-headers").ok().lines().count();
    println!("get traffic: {:.3?}", began.elapsed());
    assert_eq!(rows, services * (1 + ENDPOINTS));
}
