//! What an answer costs on one core, from the query's bytes to the answer's, among 10 and 10,000 services.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipnet::IpNet;
use protocol::feed::{NameChange, NameTarget, NamedEndpoint, NamedPort, NamedService};
use protocol::link::Transport;
use vpod_dns::encode::{Source, encode};
use vpod_dns::wire::name::Name;
use vpod_dns::wire::query;
use vpod_dns::zone::{PodRecords, Register, Zone, answer::answer};

fn service(number: u32, headless: bool) -> NameChange {
    let [_, _, high, low] = number.to_be_bytes();
    let address = IpAddr::from([10, 96, high, low]);
    let ports = vec![NamedPort { name: Some("http".to_owned()), transport: Transport::Tcp, number: 80 }];
    let target = if headless {
        let endpoint = |last| NamedEndpoint {
            address: [10, 244, 0, last].into(),
            hostname: None,
            pod: None,
            ports: ports.clone(),
        };
        NameTarget::Headless { endpoints: (0..10).map(endpoint).collect() }
    } else {
        NameTarget::Cluster { addresses: vec![address], ports }
    };
    let name = if headless { "headless".to_owned() } else { format!("s{number}") };
    NameChange::Service(NamedService {
        namespace: "default".parse().unwrap_or_default(),
        name: name.parse().unwrap_or_else(|_| unreachable!()),
        target,
    })
}

fn message(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(Name::from_text(name).unwrap_or_else(Name::root).as_wire());
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    message
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Elements(1));
    for services in [10, 10_000] {
        let origin = Name::from_text("cluster.local").unwrap_or_else(Name::root);
        let reverse: Vec<IpNet> = "10.96.0.0/12".parse().into_iter().collect();
        let Some(zone) = Zone::new(&origin, reverse, 5, PodRecords::Disabled) else { return };
        let mut register = Register::default();
        for number in 0..services {
            register.apply(&zone, &service(number, false));
        }
        register.apply(&zone, &service(0, true));
        let names = register.names(1);
        for (what, name, kind) in [
            ("A", "s7.default.svc.cluster.local", 1),
            ("NXDOMAIN", "example.com.default.svc.cluster.local", 1),
            ("A of 10 endpoints", "headless.default.svc.cluster.local", 1),
            ("SRV of 10 endpoints", "_http._tcp.headless.default.svc.cluster.local", 33),
            ("PTR", "7.0.96.10.in-addr.arpa", 12),
        ] {
            let message = message(name, kind);
            let mut out = Vec::with_capacity(1500);
            group.bench_function(format!("{what}, {services} services"), |bencher| {
                bencher.iter(|| {
                    let Ok(query) = query::read(black_box(&message)) else { return };
                    let Some(answered) = answer(&zone, &names, &query.name, query.kind) else { return };
                    let source = Source { zone: &zone, names: &names, recursive: true };
                    black_box(encode(&mut out, &query, &answered, source, 1232, 3));
                });
            });
        }
        let mut number = 0;
        group.bench_function(format!("a change, {services} services"), |bencher| {
            bencher.iter(|| {
                number = (number + 1) % services;
                register.apply(&zone, &service(number, false));
                black_box(register.names(1));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, answers);
criterion_main!(benches);
