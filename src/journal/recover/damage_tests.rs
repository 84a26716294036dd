//! Damages the files one by one, and opens the journal after each.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::Fixture;

/// Each kind of damage leads to a quarantine and a sound new journal.
#[test]
fn after_any_damage_a_sound_journal_is_opened() {
    type Harm = fn(&Fixture);
    let cases: [(&str, Harm); 10] = [
        ("the database is empty", |f| {
            fs::write(f.file("journal/db"), "").expect("writes");
        }),
        ("the database is gone", |f| {
            fs::remove_file(f.file("journal/db")).expect("removes");
        }),
        ("the directory is empty", |f| {
            fs::remove_dir_all(f.file("journal")).expect("removes");
            fs::create_dir(f.file("journal")).expect("makes");
        }),
        ("the database is noise", |f| {
            let noise: Vec<u8> = (0..200_000_u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8)
                .collect();
            fs::write(f.file("journal/db"), noise).expect("writes");
        }),
        ("the database is a directory", |f| {
            fs::remove_file(f.file("journal/db")).expect("removes");
            fs::create_dir(f.file("journal/db")).expect("makes");
        }),
        ("the database is a link", |f| {
            fs::rename(f.file("journal/db"), f.file("elsewhere")).expect("moves");
            symlink(f.file("elsewhere"), f.file("journal/db")).expect("links");
        }),
        ("the journal is a file", |f| {
            fs::remove_dir_all(f.file("journal")).expect("removes");
            fs::write(f.file("journal"), "").expect("writes");
        }),
        ("the journal is a dangling link", |f| {
            fs::remove_dir_all(f.file("journal")).expect("removes");
            symlink("/nowhere", f.file("journal")).expect("links");
        }),
        ("the settings are of another sled", |f| {
            let conf = "segment_size: 524288\nuse_compression: false\nversion: 0.99\nxxxx";
            fs::write(f.file("journal/conf"), conf).expect("writes");
        }),
        ("the snapshots are noise", |f| {
            for entry in fs::read_dir(f.file("journal")).expect("lists") {
                let path = entry.expect("lists").path();
                if path.to_string_lossy().contains("snap.") {
                    fs::write(path, "0123456789abcdef").expect("writes");
                }
            }
        }),
    ];
    for (name, harm) in cases {
        let fixture = Fixture::new();
        harm(&fixture);
        let quarantined = fixture.quarantined();
        let path = quarantined.path.expect("something stood there");
        assert!(
            path.to_string_lossy()
                .contains("journal.quarantine-2026-01-02T03:04:05Z")
        );
        assert!(fs::symlink_metadata(path).is_ok(), "{name}");
        assert!(!quarantined.reason.is_empty(), "{name}");
    }
}

/// After damage anywhere in the files, either all records are there or the journal is quarantined. It
/// is never silently empty or rolled back.
#[test]
fn no_flipped_bit_or_cut_of_the_files_goes_unnoticed() {
    let fixture = Fixture::new();
    let pristine: Vec<(PathBuf, Vec<u8>)> = fixture
        .contents()
        .into_iter()
        .filter(|(path, _)| path.is_file())
        .collect();
    let mut outcomes = [0; 2];
    for (path, content) in &pristine {
        let used = content.len()
            - content
                .iter()
                .rev()
                .take_while(|b| **b == content[content.len() - 1])
                .count();
        let step = (used / 12).max(1);
        for at in (0..used).step_by(step) {
            for cut in [false, true] {
                for (path, content) in &pristine {
                    fs::create_dir_all(path.parent().expect("has one")).expect("makes");
                    fs::write(path, content).expect("writes");
                }
                let mut harmed = content.clone();
                if cut {
                    harmed.truncate(at);
                } else {
                    harmed[at] ^= 1 << (at % 8);
                }
                fs::write(path, harmed).expect("writes");
                let opened = fixture.open();
                let place = format!("{} at {at}, cut: {cut}", path.display());
                match opened.quarantined {
                    Some(_) => outcomes[1] += 1,
                    None => {
                        assert_eq!(opened.records.len(), 30, "{place}");
                        outcomes[0] += 1;
                    }
                }
                drop(opened.store);
                fs::remove_dir_all(fixture.file("journal")).expect("removes");
            }
        }
    }
    println!("{} whole, {} quarantined", outcomes[0], outcomes[1]);
    assert!(outcomes[0] > 0 && outcomes[1] > 0);
}
