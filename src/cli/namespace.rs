//! In which network namespace a daemon's rules are. Another namespace shows none of them, and the journal's
//! records do not name it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::failure::{Exit, Failure};
use crate::journal::record::Record;
use crate::model::boot::BootId;
use crate::sys::host;

/// Where `ip netns` and Docker mount the namespaces that they name (ip-netns(8)).
const MOUNTED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// The inode of the first PID namespace, whose `/proc` shows every process (`PROC_PID_INIT_INO`,
/// include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The rules of the last daemon of a state directory are in a network namespace that is not ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum Elsewhere {
    /// This file refers to that namespace.
    #[error(
        "the last daemon's rules are in another network namespace; remove them there: nsenter \
         --net={} docker-nat66 cleanup",
        _0.display()
    )]
    Entered(PathBuf),
    /// No process is seen in it; but not all processes are.
    #[error(
        "the last daemon's rules are in another network namespace; remove them there: a container \
         needs --network host, and --pid host to see whether that namespace is gone"
    )]
    OutOfSight,
}

impl Elsewhere {
    /// Whether rules of these records, of this boot, are in another network namespace. `None` also if
    /// every process is seen and none is in it: then it is gone, and its rules with it.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub(super) fn of(
        state_dir: &Path,
        records: &[Record],
        boot_id: &BootId,
    ) -> Result<Option<Self>, Failure> {
        if records.iter().all(|record| record.boot_id != *boot_id) {
            return Ok(None);
        }
        let noted = fs::read_to_string(path(state_dir)).ok();
        let inode = noted.and_then(|text| inode_of(&text, boot_id));
        let here = host::netns_inode()?;
        let Some(inode) = inode.filter(|inode| *inode != here) else {
            return Ok(None);
        };
        let sees_all =
            || fs::metadata("/proc/self/ns/pid").map(|it| it.ino() == FIRST_PID_NAMESPACE);
        Ok(match entrance(inode)? {
            Some(path) => Some(Self::Entered(path)),
            None if sees_all()? => None,
            None => Some(Self::OutOfSight),
        })
    }
}

impl From<Elsewhere> for Failure {
    fn from(elsewhere: Elsewhere) -> Self {
        Self::new(Exit::Failed, elsewhere.to_string())
    }
}

/// Notes that the rules of a state directory are in this network namespace from now on.
///
/// # Errors
/// The note cannot be written.
pub(super) fn note(state_dir: &Path, boot_id: &BootId) -> io::Result<()> {
    let text = format!("{} {}\n", host::netns_inode()?, boot_id.as_str());
    let path = path(state_dir);
    if fs::read(&path).is_ok_and(|noted| noted == text.as_bytes()) {
        return Ok(());
    }
    // A note that a crash cut short is none, and one that a power cut takes is of an earlier boot.
    fs::write(path, text)
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("netns")
}

/// The namespace's inode in a note, if that is of this boot.
fn inode_of(note: &str, boot_id: &BootId) -> Option<u64> {
    let (inode, noted) = note.strip_suffix('\n')?.split_once(' ')?;
    inode.parse().ok().filter(|_| noted == boot_id.as_str())
}

/// A file that refers to the network namespace with this inode.
fn entrance(inode: u64) -> io::Result<Option<PathBuf>> {
    let leads = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.ino() == inode);
    let entries = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten();
    let mut mounted = MOUNTED.into_iter().flat_map(entries).map(|it| it.path());
    if let Some(path) = mounted.find(leads) {
        return Ok(Some(path));
    }
    let mut pids: Vec<u32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // The process that has run longest is most likely to be there when the command is typed.
    pids.sort_unstable();
    let mut of_processes = pids
        .into_iter()
        .map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    Ok(of_processes.find(leads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::records;

    #[test]
    fn only_a_whole_note_of_this_boot_counts() {
        let boot = BootId::new("0e2a");
        assert_eq!(inode_of("4026531840 0e2a\n", &boot), Some(4_026_531_840));
        for other in [
            "",
            "\n",
            "40265",
            "4026531840 0e2a",
            "x 0e2a\n",
            "4026531840 0e2b\n",
        ] {
            assert_eq!(inode_of(other, &boot), None, "{other:?}");
        }
    }

    #[test]
    fn rules_are_elsewhere_only_where_a_namespace_is_left() {
        let dir = tempfile::tempdir().expect("tempdir");
        let records = records(80..=81);
        let boot = records[0].boot_id.clone();
        let is_elsewhere = |records: &[Record]| {
            let found = Elsewhere::of(dir.path(), records, &boot);
            found.expect("/proc is mounted").is_some()
        };
        assert!(!is_elsewhere(&records), "nothing is noted");
        note(dir.path(), &boot).expect("writes");
        assert!(!is_elsewhere(&records), "they are here");
        // Inode 1 is no namespace's.
        fs::write(path(dir.path()), format!("1 {}\n", boot.as_str())).expect("writes");
        // Where the tests see only some of the processes, it may be there.
        let sees_all = fs::metadata("/proc/self/ns/pid")
            .expect("/proc is mounted")
            .ino();
        assert_eq!(is_elsewhere(&records), sees_all != FIRST_PID_NAMESPACE);
        assert!(!is_elsewhere(&[]), "no rule is left");
    }
}
