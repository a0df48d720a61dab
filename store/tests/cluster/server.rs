//! What a server can do to its clients: restart, demand certificates and passwords, be silent, be emptied.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::cluster::registration::alive_key;
use store::cluster::{
    ClusterError, ClusterStore, Embedded, Etcd, EtcdConfig, EtcdTls, Expect, Mirror, MirrorState,
    RegistrationState, Txn, WatchEnd, etcd::EtcdUser,
};

use crate::bed::{Bed, EmbeddedBed, EtcdBed, EtcdServer, Proxy, TlsFiles, eventually, quick};
use crate::mirror::{SOON, mirror, next, put, wait_synced};
use crate::registration::{record_of, start};

/// Short enough for a test to wait for failures.
fn impatient(endpoints: Vec<String>) -> EtcdConfig {
    EtcdConfig { call_timeout: Duration::from_millis(2500), ..quick(endpoints) }
}

fn client(config: EtcdConfig) -> Arc<dyn ClusterStore> {
    Arc::new(Etcd::new(config).unwrap())
}

fn is_stale(mirror: &Mirror) -> bool {
    matches!(mirror.state(), MirrorState::Stale { .. })
}

#[test]
fn embedded_entries_revisions_and_leases_survive_a_restart() {
    let bed = EmbeddedBed::new();
    let store = bed.store();
    let lease = store.grant(Duration::from_secs(2)).unwrap();
    store.commit(&Txn::new().put("/p/a", b"1").put_leased("/p/b", b"2", lease)).unwrap();
    let before = store.list("/p/").unwrap();
    drop(store);
    let bed = bed.reopened();
    let store = bed.store();
    assert_eq!(store.list("/p/").unwrap(), before);
    match store.watch("/p/", before.revision).unwrap().next(SOON) {
        Err(WatchEnd::Compacted { oldest }) => assert_eq!(oldest, before.revision + 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.keep_alive(lease).unwrap(), Duration::from_secs(2));
    assert_ne!(store.grant(Duration::from_secs(2)).unwrap(), lease);
    eventually("its time goes on", SOON, || store.get("/p/b").unwrap().is_none());
    assert!(store.list("/p/").unwrap().revision > before.revision);
}

#[test]
fn what_is_deferred_is_on_disk_after_a_sync_and_nothing_is_half_there_before() {
    let bed = EmbeddedBed::new();
    let store = bed.store();
    let first = store.put("/p/0", b"x", Expect::Absent).unwrap();
    // As the file is if the machine stops here.
    let found_now = || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(bed.dir.path().join("state.redb"), dir.path().join("state.redb")).unwrap();
        let file = Arc::new(store::Store::open(&dir.path().join("state.redb")).unwrap());
        Embedded::open(file).unwrap().list("/p/").unwrap()
    };
    for n in 1..50 {
        let txn = Txn::new().put(&format!("/p/{n}"), b"x").put("/p/last", n.to_string().as_bytes());
        assert_eq!(store.commit(&txn.deferred()).unwrap(), first + n);
    }
    let found = found_now();
    assert_eq!((found.revision, found.entries.len()), (first, 1));
    store.sync().unwrap();
    assert_eq!(found_now(), store.list("/p/").unwrap());
}

#[test]
fn an_embedded_store_that_is_closed_ends_its_watches() {
    let bed = EmbeddedBed::new();
    let mut watch = bed.store().watch("/p/", 1).unwrap();
    let waiting = std::thread::spawn(move || watch.next(Duration::from_secs(60)));
    std::thread::sleep(Duration::from_millis(100));
    // The watch holds the file until it is dropped, but not the store.
    drop(bed);
    assert!(matches!(waiting.join().unwrap(), Err(WatchEnd::Closed)));
}

#[test]
fn a_restarted_server_is_found_again_with_everything_and_nothing_changes_for_a_mirror() {
    let bed = EtcdBed::new();
    let store = client(impatient(vec![bed.server.endpoint()]));
    (0..6).for_each(|n| put(&*store, &n.to_string(), "x"));
    let registration = start(&store, "a").unwrap();
    let mirror = mirror(&store);
    (0..6).for_each(|n| assert_eq!(next(&mirror), format!("{n}=x")));
    let mut watch = store.watch("/p/", 1).unwrap();

    bed.server.kill();
    let began = Instant::now();
    assert!(matches!(store.get("/p/0"), Err(ClusterError::Unreachable { .. })));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let unmade = store.put("/p/0", b"y", Expect::Any).unwrap_err();
    assert!(
        matches!(unmade, ClusterError::Unreachable { .. }),
        "nobody listened, so nothing was made: {unmade}"
    );
    assert!(unmade.to_string().contains("refused"), "{unmade}");
    eventually("the mirror is stale", SOON, || is_stale(&mirror));
    assert!(mirror.problem().unwrap().contains(&bed.server.endpoint()));
    assert_eq!(mirror.known().0.len(), 6);
    let end = loop {
        match watch.next(SOON) {
            Ok(batch) => assert!(batch.is_some(), "a watch of a dead server goes on"),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, WatchEnd::Lost { .. }), "{end}");
    assert!(matches!(watch.next(SOON), Err(WatchEnd::Closed)));

    assert!(bed.server.run());
    let took = wait_synced(&mirror);
    assert!(took < SOON, "{took:?}");
    assert!(mirror.changes().is_empty(), "nothing has changed");
    put(&*store, "7", "new");
    assert_eq!(next(&mirror), "7=new");
    eventually("it is registered", SOON, || registration.state() == RegistrationState::Registered);
    assert_eq!(record_of(&*store, "a").pod_cidr, registration.pod_cidr());
}

