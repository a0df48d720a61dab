//! Before it knows anything, while it does, with hostile messages, and to its end.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use protocol::feed::{NameChange, NameTarget, NamedService};

use crate::bed::{Bed, MANY, WEB, framed, many, query, read_framed, upstream, web};

#[test]
fn nothing_is_said_before_anything_is_known_and_then_the_truth() {
    let bed = Bed::start(|_| {});
    assert_eq!(bed.ask(WEB, RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(bed.ask("example.com.", RecordType::A).metadata.response_code, ResponseCode::Refused);
    let ready = |bed: &Bed| vpod_dns::server::http::Page::Ready.text(bed.server.as_ref().unwrap().shared()).0;
    assert_eq!(ready(&bed), 503);
    bed.tell(true, vec![web(1)]);
    let answer = bed.wait_for(WEB, 1);
    assert_eq!(answer.answers[0].data.to_string(), "10.96.0.1");
    assert_eq!(ready(&bed), 200);
    bed.tell(false, vec![many(3)]);
    bed.wait_for(MANY, 3);
    bed.tell(true, vec![web(1)]);
    assert_eq!(bed.wait_for(MANY, 0).metadata.response_code, ResponseCode::NXDomain);
    let metrics = vpod_dns::server::http::Page::Metrics.text(bed.server.as_ref().unwrap().shared()).1;
    for line in [
        "coredns_dns_requests_total{server=\"dns://:53\",zone=\"cluster.local.\",view=\"\",proto=\"udp\",family=\"1\",type=\"A\"}",
        "rcode=\"NXDOMAIN\",plugin=\"kubernetes\"}",
        "coredns_dns_request_duration_seconds_bucket{le=\"+Inf\",server=\"dns://:53\",zone=\"cluster.local.\",view=\"\"}",
        "coredns_dns_response_size_bytes_count{server=\"dns://:53\",zone=\"cluster.local.\",view=\"\",proto=\"udp\"}",
        "coredns_forward_max_concurrent_rejects_total 0",
        "coredns_panics_total 0",
        "coredns_build_info{version=",
        "coredns_health_request_duration_seconds_bucket{le=\"2.5\"}",
        "vpod_dns_synced 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn large_answers_are_cut_off_over_udp_and_whole_over_tcp() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![many(200)]);
    // 512 bytes without header and question, at 16 bytes an address.
    let plain = bed.wait_for(MANY, 29);
    assert!(plain.metadata.truncation);
    for (size, limit) in [(0, 512), (512, 512), (1000, 1000), (1232, 1232), (65_535, 1232)] {
        let socket = bed.udp();
        socket.send(&query(2, MANY, RecordType::A, Some(size))).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        assert!(len <= limit && len > limit - 16, "{size}: {len}");
        let answer = Message::from_vec(&buffer[..len]).unwrap();
        assert!(answer.metadata.truncation && answer.edns.is_some());
    }
    let mut stream = bed.tcp();
    stream.write_all(&framed(&query(3, MANY, RecordType::SRV, None))).unwrap();
    let whole = read_framed(&mut stream);
    assert!(!whole.metadata.truncation);
    assert_eq!((whole.answers.len(), whole.additionals.len()), (200, 200));
    // Pipelined, and in pieces of one byte.
    let mut both = framed(&query(4, MANY, RecordType::A, None));
    both.extend(framed(&query(5, MANY, RecordType::AAAA, None)));
    for byte in both {
        stream.write_all(&[byte]).unwrap();
    }
    let ids = [read_framed(&mut stream).metadata.id, read_framed(&mut stream).metadata.id];
    assert_eq!(ids, [4, 5]);
}

#[test]
fn every_address_is_first_sometimes() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![many(4)]);
    bed.wait_for(MANY, 4);
    let firsts: std::collections::BTreeSet<_> =
        (0..64).map(|_| bed.ask(MANY, RecordType::A).answers[0].data.to_string()).collect();
    assert_eq!(firsts.len(), 4, "{firsts:?}");
}

#[test]
fn names_outside_are_forwarded_kept_and_aliases_completed() {
    let (address, asked) = upstream(|_| true);
    let bed = Bed::start(move |config| config.upstreams = vec![address.to_string()]);
    let alias = NameChange::Service(NamedService {
        namespace: "default".parse().unwrap(),
        name: "out".parse().unwrap(),
        target: NameTarget::External { name: "www.example".to_owned() },
    });
    bed.tell(true, vec![alias, web(1)]);
    bed.wait_for(WEB, 1);
    let answer = bed.ask("Host.Example.", RecordType::A);
    assert!(answer.queries[0].name.eq_case(&Name::from_ascii("Host.Example.").unwrap()));
    assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
    assert_eq!(answer.answers[0].data.to_string(), "192.0.2.1");
    assert_eq!(bed.ask("host.example.", RecordType::A).answers.len(), 1);
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), ["host.example."], "the second was known");
    let alias = bed.ask("out.default.svc.cluster.local.", RecordType::A);
    let texts: Vec<_> = alias.answers.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(texts, ["www.example.", "192.0.2.1"]);
}

