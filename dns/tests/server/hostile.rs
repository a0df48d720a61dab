//! Whatever bytes come, there is one answer at most, and it is one.

use std::cell::RefCell;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RecordType;
use proptest::prelude::*;
use vpod_dns::server::respond::{Outcome, respond};

use crate::bed::{Bed, MANY, WEB, many, query, web};

thread_local! {
    /// One for all cases.
    static BED: RefCell<Option<Bed>> = const { RefCell::new(None) };
}

/// Queries as clients send them, for things of all kinds.
fn good() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just(WEB.to_owned()),
        Just(MANY.to_owned()),
        Just("1.0.96.10.in-addr.arpa.".to_owned()),
        Just("_http._tcp.web.default.svc.cluster.local.".to_owned()),
        "[a-z]{1,20}(\\.[a-z]{1,20}){0,4}\\.",
        "[a-z]{1,20}\\.default\\.svc\\.cluster\\.local\\.",
    ];
    let kind = prop_oneof![
        Just(RecordType::A),
        Just(RecordType::AAAA),
        Just(RecordType::SRV),
        Just(RecordType::PTR),
        Just(RecordType::ANY),
        Just(RecordType::SOA),
        Just(RecordType::AXFR),
    ];
    (any::<u16>(), name, kind, proptest::option::of(any::<u16>()))
        .prop_map(|(id, name, kind, udp_bytes)| query(id, &name, kind, udp_bytes))
}

/// Damaged in some places, and cut off or longer.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let more = proptest::collection::vec(any::<u8>(), 0..40);
    (good(), changes, proptest::option::of(any::<prop::sample::Index>()), more).prop_map(
        |(mut bytes, changes, end, more)| {
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(end) = end {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes.extend(more);
            bytes
        },
    )
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![good(), damaged(), proptest::collection::vec(any::<u8>(), 0..600)]
}

fn check(bed: &Bed, message: &[u8], tcp: bool, turn: usize) -> Result<(), TestCaseError> {
    let shared = bed.shared();
    let names = shared.names.load_full();
    let mut out = vec![0xa5; 7];
    match respond(&shared, names.as_deref(), message, tcp, turn, &mut out) {
        Outcome::Silence | Outcome::Later => {}
        Outcome::Answer(_) => {
            let limit = if tcp { 65_535 } else { 1232 };
            prop_assert!(out.len() <= limit);
            // The whole of it is one message, an answer, to this one.
            let answer = Message::from_vec(&out);
            prop_assert!(answer.is_ok(), "{:?} to {:?}", out, message);
            let Ok(answer) = answer else { return Ok(()) };
            prop_assert_eq!(answer.metadata.message_type, MessageType::Response);
            prop_assert_eq!(&out[..2], &message[..2]);
            // What answers is never answered: two servers would not stop.
            prop_assert_eq!(message[2] & 0x80, 0);
            let mut again = Vec::new();
            let outcome = respond(&shared, names.as_deref(), &out, tcp, turn, &mut again);
            prop_assert_eq!(outcome, Outcome::Silence);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_have_one_answer_at_most(message in any_bytes(), tcp: bool, turn: usize) {
        BED.with_borrow_mut(|bed| {
            let bed = bed.get_or_insert_with(|| {
                let bed = Bed::start(|config| config.upstreams = vec!["127.0.0.1:9".to_owned()]);
                bed.tell(true, vec![web(1), many(200)]);
                bed.wait_for(WEB, 1);
                bed
            });
            check(bed, &message, tcp, turn)
        })?;
    }
}
