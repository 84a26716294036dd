//! The judges of untrusted input, which the fuzz targets of `tests/fuzz` call with bytes.
//!
//! Each stands beside the code that reads such bytes, and panics where a property does not hold:
//! what is read is what was written, nothing is taken for ours that is not, no port leads to
//! what is no container, and the work is bounded by the bytes. Of no daemon a part: compiled for
//! tests and for fuzzing only. The tests here replay every corpus.

/// Panics where bytes are read as they must not be.
pub type Judge = fn(&[u8]);

/// Every target and its judge.
pub const JUDGES: [(&str, Judge); 7] = [
    ("conntrack", crate::conntrack::judge),
    ("control", crate::control::server::judge),
    ("engine", crate::docker::judge::bytes),
    ("ip6tables", crate::backend::ip6tables::judge),
    ("journal", crate::journal::codec::judge),
    ("netlink", crate::netlink::judge),
    ("nftables", crate::backend::nftables::judge),
];

/// Judges what a target makes of these bytes.
///
/// # Panics
/// There is no such target, or a property does not hold.
pub fn judge(target: &str, bytes: &[u8]) {
    let found = JUDGES.iter().find(|(name, _)| *name == target);
    let (_, judge) = found.expect("a target of this name");
    judge(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::JUDGES;

    /// Most files in a corpus, and most bytes in a file: they are minimised before they are kept.
    const MOST: (usize, usize) = (64, 20 * 1024);

    fn fuzz_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    fn names(dir: &Path) -> Vec<String> {
        let files = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let name = |file: fs::DirEntry| file.file_name().into_string().expect("a plain name");
        let mut names: Vec<String> = files.flatten().map(name).collect();
        names.sort();
        names
    }

    fn replay(target: &str) {
        let (_, judge) = JUDGES
            .iter()
            .find(|(name, _)| *name == target)
            .expect("known");
        let dir = fuzz_dir().join("corpus").join(target);
        let files = names(&dir);
        assert!((1..=MOST.0).contains(&files.len()), "{} files", files.len());
        for file in files {
            let bytes = fs::read(dir.join(&file)).expect("a file");
            assert!(bytes.len() <= MOST.1, "{file} has {} bytes", bytes.len());
            // What is printed of a test that fails names the file.
            println!("{target}/{file}");
            judge(&bytes);
        }
    }

    /// One test for each target, and none forgotten.
    macro_rules! replays {
        ($($target:ident)*) => {
            $(#[test]
            fn $target() {
                replay(stringify!($target));
            })*

            #[test]
            fn every_target_has_a_judge_a_program_and_a_corpus() {
                let expected = [$(stringify!($target)),*];
                assert_eq!(JUDGES.map(|(name, _)| name), expected);
                assert_eq!(names(&fuzz_dir().join("corpus")), expected);
                let programs = expected.map(|name| format!("{name}.rs"));
                assert_eq!(names(&fuzz_dir().join("targets")), programs);
            }
        };
    }

    replays!(conntrack control engine ip6tables journal netlink nftables);
}
