use super::*;

fn key(name: &str) -> Key {
    Key::new(Kind::Pod, "default", name)
}

fn open_in(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("state.redb")).unwrap()
}

#[test]
fn what_was_written_is_there_after_reopening_with_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir);
    assert_eq!(store.revision().unwrap(), 0);
    let first = store.put_new(key("a"), &"one").unwrap();
    let second = store.put(key("a"), &"two", first).unwrap();
    assert!(second > first);
    drop(store);
    let store = open_in(&dir);
    assert_eq!(store.get(&key("a")).unwrap(), Some(Versioned { revision: second, value: "two".to_owned() }));
    assert_eq!(store.revision().unwrap(), second);
}

#[test]
fn wrong_expectations_are_refused_by_name_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir);
    let revision = store.put_new(key("a"), &1).unwrap();
    assert_eq!(store.put_new(key("a"), &2).unwrap_err().to_string(), "pod default/a exists already");
    assert_eq!(store.put(key("b"), &2, 1).unwrap_err().to_string(), "pod default/b does not exist");
    assert_eq!(store.delete(key("b"), None).unwrap_err().to_string(), "pod default/b does not exist");
    let stale = store.put(key("a"), &2, revision + 7).unwrap_err();
    assert!(
        matches!(stale, StoreError::Conflict { expected, found, .. } if expected == 8 && found == revision)
    );
    assert!(store.delete(key("a"), Some(revision + 1)).is_err());
    assert_eq!(store.get::<u32>(&key("a")).unwrap().unwrap().value, 1);
    assert_eq!(store.revision().unwrap(), revision, "a refused write costs no revision");
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir);
    store.put_new(key("a"), &1).unwrap();
    let refused = Transaction::new().delete(key("a"), None).put_new(key("b"), &2).delete(key("c"), None);
    assert!(store.commit(refused).is_err());
    assert!(store.get::<u32>(&key("a")).unwrap().is_some());
    assert!(store.get::<u32>(&key("b")).unwrap().is_none());
    let good = Transaction::new().delete(key("a"), None).put_new(key("b"), &2).forget(key("c"));
    let revision = store.commit(good).unwrap();
    assert_eq!(store.get::<u32>(&key("b")).unwrap().unwrap().revision, revision);
    assert!(store.get::<u32>(&key("a")).unwrap().is_none());
}

#[test]
fn list_returns_one_kind_in_key_order_and_isolates_unreadable_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir);
    store.put_new(Key::new(Kind::Pod, "b", "x"), &1).unwrap();
    store.put_new(Key::new(Kind::Pod, "a", "z"), &2).unwrap();
    store.put_new(Key::new(Kind::Pod, "a", "y"), &"text").unwrap();
    store.put_new(Key::node_wide(Kind::CoolingAddress, "10.0.0.1"), &3).unwrap();
    let rows = store.list::<u32>(Kind::Pod).unwrap();
    let names: Vec<String> = rows.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(names, ["pod a/y", "pod a/z", "pod b/x"]);
    assert!(rows[0].1.as_ref().unwrap_err().to_string().contains("the record of pod a/y cannot be read"));
    assert_eq!(rows[1].1.as_ref().unwrap().value, 2);
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open_in(&dir);
    let error = Store::open(&dir.path().join("state.redb")).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn garbage_instead_of_a_state_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    fs::write(&path, b"this is not a database, whatever its name says").unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

/// A copy taken while commits go on is what a kill at that point leaves behind: it must open, and
/// hold every record whose commit had returned when the copy began.
#[test]
fn a_copy_taken_between_commits_opens_with_everything_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir);
    for number in 0..30u32 {
        store.put_new(key(&format!("p{number}")), &number).unwrap();
        let copy = dir.path().join(format!("copy-{number}.redb"));
        fs::copy(store.path(), &copy).unwrap();
        let copied = Store::open(&copy).unwrap();
        assert_eq!(copied.list::<u32>(Kind::Pod).unwrap().len(), number as usize + 1);
        drop(copied);
        fs::remove_file(copy).unwrap();
    }
}

/// A file system of 16 MiB, gone at the end of the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "vpod-store-test"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success(), "cannot mount a tmpfs: run the tests as root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_by_name_loses_nothing_and_recovers_when_freed() {
    let disk = SmallDisk::mount();
    let store = open_in(&disk.0);
    store.put_new(key("kept"), &"value").unwrap();
    let ballast = disk.0.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
    let text = "x".repeat(16 << 10);
    let error = (0..1000)
        .find_map(|n| store.put_new(key(&format!("p{n}")), &text).err())
        .expect("a full disk must refuse a write");
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("disk is full"), "{error}");
    let before = store.list::<String>(Kind::Pod);
    drop(file);
    fs::remove_file(&ballast).unwrap();
    store.put_new(key("after"), &"works").unwrap();
    assert_eq!(store.get::<String>(&key("kept")).unwrap().unwrap().value, "value");
    let after = store.list::<String>(Kind::Pod).unwrap();
    if let Ok(before) = before {
        assert_eq!(before.len() + 1, after.len());
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure is for whoever runs it with --nocapture")]
fn commits_are_counted_one_by_one() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = open_in(&dir);
    let started = std::time::Instant::now();
    for n in 0..50u32 {
        store.put_new(key(&format!("p{n}")), &n).unwrap();
    }
    println!("one commit: {:?}", started.elapsed() / 50);
    assert_eq!(store.revision().unwrap(), 50);
}
