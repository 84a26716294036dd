//! Where a lab keeps what outlives it: logs, the state directory, rulesets.
//!
//! `target/lab/<test>.<pid>` while the test runs. A test that passes removes it; one that fails
//! keeps it as `target/lab/<test>` and prints the path. What a killed run left is found by the
//! process id in its name and kept in the same way, and its control groups are removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;

/// Beginning of the name of every control group of ours; process id and test name follow.
const CGROUP_PREFIX: &str = "docker-nat66-lab-";

/// A directory of one test.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    kept: PathBuf,
    cgroup: String,
}

impl Home {
    /// Makes the directory for the test `name`, after keeping what dead runs left and removing
    /// what an earlier failure of this test did.
    pub(crate) fn new(name: &str) -> Self {
        static SWEEP: Once = Once::new();
        let root = root();
        fs::create_dir_all(&root).expect("make target/lab");
        SWEEP.call_once(sweep);
        let path = root.join(format!("{name}.{}", process::id()));
        let kept = root.join(name);
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        Self {
            path,
            kept,
            cgroup: format!("{CGROUP_PREFIX}{}-{name}", process::id()),
        }
    }

    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The control group under which the lab's Engine puts its containers.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Removes everything, or keeps the directory for the one who looks for the fault.
    pub(crate) fn close(&self, failed: bool) {
        remove_cgroups(|name| name == self.cgroup);
        if failed {
            keep(&self.path, &self.kept);
            eprintln!("state of the failed run: {}", self.kept.display());
        } else {
            fs::remove_dir_all(&self.path)
                .unwrap_or_else(|e| eprintln!("remove {}: {e}", self.path.display()));
        }
    }
}

/// `target/lab`, beside the directory that cargo gives to integration tests.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a directory in target")
        .join("lab")
}

/// The process named in `target/lab/<test>.<pid>` or in a control group is no more.
fn is_dead(pid: &str) -> bool {
    pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()
}

/// Keeps the directories and removes the control groups of runs whose process is no more.
pub(crate) fn sweep() {
    let root = root();
    for entry in fs::read_dir(&root).expect("list target/lab").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((test, pid)) = name.rsplit_once('.')
            && is_dead(pid)
        {
            keep(&path, &root.join(test));
        }
    }
    remove_cgroups(|name| {
        name.strip_prefix(CGROUP_PREFIX)
            .and_then(|rest| rest.split('-').next())
            .is_some_and(is_dead)
    });
}

fn keep(path: &Path, kept: &Path) {
    let _ = fs::remove_dir_all(kept);
    fs::rename(path, kept).unwrap_or_else(|e| eprintln!("keep {}: {e}", path.display()));
}

/// Removes control groups at the top of every hierarchy; the Engine leaves them behind.
fn remove_cgroups(chosen: impl Fn(&str) -> bool) {
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    hierarchies.extend(subdirs(Path::new("/sys/fs/cgroup")));
    for group in hierarchies.iter().flat_map(|path| subdirs(path)) {
        if group
            .file_name()
            .and_then(|n| n.to_str())
            .is_some_and(&chosen)
        {
            remove_tree(&group);
        }
    }
}

/// A control group is removed by removing its directories, innermost first; its files are not
/// files.
fn remove_tree(group: &Path) {
    // A paused container of a run that was killed dies of its own SIGKILL once it can.
    for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let path = group.join(file);
        if path.exists() {
            let _ = fs::write(path, thawed);
        }
    }
    for sub in subdirs(group) {
        remove_tree(&sub);
    }
    fs::remove_dir(group).unwrap_or_else(|e| eprintln!("remove {}: {e}", group.display()));
}

fn subdirs(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}
