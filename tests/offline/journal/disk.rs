//! The journal on a disk that is full or read-only, and recovers.
//!
//! Each scenario is this test's own binary, started again in a user and mount namespace of its
//! own with a small tmpfs, so that no root and no real disk is needed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use docker_nat66::backend::compile;
use docker_nat66::journal::record::{Record, RecordState};
use docker_nat66::journal::recover::{OpenError, Opened};
use docker_nat66::journal::{Journal, recover};
use docker_nat66::model::boot::BootId;
use docker_nat66::model::rule::{BackendKind, OwnedRule};

use crate::support::namespace::passes_under;

const DISK: &str = "DOCKER_NAT66_TEST_DISK";

/// In the parent: runs the test again where `$DISK` is a tmpfs of 6 MiB, where it must pass. In the
/// child: returns the tmpfs.
fn on_a_small_disk(test: impl Fn()) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(PathBuf::from(disk));
    }
    let mountpoint = tempfile::tempdir().expect("tempdir");
    passes_under(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
            .arg("mount -t tmpfs -o size=6m none \"$1\"; shift; exec \"$@\"")
            .arg("sh")
            .arg(mountpoint.path())
            .env(DISK, mountpoint.path()),
        &test,
    );
    None
}

/// Leaves no byte free on the disk.
fn fill(disk: &Path) -> PathBuf {
    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).expect("creates");
    while file.write_all(&[0; 4096]).is_ok() {}
    ballast
}

/// How long the database's threads may keep its file open once it is closed.
const LETS_GO: Duration = Duration::from_secs(10);

fn remount(disk: &Path, how: &str) {
    let begun = Instant::now();
    loop {
        // with the source named, mount does not repeat options that a user namespace cannot map
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("remount,{how}"), "none"])
            .arg(disk)
            .output()
            .expect("mount runs");
        if output.status.success() {
            return;
        }
        // busy, as long as somebody may still write
        assert!(begun.elapsed() < LETS_GO, "{output:?}");
    }
}

fn record(n: u16) -> Record {
    let prefix = format!("fd00:{n:x}::/64");
    let text = format!(
        "nat POSTROUTING -o eth0 -s {prefix} -j MASQUERADE ! -d {prefix} \
         -m addrtype ! --src-type LOCAL"
    );
    Record {
        owned: OwnedRule {
            rule: compile::rule(BackendKind::Ip6tables, &text).expect("a rule of ours"),
            owners: BTreeSet::new().into(),
        },
        state: RecordState::Intended,
        inserted_at: 1,
        boot_id: BootId::new("boot"),
    }
}

fn open(dir: &Path) -> Result<Opened, OpenError> {
    recover::open(dir, SystemTime::UNIX_EPOCH)
}

fn found(dir: &Path) -> BTreeSet<String> {
    let opened = open(dir).expect("opens");
    assert!(opened.quarantined.is_none(), "{:?}", opened.quarantined);
    opened.records.iter().map(|r| r.id().to_string()).collect()
}

#[test]
fn a_full_disk_refuses_intents_loses_nothing_and_heals() {
    let Some(disk) = on_a_small_disk(a_full_disk_refuses_intents_loses_nothing_and_heals) else {
        return;
    };
    let state = disk.join("state");
    let mut store = open(&state).expect("opens").store;
    let mut acknowledged = BTreeSet::new();
    let mut next = 1;
    for round in 0..3 {
        let ballast = fill(&disk);
        let mut refused = 0;
        let begun = Instant::now();
        // the journal's own file has room left; write until that is used up, too
        while refused < 3 {
            match store.intend(&[record(next)]) {
                Ok(()) => assert!(acknowledged.insert(record(next).id().to_string())),
                Err(error) => {
                    refused += 1;
                    assert!(!store.is_healthy(), "{error}");
                }
            }
            next += 1;
            assert!(begun.elapsed().as_secs() < 60, "round {round} does not end");
        }
        assert_eq!(store.len(), acknowledged.len());
        fs::remove_file(ballast).expect("removes");
        store.intend(&[record(next)]).expect("heals");
        acknowledged.insert(record(next).id().to_string());
        next += 1;
    }
    drop(store);
    assert_eq!(found(&state), acknowledged);
}

#[test]
fn a_full_disk_at_the_start_is_named_and_nothing_is_quarantined() {
    let Some(disk) = on_a_small_disk(a_full_disk_at_the_start_is_named_and_nothing_is_quarantined)
    else {
        return;
    };
    let state = disk.join("state");
    let ballast = fill(&disk);
    let error = open(&state).err().expect("refused");
    assert!(matches!(error, OpenError::NoSpace { .. }), "{error:?}");
    fs::remove_file(&ballast).expect("removes");
    let mut store = open(&state).expect("opens").store;
    store.intend(&[record(1)]).expect("intends");
    drop(store);
    let ballast = fill(&disk);
    // it may open, if no new block is needed; it may never take this for damage
    match open(&state) {
        Ok(opened) => assert!(opened.quarantined.is_none(), "{:?}", opened.quarantined),
        Err(error) => assert!(matches!(error, OpenError::NoSpace { .. }), "{error:?}"),
    }
    fs::remove_file(ballast).expect("removes");
    assert_eq!(found(&state).len(), 1);
}

#[test]
fn a_read_only_disk_is_named_loses_nothing_and_heals() {
    let Some(disk) = on_a_small_disk(a_read_only_disk_is_named_loses_nothing_and_heals) else {
        return;
    };
    let state = disk.join("state");
    let mut store = open(&state).expect("opens").store;
    store.intend(&[record(1)]).expect("intends");
    store.close().expect("closes");
    remount(&disk, "ro");
    let error = open(&state).err().expect("refused");
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    let error = open(&disk.join("other")).err().expect("refused");
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    let scratch = tempfile::tempdir().expect("tempdir");
    let copy = recover::snapshot_copy(&state, scratch.path()).expect("reads all the same");
    assert_eq!(copy.records, [record(1)]);
    remount(&disk, "rw");
    assert_eq!(found(&state).len(), 1);
}

#[test]
fn a_state_directory_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let foreign = if std::os::unix::fs::chown(dir.path(), Some(1), None).is_ok() {
        dir.path()
    } else {
        // without root: in a user namespace where root's directories are nobody's
        let Some(_) = on_a_small_disk(a_state_directory_of_somebody_else_is_refused) else {
            return;
        };
        Path::new("/")
    };
    let error = open(foreign).err().expect("refused");
    assert!(
        matches!(&error, OpenError::ForeignOwner { path, uid } if path == foreign && *uid != 0),
        "{error:?}"
    );
}
