//! What must hold of untrusted input: the oracles in `tests/fuzz/oracles`, which the fuzz targets
//! of `tests/fuzz` call with bytes.
//!
//! Each is a module of the code that reads such bytes, and panics where a property does not hold:
//! what is read is what was written, only our own rules are taken for ours, a port leads to a
//! container and to nothing else, and the work is bounded by the bytes. They are compiled for
//! tests and for fuzzing only. The tests here replay every corpus.

/// Panics if bytes are read in a way that breaks a property.
type Oracle = fn(&[u8]);

/// Every target and its oracle.
const ORACLES: [(&str, Oracle); 9] = [
    ("conntrack", crate::conntrack::oracle::check),
    ("control", crate::control::server::oracle::check),
    ("engine", crate::docker::oracle::check),
    ("ip6tables", crate::backend::ip6tables::oracle::check),
    ("journal", crate::journal::codec::oracle::check),
    ("netlink", crate::netlink::oracle::check),
    ("nftables", crate::backend::nftables::oracle::check),
    ("ruleset", crate::check::ruleset::oracle::check),
    ("trace", crate::explain::oracle::check),
];

/// Runs a target's oracle on these bytes.
///
/// # Panics
/// There is no such target, or a property does not hold.
pub fn check(target: &str, bytes: &[u8]) {
    let found = ORACLES.iter().find(|(name, _)| *name == target);
    let (_, oracle) = found.expect("a target of this name");
    oracle(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{ORACLES, check};

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
        let dir = fuzz_dir().join("corpus").join(target);
        let files = names(&dir);
        assert!((1..=MOST.0).contains(&files.len()), "{} files", files.len());
        for file in files {
            let bytes = fs::read(dir.join(&file)).expect("a file");
            assert!(bytes.len() <= MOST.1, "{file} has {} bytes", bytes.len());
            // What is printed of a test that fails names the file.
            println!("{target}/{file}");
            check(target, &bytes);
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
            fn every_target_has_an_oracle_a_program_and_a_corpus() {
                let expected = [$(stringify!($target)),*];
                assert_eq!(ORACLES.map(|(name, _)| name), expected);
                assert_eq!(names(&fuzz_dir().join("corpus")), expected);
                let files = expected.map(|name| format!("{name}.rs"));
                assert_eq!(names(&fuzz_dir().join("targets")), files);
            }
        };
    }

    replays!(conntrack control engine ip6tables journal netlink nftables ruleset trace);
}