#[test]
fn a_server_that_is_silent_is_noticed_in_seconds_and_found_again() {
    let bed = EtcdBed::new();
    let direct = bed.store();
    let proxy = Proxy::start(bed.server.port());
    let store = client(impatient(vec![proxy.endpoint()]));
    (0..4).for_each(|n| put(&*store, &n.to_string(), "x"));
    let mirror = mirror(&store);
    (0..4).for_each(|n| assert_eq!(next(&mirror), format!("{n}=x")));
    let mut watch = store.watch("/p/", store.list("/p/").unwrap().revision + 1).unwrap();

    proxy.silence(true);
    let began = Instant::now();
    let end = loop {
        match watch.next(Duration::from_millis(100)) {
            Ok(None) => assert!(began.elapsed() < SOON, "silence is not noticed"),
            Ok(Some(batch)) => panic!("{batch:?}"),
            Err(end) => break end,
        }
    };
    assert!(matches!(&end, WatchEnd::Lost { .. }) && end.to_string().contains("no answer within"), "{end}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(matches!(store.get("/p/0"), Err(ClusterError::Unreachable { .. })));
    assert!(began.elapsed() < Duration::from_secs(4), "a call has a deadline, {:?}", began.elapsed());
    eventually("the mirror is stale", SOON, || is_stale(&mirror));
    put(&*direct, "4", "meanwhile");
    direct.delete("/p/0", Expect::Present).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(mirror.known().0.len(), 4);

    proxy.silence(false);
    let took = wait_synced(&mirror);
    assert!(took < SOON, "{took:?}");
    assert_eq!([next(&mirror), next(&mirror)], ["-0", "4=meanwhile"]);
    assert!(mirror.changes().is_empty());
}

#[test]
fn a_change_that_was_not_answered_is_said_to_be_of_unknown_outcome() {
    let bed = EtcdBed::new();
    let proxy = Proxy::start(bed.server.port());
    let store = client(impatient(vec![proxy.endpoint()]));
    put(&*store, "a", "1");
    proxy.silence(true);
    let error = store.put("/p/a", b"2", Expect::Any).unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert!(error.to_string().contains(&proxy.endpoint()), "{error}");
}

#[test]
fn another_endpoint_takes_over_from_one_that_is_silent() {
    let bed = EtcdBed::new();
    let proxy = Proxy::start(bed.server.port());
    let store = client(quick(vec![proxy.endpoint(), bed.server.endpoint()]));
    put(&*store, "a", "1");
    let mirror = mirror(&store);
    assert_eq!(next(&mirror), "a=1");
    wait_synced(&mirror);
    proxy.silence(true);
    assert_eq!(store.get("/p/a").unwrap().unwrap().value, b"1", "a read is repeated elsewhere");
    put(&*store, "a", "2");
    assert_eq!(next(&mirror), "a=2");
    // Dead from the start, too.
    let store = client(quick(vec!["http://127.0.0.1:1".to_owned(), bed.server.endpoint()]));
    put(&*store, "a", "3");
    assert_eq!(next(&mirror), "a=3");
}

#[test]
fn an_emptied_server_takes_nothing_from_a_mirror_and_gets_its_nodes_back() {
    let bed = EtcdBed::new();
    let store = client(impatient(vec![bed.server.endpoint()]));
    // So that the emptied server's revisions are lower for a while.
    (0..50).for_each(|n| put(&*store, "0", &n.to_string()));
    (0..6).for_each(|n| put(&*store, &n.to_string(), "x"));
    let [a, b] = ["a", "b"].map(|name| start(&store, name).unwrap());
    let mirror = mirror(&store);
    (0..6).for_each(|n| assert_eq!(next(&mirror), format!("{n}=x")));
    let before = store.list("/p/").unwrap().revision;

    bed.server.empty();
    eventually("everything is held", Duration::from_secs(20), || {
        matches!(mirror.state(), MirrorState::Held { missing: 6, known: 6, .. })
    });
    assert!(store.list("/p/").unwrap().revision < before);
    match store.watch("/p/", before + 1).unwrap().next(SOON) {
        Err(WatchEnd::Behind { from, .. }) => assert_eq!(from, before + 1),
        other => panic!("{other:?}"),
    }
    assert!(mirror.changes().is_empty());
    put(&*store, "1", "x");
    put(&*store, "2", "y");
    assert_eq!(next(&mirror), "2=y");
    eventually("the rest is held", SOON, || matches!(mirror.state(), MirrorState::Held { missing: 4, .. }));

    for registration in [&a, &b] {
        let record = registration.record();
        eventually("the node is registered again", Duration::from_secs(20), || {
            store.get(&alive_key(&record.spec.name)).unwrap().is_some()
        });
        assert_eq!(record_of(&*store, &record.spec.name), record);
    }
    assert_eq!(mirror.confirm().len(), 4);
    assert_eq!([next(&mirror), next(&mirror), next(&mirror), next(&mirror)], ["-0", "-3", "-4", "-5"]);
    wait_synced(&mirror);
}

#[test]
fn tls_with_client_certificates_works_and_nothing_less_does() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificates(dir.path(), "ours");
    let other = certificates(dir.path(), "other");
    let server = EtcdServer::start_with(Some(files.clone()));
    let with = |ca: &Path, identity: Option<(&Path, &Path)>| {
        let tls = Some(EtcdTls::read(ca, identity).unwrap());
        client(EtcdConfig { tls, ..impatient(vec![server.endpoint()]) })
    };
    let store = with(&files.ca, Some((&files.cert, &files.key)));
    put(&*store, "a", "1");
    let mirror = mirror(&store);
    assert_eq!(next(&mirror), "a=1");
    let wrong_ca = with(&other.ca, Some((&files.cert, &files.key)));
    // A machine with much else to do may not get as far as the certificate in time.
    eventually("the cause is named", Duration::from_secs(20), || {
        wrong_ca.get("/p/a").unwrap_err().to_string().contains("certificate")
    });
    assert!(with(&files.ca, Some((&other.cert, &other.key))).get("/p/a").is_err());
    assert!(with(&files.ca, None).get("/p/a").is_err());
    let missing = EtcdTls::read(&dir.path().join("none.pem"), None).unwrap_err().to_string();
    assert!(missing.contains("none.pem"), "{missing}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let refused = |config: EtcdConfig| Etcd::new(config).unwrap_err().to_string();
    assert!(refused(EtcdConfig::new(vec![])).contains("no endpoint"));
    assert!(refused(EtcdConfig::new(vec!["127.0.0.1:2379".to_owned()])).contains("begins with http"));
    assert!(refused(EtcdConfig::new(vec!["https://127.0.0.1:2379".to_owned()])).contains("needs a CA"));
}

/// A CA, and a certificate of it that serves both sides.
fn certificates(dir: &Path, name: &str) -> TlsFiles {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap();
    let write = |kind: &str, pem: String| {
        let path = dir.join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, pem).unwrap();
        path
    };
    TlsFiles {
        ca: write("ca", ca.pem()),
        cert: write("cert", cert.pem()),
        key: write("key", key.serialize_pem()),
    }
}

