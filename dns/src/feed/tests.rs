use protocol::feed::NameChange;

use super::*;
use crate::wire::name::Name;
use crate::zone::PodRecords;

fn zone() -> Zone {
    Zone::new(&Name::from_text("z").unwrap(), Vec::new(), 5, PodRecords::Disabled).unwrap()
}

fn namespace(name: &str) -> FeedChange {
    FeedChange::Name(NameChange::Namespace(name.parse().unwrap()))
}

fn changes(from_scratch: bool, changes: Vec<FeedChange>) -> Changes {
    Changes { from_scratch, changes }
}

fn position(sequence: u64) -> FeedPosition {
    FeedPosition { instance: 1, sequence }
}

#[test]
fn what_is_from_scratch_replaces_what_was_when_it_is_whole() {
    let (zone, mut progress) = (zone(), Progress::default());
    let now = SystemTime::UNIX_EPOCH;
    progress.take(&zone, &changes(true, vec![namespace("a")]), Instant::now());
    progress.take(&zone, &changes(true, vec![namespace("b")]), Instant::now());
    progress.complete(position(1));
    let both = progress.names(now);
    assert!(both.has_namespace(b"\x01a") && both.has_namespace(b"\x01b"));
    progress.take(&zone, &changes(true, vec![namespace("c")]), Instant::now());
    assert!(progress.names(now).has_namespace(b"\x01a"), "the rest may not have come yet");
    progress.complete(position(2));
    let names = progress.names(now);
    assert!(!names.has_namespace(b"\x01a") && names.has_namespace(b"\x01c"));
    progress.take(&zone, &changes(false, vec![namespace("d")]), Instant::now());
    progress.complete(position(3));
    let names = progress.names(now);
    assert!(names.has_namespace(b"\x01c") && names.has_namespace(b"\x01d"));
    assert!(both.has_namespace(b"\x01a"), "who still reads the old ones sees them as they were");
}

#[test]
fn serial_numbers_grow_whatever_the_clock_does() {
    let mut progress = Progress::default();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let serials: Vec<_> = [100, 100, 50, 200].map(|seconds| progress.names(at(seconds)).serial).into();
    assert_eq!(serials, [100, 101, 102, 200]);
}

#[test]
fn changes_are_timed_from_when_they_were_heard_of() {
    let (zone, mut progress) = (zone(), Progress::default());
    let service = |name: &str, target| {
        FeedChange::Name(NameChange::Service(protocol::feed::NamedService {
            namespace: "a".parse().unwrap(),
            name: name.parse().unwrap(),
            target,
        }))
    };
    let now = Instant::now() + Duration::from_secs(100);
    let all = vec![
        service("untimed", NameTarget::Headless { endpoints: Vec::new() }),
        FeedChange::Heard(1500),
        service("b", NameTarget::Headless { endpoints: Vec::new() }),
        FeedChange::Heard(20),
        namespace("c"),
        FeedChange::Heard(7),
    ];
    progress.take(&zone, &changes(false, all), now);
    let address = NameTarget::Cluster { addresses: Vec::new(), ports: Vec::new() };
    // In the next response.
    progress.take(&zone, &changes(false, vec![service("d", address)]), now);
    let ago = |milliseconds| now.checked_sub(Duration::from_millis(milliseconds)).unwrap();
    assert_eq!(progress.heard, [(ServiceKind::Headless, ago(1500)), (ServiceKind::ClusterIp, ago(7))]);
}
