//! The journal damaged while nobody runs, in every way that there is a name for: the next daemon
//! has in the kernel what it should, keeps what it could not use and says where.
//!
//! The daemon before was killed, so its rules are in the kernel. The Engine has moved on, too:
//! every other start finds rules that must go and ports that are new, whatever the journal says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use docker_nat66::journal::{Journal, recover};
use docker_nat66::model::boot::BootId;

use super::victim::{STAGES, Victim, copy, names};
use crate::support::backend::Backend;
use crate::support::draw::Draw;
use crate::support::namespace;
use crate::support::score::Score;
use crate::support::shell::sh;
use crate::support::torture::{FLIPS, SEED, given, number};

/// Of everything that is done page by page, a sample has about so many.
const SAMPLE: usize = 10;

const PAGE: usize = 4096;

/// The journal's files: the marker, and what is in the database.
fn files(dir: &Path) -> Vec<PathBuf> {
    let journal = dir.join("journal");
    let inside = names(&journal).into_iter().map(|name| journal.join(name));
    let mut files: Vec<PathBuf> = inside.filter(|path| path.is_file()).collect();
    files.push(dir.join("journal.marker"));
    files.sort();
    files
}

/// How much of a file is anything but its filling.
fn used(content: &[u8]) -> usize {
    let filling = content
        .iter()
        .rev()
        .take_while(|byte| Some(*byte) == content.last());
    content.len() - filling.count()
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).expect("reads");
    how(&mut content);
    fs::write(path, content).expect("writes");
}

fn flips(backend: Backend) {
    let mut victim = Victim::new(backend);
    let mut score = Score::new(&format!("journal: a bit flipped, {backend:?}"));
    let mut draw = Draw(number(SEED, 66));
    let mut below = |bound: usize| draw.below(bound as u64) as usize;
    for _ in 0..number(FLIPS, SAMPLE as u64) {
        let dir = victim.restore();
        let files = files(&dir);
        let path = &files[below(files.len())];
        let at = below(used(&fs::read(path).expect("reads")).max(1));
        let bit = below(8);
        let what = format!("bit {bit} of byte {at} of {}", path.display());
        victim.meets(&mut score, &what, |_| change(path, |it| it[at] ^= 1 << bit));
    }
    victim.end(&mut score);
    eprintln!("{} of {} quarantined", victim.quarantined, victim.starts);
}

/// The file cut off at every page, and every page zeroed.
fn pages(backend: Backend) {
    let mut victim = Victim::new(backend);
    let mut cut = Score::new(&format!("journal: cut at 4 KiB, {backend:?}"));
    let mut zeroed = Score::new(&format!("journal: a page zeroed, {backend:?}"));
    for path in files(&victim.restore()) {
        let content = fs::read(victim.sound_of(&path)).expect("reads");
        let length = content.len();
        let pages = length.div_ceil(PAGE);
        let stride = if given(FLIPS).is_some() {
            1
        } else {
            pages.div_ceil(SAMPLE)
        };
        for page in (0..pages).step_by(stride) {
            let what = format!("{} cut at page {page} of {pages}", path.display());
            victim.meets(&mut cut, &what, |_| {
                change(&path, |it| it.truncate(page * PAGE));
            });
            let what = format!("page {page} of {pages} of {} zeroed", path.display());
            let end = length.min((page + 1) * PAGE);
            // What is empty already is not damaged.
            if content[page * PAGE..end].iter().all(|byte| *byte == 0) {
                continue;
            }
            victim.meets(&mut zeroed, &what, |_| {
                change(&path, |it| it[page * PAGE..end].fill(0));
            });
        }
    }
    victim.end(&mut zeroed);
    eprintln!("{} of {} quarantined", victim.quarantined, victim.starts);
}

