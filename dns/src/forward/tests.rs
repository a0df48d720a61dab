use std::net::UdpSocket;
use std::sync::atomic::AtomicUsize;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};

use super::*;

const ANSWER: A = A(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn question(name: &str) -> Question {
    Question {
        name: Name::from_text(name).unwrap(),
        kind: kind::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn good(asked: &[u8]) -> Vec<u8> {
    let mut message = Message::from_vec(asked).unwrap();
    message.metadata.message_type = MessageType::Response;
    let owner = message.queries[0].name.clone();
    message.answers = vec![Record::from_rdata(owner, 60, RData::A(ANSWER))];
    message.to_vec().unwrap()
}

/// A server that sends what `answers` makes of each query; counts them.
fn server(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            counted.fetch_add(1, Ordering::SeqCst);
            for answer in answers(&buffer[..len]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    (address, count)
}

fn outside(upstreams: Vec<(&str, Vec<SocketAddr>)>, max_concurrent: usize) -> Arc<Outside> {
    let upstreams =
        upstreams.into_iter().map(|(domain, all)| (Name::from_text(domain).unwrap(), all)).collect();
    let settings = Settings { upstreams, max_concurrent, cache_entries: 100, ..Settings::default() };
    Outside::new(settings).0
}

#[tokio::test]
async fn questions_that_are_the_same_are_asked_once() {
    let (address, count) = server(|asked| vec![good(asked)]);
    let outside = outside(vec![(".", vec![address])], 1000);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let outside = Arc::clone(&outside);
        all.spawn(async move { outside.resolve(&question("a.example")).await.is_ok() });
    }
    assert!(all.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(outside.flights.lock().is_empty());
}

#[tokio::test]
async fn wrong_answers_do_not_end_the_wait() {
    let (address, _) = server(|asked| {
        let true_answer = good(asked);
        let mut number = true_answer.clone();
        number[0] ^= 1;
        let mut name = true_answer.clone();
        name[13] = b'!';
        let forged = |mut bytes: Vec<u8>| {
            let end = bytes.len();
            bytes[end - 1] = 66;
            bytes
        };
        vec![b"garbage".to_vec(), vec![0; 4000], forged(number), forged(name), asked.to_vec(), true_answer]
    });
    let found = outside(vec![(".", vec![address])], 10).resolve(&question("abc.example")).await.ok().unwrap();
    let mut out = Vec::new();
    let asked = [
        &[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        Name::from_text("abc.example").unwrap().as_wire(),
        &[0, 1, 0, 1],
    ]
    .concat();
    found.write(&crate::wire::query::read(&asked).unwrap(), 512, &mut out);
    let message = Message::from_vec(&out).unwrap();
    assert_eq!(message.answers[0].data, RData::A(ANSWER));
}

#[tokio::test]
async fn the_longest_domain_says_who_is_asked() {
    let (root, of_root) = server(|asked| vec![good(asked)]);
    let (corp, of_corp) = server(|asked| vec![good(asked)]);
    let (deep, of_deep) = server(|asked| vec![good(asked)]);
    let outside =
        outside(vec![(".", vec![root]), ("corp.example", vec![corp]), ("x.corp.example", vec![deep])], 10);
    for name in [
        "example",
        "notcorp.example",
        "corp.example",
        "a.corp.example",
        "x.corp.example",
        "a.b.x.corp.example",
    ] {
        assert!(outside.resolve(&question(name)).await.is_ok(), "{name}");
    }
    let counts = [of_root, of_corp, of_deep].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [2, 2, 2]);
}

#[tokio::test]
async fn nobody_to_ask_is_said_at_once() {
    let (address, count) = server(|asked| vec![good(asked)]);
    let outside = outside(vec![(".", vec![address])], 10);
    let upstream = Arc::clone(outside.upstreams().next().unwrap());
    upstream.on_check(false);
    assert!(upstream.is_usable(), "one failure is an accident");
    upstream.on_check(false);
    assert_eq!(outside.resolve(&question("a")).await.err(), Some(Rcode::SERVER_FAILURE));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    upstream.on_check(true);
    assert!(outside.resolve(&question("a")).await.is_ok());
}

#[tokio::test]
async fn another_server_is_asked_when_one_fails() {
    let (bad, _) = server(|_| vec![b"garbage".to_vec()]);
    let (fine, _) = server(|asked| vec![good(asked)]);
    let settings = Settings {
        upstreams: vec![(Name::root(), vec![bad, fine])],
        policy: Policy::Sequential,
        max_concurrent: 10,
        ..Settings::default()
    };
    assert!(Outside::new(settings).0.resolve(&question("a")).await.is_ok());
}

#[tokio::test]
async fn too_many_questions_are_refused() {
    let (address, _) = server(|asked| vec![good(asked)]);
    let outside = outside(vec![(".", vec![address])], 0);
    assert_eq!(outside.resolve(&question("a")).await.err(), Some(Rcode::REFUSED));
    assert_eq!(outside.rejected(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_old_is_better_than_none() {
    let (address, count) = server(|_| vec![]);
    let outside = outside(vec![(".", vec![address])], 10);
    let upstream = Arc::clone(outside.upstreams().next().unwrap());
    let mut asked = Message::new(0, MessageType::Query, hickory_proto::op::OpCode::Query);
    asked.add_query(hickory_proto::op::Query::query(
        hickory_proto::rr::Name::from_ascii("a.").unwrap(),
        hickory_proto::rr::RecordType::A,
    ));
    let Some(before) = Instant::now().checked_sub(Duration::from_secs(100)) else { return };
    let entry = Entry::new(good(&asked.to_vec().unwrap()), Rcode::NO_ERROR, 60, before).unwrap();
    outside.cache.insert(question("a").key(), Arc::new(entry));
    upstream.on_check(false);
    upstream.on_check(false);
    let found = outside.resolve(&question("a")).await.ok().unwrap();
    assert_eq!((found.plugin, count.load(Ordering::SeqCst)), (Plugin::Cache, 0));
    assert!(outside.resolve(&question("b")).await.is_err());
}

#[tokio::test]
async fn a_question_that_comes_back_is_a_loop() {
    let (address, count) = server(|asked| vec![good(asked)]);
    let outside = outside(vec![(".", vec![address])], 10);
    let upstream = Arc::clone(outside.upstreams().next().unwrap());
    let probe = Question { kind: kind::HINFO, name: upstream.begin_probe(), ..question("x") };
    assert_eq!(outside.resolve(&probe).await.err(), Some(Rcode::SERVER_FAILURE));
    assert!(!upstream.is_usable());
    assert!(outside.resolve(&question("a")).await.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn servers_are_asked_in_the_order_of_the_policy() {
    let servers: Vec<SocketAddr> = (1..=3).map(|port| ([192, 0, 2, 1], port).into()).collect();
    let firsts = |policy| {
        let pool = Pool::new(&Name::root(), &servers, policy).unwrap();
        (0..60)
            .map(|_| {
                let ports: Vec<_> =
                    pool.candidates().iter().map(|upstream| upstream.address().port()).collect();
                assert_eq!(ports.len(), 3);
                ports[0]
            })
            .collect::<Vec<_>>()
    };
    assert!(firsts(Policy::Sequential).iter().all(|port| *port == 1));
    assert_eq!(firsts(Policy::RoundRobin)[..4], [1, 2, 3, 1]);
    let random: std::collections::BTreeSet<_> = firsts(Policy::Random).into_iter().collect();
    assert_eq!(random.len(), 3);
}
