use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};

use super::*;
use crate::wire::query;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn address(owner: &str, ttl: u32, text: &str) -> Record {
    match text.parse().unwrap() {
        IpAddr::V4(address) => record(owner, ttl, RData::A(A(address))),
        IpAddr::V6(address) => record(owner, ttl, RData::AAAA(AAAA(address))),
    }
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, 60, RData::CNAME(CNAME(name(target))))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    record(owner, ttl, RData::SOA(SOA::new(name("ns.x."), name("m.x."), 1, 2, 3, 4, minimum)))
}

fn question(kind: RecordType) -> Question {
    let name = crate::wire::name::Name::from_text("www.example.com").unwrap();
    Question { name, kind: kind.into(), dnssec_ok: false, checking_disabled: false }
}

/// What a client gets of it: the answer, and for how long it is kept.
fn vetted(answers: Vec<Record>, authorities: Vec<Record>, code: ResponseCode) -> (Message, u32) {
    let mut theirs = Message::new(99, MessageType::Response, OpCode::Query);
    theirs.metadata.response_code = code;
    theirs.metadata.authentic_data = true;
    theirs.add_query(Query::query(name("wWw.Example.com."), RecordType::A));
    theirs.answers = answers;
    theirs.authorities = authorities;
    theirs.additionals = vec![address("cluster.local.", 60, "192.0.2.66")];
    let now = Instant::now();
    let cluster = ["10.244.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let entry = vet(&question(RecordType::A), &theirs.to_vec().unwrap(), &cluster, now).unwrap();
    let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
    asked.add_query(Query::query(name("WWW.example.COM."), RecordType::A));
    let asked = asked.to_vec().unwrap();
    let mut out = Vec::new();
    entry.write(&query::read(&asked).unwrap(), 65_535, now, &mut out);
    let message = Message::from_vec(&out).unwrap();
    assert_eq!(message.metadata.id, 7);
    assert!(!message.metadata.authentic_data && !message.metadata.authoritative);
    assert!(message.queries[0].name.eq_case(&name("WWW.example.COM.")), "the question's case is kept");
    assert!(message.additionals.is_empty());
    (message, entry.ttl)
}

#[test]
fn addresses_and_aliases_are_kept() {
    let (message, ttl) = vetted(
        vec![alias("www.example.com.", "web.other."), address("WEB.other.", 300, "192.0.2.1")],
        vec![],
        ResponseCode::NoError,
    );
    assert_eq!((message.answers.len(), ttl), (2, 60));
}

#[test]
fn what_was_not_asked_for_is_not_believed() {
    let (message, _) = vetted(
        vec![
            address("www.example.com.", 60, "192.0.2.1"),
            address("bank.example.", 60, "192.0.2.66"),
            address("cluster.local.", 60, "192.0.2.66"),
        ],
        vec![soa("bank.example.", 60, 60)],
        ResponseCode::NoError,
    );
    assert_eq!(message.answers.len(), 1);
    assert!(message.authorities.is_empty());
}

#[test]
fn no_name_outside_leads_inside() {
    let (message, _) = vetted(
        vec![address("www.example.com.", 60, "10.244.0.5"), address("www.example.com.", 60, "192.0.2.1")],
        vec![],
        ResponseCode::NoError,
    );
    assert_eq!(message.answers.len(), 1);
}

#[test]
fn aliases_that_go_round_end() {
    let (message, _) = vetted(
        vec![alias("www.example.com.", "a.x."), alias("a.x.", "www.example.com.")],
        vec![],
        ResponseCode::NoError,
    );
    assert_eq!(message.answers.len(), 2);
}

#[test]
fn answers_are_kept_as_long_as_they_say_within_bounds() {
    let ok =
        |ttl| vetted(vec![address("www.example.com.", ttl, "192.0.2.1")], vec![], ResponseCode::NoError).1;
    assert_eq!((ok(0), ok(60), ok(1_000_000)), (5, 60, 3600));
    let none =
        |ttl, minimum| vetted(vec![], vec![soa("example.com.", ttl, minimum)], ResponseCode::NXDomain).1;
    assert_eq!((none(600, 60), none(60, 600), none(9000, 9000), none(0, 0)), (60, 60, 1800, 5));
    let nothing = vetted(vec![], vec![], ResponseCode::NoError);
    assert_eq!((nothing.1, nothing.0.authorities.len()), (5, 0), "no SOA: not for long");
    let (strange, ttl) = vetted(vec![], vec![soa("other.zone.", 900, 900)], ResponseCode::NXDomain);
    assert_eq!((ttl, strange.authorities.len()), (5, 0), "the SOA of a zone that it is not in");
}

#[test]
fn failures_are_kept_briefly_and_carry_nothing() {
    let (message, ttl) =
        vetted(vec![address("www.example.com.", 600, "192.0.2.1")], vec![], ResponseCode::ServFail);
    assert_eq!((message.answers.len(), ttl), (0, 5));
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn what_cannot_be_read_is_no_answer() {
    let mut theirs = Message::new(99, MessageType::Response, OpCode::Query);
    theirs.add_query(Query::query(name("www.example.com."), RecordType::A));
    theirs.answers = vec![record("www.example.com.", 60, RData::TXT(TXT::new(vec!["x".to_owned()])))];
    let bytes = theirs.to_vec().unwrap();
    let read = |bytes: &[u8]| vet(&question(RecordType::A), bytes, &[], Instant::now());
    assert!(read(&bytes).is_some());
    for len in 0..bytes.len() {
        let _ = read(&bytes[..len]);
    }
    assert!(read(&bytes[..bytes.len() - 1]).is_none());
    let mut looped = bytes.clone();
    let answer = 12 + 17 + 4;
    looped[answer..answer + 2].copy_from_slice(&[0xc0, u8::try_from(answer).unwrap()]);
    assert!(read(&looped).is_none(), "a name that points to itself");
}

proptest::proptest! {
    #[test]
    fn a_damaged_answer_is_read_or_is_none(
        damage in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..6),
    ) {
        let mut theirs = Message::new(99, MessageType::Response, OpCode::Query);
        theirs.add_query(Query::query(name("www.example.com."), RecordType::A));
        theirs.answers = vec![alias("www.example.com.", "web.other."), address("web.other.", 300, "192.0.2.1")];
        theirs.authorities = vec![soa("example.com.", 60, 60)];
        let mut bytes = theirs.to_vec().unwrap();
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
        }
        if let Some(entry) = vet(&question(RecordType::A), &bytes, &[], Instant::now()) {
            let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
            asked.add_query(Query::query(name("www.example.com."), RecordType::A));
            let asked = asked.to_vec().unwrap();
            let mut out = Vec::new();
            entry.write(&query::read(&asked).unwrap(), 512, Instant::now(), &mut out);
            proptest::prop_assert!(out.len() <= 512);
        }
    }
}
