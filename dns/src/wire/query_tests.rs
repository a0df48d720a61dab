use hickory_proto::op::{Edns as LibraryEdns, Message, MessageType, OpCode, Query as LibraryQuery};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::*;

fn message(name: &str, kind: RecordType, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(LibraryQuery::query(Name::from_ascii(name).unwrap(), kind));
    if let Some((size, dnssec_ok)) = edns {
        let mut edns = LibraryEdns::new();
        edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

#[test]
fn a_plain_query_is_read() {
    let bytes = message("Web.Default.svc.cluster.local.", RecordType::SRV, None);
    let query = read(&bytes).unwrap();
    assert_eq!(
        query.header,
        Header { id: 0x1234, opcode: 0, recursion_desired: true, checking_disabled: false }
    );
    assert_eq!(
        (query.name.to_string().as_str(), query.kind, query.class),
        ("web.default.svc.cluster.local.", 33, 1)
    );
    assert!(query.question.starts_with(b"\x03Web\x07Default"));
    assert_eq!(query.edns, None);
}

#[test]
fn an_opt_record_is_read() {
    let bytes = message("a.", RecordType::A, Some((4096, true)));
    assert_eq!(read(&bytes).unwrap().edns, Some(Edns { udp_bytes: 4096, dnssec_ok: true }));
}

#[test]
fn what_is_no_query_is_refused_by_name() {
    let good = message("a.b.", RecordType::A, Some((1232, false)));
    let plain = message("a.b.", RecordType::A, None);
    let with = |bytes: &[u8], changes: &[(usize, u8)]| {
        let mut bytes = bytes.to_vec();
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        bytes
    };
    let code = |bytes: &[u8]| match read(bytes).unwrap_err() {
        Unreadable::Ignore => None,
        Unreadable::Refuse { rcode, header, .. } => {
            assert_eq!(header.id, 0x1234);
            Some(rcode)
        }
    };
    let opt = good.len() - 11;
    for (what, bytes, expected) in [
        ("nothing", vec![], None),
        ("half a header", good[..11].to_vec(), None),
        ("an answer", with(&good, &[(2, 0x80)]), None),
        ("a notification", with(&good, &[(2, 4 << 3)]), Some(Rcode::NOT_IMPLEMENTED)),
        ("an update", with(&good, &[(2, 5 << 3)]), Some(Rcode::NOT_IMPLEMENTED)),
        ("no question", with(&plain, &[(5, 0)]), Some(Rcode::FORMAT_ERROR)),
        ("two questions", with(&plain, &[(5, 2)]), Some(Rcode::FORMAT_ERROR)),
        ("an answer in it", with(&plain, &[(7, 1)]), Some(Rcode::FORMAT_ERROR)),
        ("an authority in it", with(&plain, &[(9, 1)]), Some(Rcode::FORMAT_ERROR)),
        ("65535 more records", with(&plain, &[(10, 0xff), (11, 0xff)]), Some(Rcode::FORMAT_ERROR)),
        ("a missing record", with(&plain, &[(11, 1)]), Some(Rcode::FORMAT_ERROR)),
        ("a header only", plain[..12].to_vec(), Some(Rcode::FORMAT_ERROR)),
        ("half a question", plain[..plain.len() - 1].to_vec(), Some(Rcode::FORMAT_ERROR)),
        ("a name that points to itself", with(&plain, &[(12, 0xc0), (13, 12)]), Some(Rcode::FORMAT_ERROR)),
        ("bytes behind", [&plain[..], b"x"].concat(), Some(Rcode::FORMAT_ERROR)),
        ("OPT with a name", with(&good, &[(11, 1), (opt, 1)]), Some(Rcode::FORMAT_ERROR)),
        ("OPT twice", with(&[&good[..], &good[opt..]].concat(), &[(11, 2)]), Some(Rcode::FORMAT_ERROR)),
        ("a later EDNS", with(&good, &[(opt + 6, 1)]), Some(Rcode::BAD_VERSION)),
        (
            "half an option",
            [&with(&good, &[(opt + 10, 3)])[..], b"\0\x0a\0"].concat(),
            Some(Rcode::FORMAT_ERROR),
        ),
    ] {
        assert_eq!(code(&bytes), expected, "{what}");
    }
}

proptest! {
    #[test]
    fn reading_never_fails_otherwise_than_by_name(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
    }

    /// Whatever both take, they take for the same.
    #[test]
    fn queries_are_read_as_the_library_reads_them(
        labels in proptest::collection::vec("[a-zA-Z0-9_]{1,20}", 0..8),
        kind in 1_u16..260,
        edns in proptest::option::of((0_u16..5000, any::<bool>())),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = message(&format!("{}.", labels.join(".")), RecordType::from(kind), edns);
        let whole = damage.is_empty();
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
        }
        let ours = read(&bytes);
        prop_assert!(!whole || ours.is_ok(), "{:?}", ours);
        if let (Ok(ours), Ok(theirs)) = (ours, Message::from_vec(&bytes)) {
            let question = theirs.queries.first().unwrap();
            let mut name = Vec::new();
            for label in question.name().iter() {
                let _ = crate::wire::name::push_label(&mut name, label);
            }
            name.push(0);
            prop_assert_eq!(ours.name.as_wire(), &name[..]);
            prop_assert_eq!(ours.kind, u16::from(question.query_type()));
            prop_assert_eq!(ours.class, u16::from(question.query_class()));
            prop_assert_eq!(ours.header.id, theirs.metadata.id);
            prop_assert_eq!(ours.edns.is_some(), theirs.edns.is_some());
        }
    }
}