#[test]
fn a_dead_upstream_does_not_touch_the_clusters_names() {
    // Bound, and never read.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let bed = Bed::start(move |config| config.upstreams = vec![address.to_string()]);
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let outside = bed.udp();
    for id in 0..500 {
        outside.send(&query(id, &format!("n{id}.example."), RecordType::A, None)).unwrap();
    }
    for _ in 0..50 {
        assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
    }
    let mut buffer = [0; 512];
    let len = outside.recv(&mut buffer).unwrap();
    let answer = Message::from_vec(&buffer[..len]).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn hostile_messages_are_refused_or_ignored_and_never_answered_at_length() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1), many(200)]);
    bed.wait_for(WEB, 1);
    let good = query(9, WEB, RecordType::A, Some(1232));
    let socket = bed.udp();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let mut buffer = [0; 65_535];
    socket.set_nonblocking(true).unwrap();
    for round in 0..4000 {
        let mut bytes = good.clone();
        if round % 4 == 0 {
            bytes = (0..random() % 600).map(|_| u8::try_from(random() % 256).unwrap()).collect();
        } else {
            for _ in 0..=random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = u8::try_from(random() % 256).unwrap();
            }
            bytes.truncate(bytes.len() - (random() % bytes.len()) * (round % 2));
        }
        socket.send(&bytes).unwrap();
        while let Ok(len) = socket.recv(&mut buffer) {
            assert!(len <= 1232);
            assert!(Message::from_vec(&buffer[..len]).is_ok(), "{:?}", &buffer[..len]);
        }
    }
    // Longer than any query.
    socket.send(&[0; 9000]).unwrap();
    assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
    for (kind, class_chaos) in [(RecordType::TXT, true), (RecordType::AXFR, false), (RecordType::IXFR, false)]
    {
        let mut bytes = query(1, "cluster.local.", kind, None);
        if class_chaos {
            *bytes.last_mut().unwrap() = 3;
        }
        let socket = bed.udp();
        socket.send(&bytes).unwrap();
        let len = socket.recv(&mut buffer).unwrap();
        let answer = Message::from_vec(&buffer[..len]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{kind}");
    }
}

#[test]
fn slow_and_many_connections_hold_nobody_up() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let mut slow: Vec<_> = (0..100).map(|_| bed.tcp()).collect();
    for stream in &mut slow {
        stream.write_all(&[0, 50, 1]).unwrap();
    }
    let mut stream = bed.tcp();
    stream.write_all(&framed(&query(1, WEB, RecordType::A, None))).unwrap();
    assert_eq!(read_framed(&mut stream).answers.len(), 1);
    drop(stream);
    // One address has 128 places; beyond, connections end at once, and UDP goes on.
    let more: Vec<_> = (0..200).map(|_| TcpStream::connect(bed.address)).collect();
    assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
    let connections = &bed.server.as_ref().unwrap().shared().connections;
    assert!(connections.held() <= vpod_dns::server::tcp::MAX_OF_ONE);
    drop(more);
    // What answers itself is no client.
    let mut stream = slow.pop().unwrap();
    drop(slow);
    stream.write_all(&[0; 49]).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn whoever_has_not_heard_of_the_end_is_answered() {
    let mut bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let server = bed.server.take().unwrap();
    thread::scope(|scope| {
        let leaving = scope.spawn(|| server.leave(Duration::from_millis(300)));
        while !leaving.is_finished() {
            assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
        }
    });
    assert_eq!(vpod_dns::server::http::Page::Ready.text(server.shared()).0, 503);
    server.stop();
}