#[test]
fn a_user_with_rights_works_across_restarts_and_others_are_refused_by_name() {
    let bed = EtcdBed::new();
    for command in [
        "user add root:secret",
        "user grant-role root root",
        "role add vpod",
        "role grant-permission vpod readwrite --prefix=true /p/",
        "role grant-permission vpod readwrite --prefix=true /vpod/",
        "user add vpod:password",
        "user grant-role vpod vpod",
        "auth enable",
    ] {
        bed.server.etcdctl(&command.split(' ').collect::<Vec<_>>());
    }
    bed.server.log_in("root:secret");
    let with = |password: &str| {
        let user = EtcdUser { name: "vpod".to_owned(), password: password.to_owned() };
        let config = EtcdConfig { user: Some(user), ..impatient(vec![bed.server.endpoint()]) };
        assert!(!format!("{config:?}").contains("password: "), "{config:?}");
        client(config)
    };
    let store = with("password");
    put(&*store, "a", "1");
    let registration = start(&store, "a").unwrap();
    let mirror = mirror(&store);
    assert_eq!(next(&mirror), "a=1");

    let refused = |result: Result<(), ClusterError>, text: &str| match result.unwrap_err() {
        error @ ClusterError::Refused { .. } => assert!(error.to_string().contains(text), "{error}"),
        other => panic!("{other}"),
    };
    refused(store.get("/q/a").map(|_| ()), "permission denied");
    refused(store.watch("/q/", 1).map(|_| ()), "permission denied");
    refused(store.put("/q/a", b"", Expect::Any).map(|_| ()), "permission denied");
    refused(with("wrong").get("/p/a").map(|_| ()), "authentication failed");
    refused(bed.store().get("/p/a").map(|_| ()), "user name is empty");

    // Its tokens do not survive this.
    bed.server.kill();
    assert!(bed.server.run());
    assert_eq!(store.get("/p/a").unwrap().unwrap().value, b"1");
    wait_synced(&mirror);
    put(&*store, "a", "2");
    assert_eq!(next(&mirror), "a=2");
    eventually("it is registered", SOON, || registration.state() == RegistrationState::Registered);
}