type Harm = (&'static str, fn(&Path));

/// What else may stand where the journal was.
const OTHERS: [Harm; 20] = [
    ("database empty", |dir| write(&dir.join("journal/db"), b"")),
    ("database gone", |dir| remove(&dir.join("journal/db"))),
    ("journal gone", |dir| remove(&dir.join("journal"))),
    ("all gone", |dir| {
        names(dir).iter().for_each(|name| remove(&dir.join(name)));
    }),
    ("database a directory", |dir| {
        remove(&dir.join("journal/db"));
        fs::create_dir(dir.join("journal/db")).expect("makes");
    }),
    ("database a link", |dir| {
        fs::rename(dir.join("journal/db"), dir.join("elsewhere")).expect("moves");
        symlink(dir.join("elsewhere"), dir.join("journal/db")).expect("links");
    }),
    ("database a pipe", |dir| pipe(&dir.join("journal/db"))),
    ("settings a pipe", |dir| pipe(&dir.join("journal/conf"))),
    ("a snapshot a pipe", |dir| {
        pipe(&dir.join("journal/snap.00000000000fffff"))
    }),
    ("journal a file", |dir| {
        write(&dir.join("journal"), b"words\n")
    }),
    ("journal a dangling link", |dir| {
        remove(&dir.join("journal"));
        symlink("/nowhere", dir.join("journal")).expect("links");
    }),
    ("journal a pipe", |dir| pipe(&dir.join("journal"))),
    ("marker gone", |dir| remove(&dir.join("journal.marker"))),
    ("marker empty", |dir| {
        write(&dir.join("journal.marker"), b"")
    }),
    ("marker words", |dir| {
        write(&dir.join("journal.marker"), &[b'x'; 1024])
    }),
    ("marker a directory", |dir| {
        remove(&dir.join("journal.marker"));
        fs::create_dir(dir.join("journal.marker")).expect("makes");
    }),
    ("marker a pipe", |dir| pipe(&dir.join("journal.marker"))),
    ("marker and database empty", |dir| {
        write(&dir.join("journal.marker"), b"");
        write(&dir.join("journal/db"), b"");
    }),
    ("count of opens a pipe", |dir| {
        pipe(&dir.join("journal.opening"))
    }),
    ("left-overs of a change of places", |dir| {
        pipe(&dir.join("journal.new"));
        write(&dir.join("journal.old"), b"words\n");
    }),
];

fn remove(path: &Path) {
    sh(&format!("rm -rf {}", path.display()));
}

fn write(path: &Path, content: &[u8]) {
    remove(path);
    fs::write(path, content).expect("writes");
}

/// Opening it blocks until the other end is opened, which never happens.
fn pipe(path: &Path) {
    remove(path);
    sh(&format!("mkfifo {}", path.display()));
}

/// Marker and records as a daemon of that format version would have written them.
fn marker_of_version(dir: &Path, version: u16) {
    change(&dir.join("journal.marker"), |marker| {
        for slot in [0, 512] {
            marker[slot + 8..slot + 10].copy_from_slice(&version.to_le_bytes());
            let crc = crc32fast::hash(&marker[slot..slot + 18]);
            marker[slot + 18..slot + 22].copy_from_slice(&crc.to_le_bytes());
        }
    });
}

fn records_of_version(dir: &Path, version: u16) {
    let config = sled::Config::new()
        .path(dir.join("journal"))
        .mode(sled::Mode::LowSpace);
    let db = config.flush_every_ms(None).open().expect("opens");
    for pair in db.iter() {
        let (key, value) = pair.expect("reads");
        let mut value = value.to_vec();
        value[4..6].copy_from_slice(&version.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&key);
        crc.update(&value[..12]);
        crc.update(&value[16..]);
        value[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
        db.insert(key, value).expect("writes");
    }
    db.flush().expect("flushes");
}

/// The same records, written in another boot and with others of its own.
fn of_another_host(dir: &Path, scratch: &Path) {
    let found = recover::snapshot_copy(dir, scratch).expect("reads");
    remove(dir);
    let mut records = found.records;
    for record in &mut records {
        record.boot_id = BootId::new("another");
    }
    let mut journal = recover::open(dir, SystemTime::now()).expect("opens").store;
    journal.intend(&records).expect("writes");
    let ids: Vec<_> = records.iter().map(|record| record.id()).collect();
    journal.commit(&ids).expect("writes");
    journal.close().expect("closes");
}

/// Everything that is not done bit by bit or page by page.
fn others(backend: Backend) {
    let mut victim = Victim::new(backend);
    let mut score = Score::new(&format!("journal: another file in its place, {backend:?}"));
    for (what, harm) in OTHERS {
        victim.meets(&mut score, what, harm);
    }
    drop(score);

    let mut score = Score::new(&format!(
        "journal: rolled back or another host's, {backend:?}"
    ));
    let earlier = victim.earlier.clone();
    for _ in STAGES {
        victim.meets(&mut score, "all of it rolled back", |dir| {
            remove(dir);
            copy(&earlier, dir);
        });
        victim.meets(&mut score, "the database rolled back", |dir| {
            remove(&dir.join("journal"));
            copy(&earlier.join("journal"), &dir.join("journal"));
        });
        assert!(
            victim.scene.log().contains("rolled back"),
            "{}",
            victim.scene.log()
        );
        victim.meets(&mut score, "the marker rolled back", |dir| {
            fs::copy(earlier.join("journal.marker"), dir.join("journal.marker")).expect("copies");
        });
        let scratch = tempfile::tempdir().expect("tempdir");
        victim.meets(&mut score, "another host's", |dir| {
            of_another_host(dir, scratch.path())
        });
        // Each of them at the other stage, too.
        victim.starts += 1;
    }
    drop(score);

    let mut score = Score::new(&format!("journal: of another version, {backend:?}"));
    victim.refuses(&mut score, "marker newer", |dir| marker_of_version(dir, 4));
    victim.refuses(&mut score, "records newer", |dir| {
        records_of_version(dir, 4)
    });
    victim.meets(&mut score, "marker older", |dir| marker_of_version(dir, 0));
    victim.meets(&mut score, "records older", |dir| {
        records_of_version(dir, 0)
    });
    victim.end(&mut score);
    eprintln!("{} of {} quarantined", victim.quarantined, victim.starts);
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn no_flipped_bit_loses_or_leaves_a_rule_of_ip6tables() {
    namespace::fresh(|| flips(Backend::Ip6tables));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn no_flipped_bit_loses_or_leaves_a_rule_of_nftables() {
    namespace::fresh(|| flips(Backend::Nftables));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn no_cut_and_no_zeroed_page_loses_or_leaves_a_rule() {
    namespace::fresh(|| pages(Backend::Nftables));
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn whatever_stands_in_the_journal_s_place_the_rules_of_ip6tables_are_right() {
    namespace::fresh(|| others(Backend::Ip6tables));
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn whatever_stands_in_the_journal_s_place_the_rules_of_nftables_are_right() {
    namespace::fresh(|| others(Backend::Nftables));
}
