//! What a daemon did to names on the disk, as strace saw it, and whether they survive a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::support::shell::sh;

/// Names that may vanish or come back: locks, which are found out of date by themselves, the
/// count of opens, which is none of the journal's contents, and the network namespace of this boot.
const TRANSIENT: [&str; 4] = ["lock", "tool.lock", "journal.opening", "netns"];

/// The calls that matter.
const CALLS: &str = "trace=open,openat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,\
    rmdir,fsync,fdatasync,execve";

/// A trace that is being made.
pub(crate) struct Tracing {
    fifo: PathBuf,
    trace: JoinHandle<String>,
}

impl Tracing {
    /// `dir`: for a pipe.
    pub(crate) fn new(dir: &Path) -> Self {
        let fifo = dir.join("trace");
        sh(&format!("mkfifo {}", fifo.display()));
        let read = fifo.clone();
        let trace = thread::spawn(move || fs::read_to_string(read).expect("text"));
        Self { fifo, trace }
    }

    /// What executes the daemon; the process stays the daemon's.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        let fifo = self.fifo.display().to_string();
        let words = ["strace", "-D", "-f", "-y", "-o", &fifo, "-e", CALLS];
        words.map(str::to_owned).to_vec()
    }

    /// The whole trace of a daemon that has left.
    pub(crate) fn end(self) -> String {
        fs::remove_file(self.fifo).expect("removes");
        self.trace.join().expect("no panic")
    }
}

/// Something that was done with success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    MakeDir(PathBuf),
    /// Or only opened where it was there.
    Create(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Sync(PathBuf),
    /// A tool that changes the kernel's rules was started.
    Change,
}

/// What was done, in the order in which it was over.
pub(crate) fn acts(trace: &str) -> Vec<Act> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut acts = Vec::new();
    for line in trace.lines() {
        let (process, call) = line.split_once(' ').expect("a process and its call");
        let call = call.trim_start();
        if let Some(call) = call.strip_suffix("<unfinished ...>") {
            begun.insert(process, call);
            continue;
        }
        let whole = match call.split_once(" resumed>") {
            Some((_, rest)) => format!("{}{rest}", begun.remove(process).unwrap_or_default()),
            None => call.to_owned(),
        };
        acts.extend(act(&whole));
    }
    acts
}

/// `None`: it failed, or does not matter.
fn act(call: &str) -> Option<Act> {
    let (call, result) = call.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let (name, words) = call.split_once('(')?;
    // Of a descriptor, in the first place.
    let dir = words
        .split_once('<')
        .and_then(|(_, rest)| rest.split('>').next());
    let dir = Path::new(dir.unwrap_or_default());
    let mut paths = words
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|path| dir.join(path));
    Some(match name {
        "open" | "openat" if words.contains("O_CREAT") => Act::Create(paths.next()?),
        "mkdir" | "mkdirat" => Act::MakeDir(paths.next()?),
        "rename" | "renameat" | "renameat2" => Act::Rename(paths.next()?, paths.next()?),
        "unlink" | "unlinkat" | "rmdir" => Act::Remove(paths.next()?),
        "fsync" | "fdatasync" => Act::Sync(dir.to_owned()),
        "execve" if words.contains("-restore\", ") && words.contains("--noflush") => Act::Change,
        _ => return None,
    })
}

/// What is wrong with the order of what was done to `state` and in it, where `there` had been
/// before: a name that was given is synced, and a file with that name, before its directory gets
/// another name, before the kernel is changed, and before the end.
///
/// Removals need no sync: what comes back is removed by the next open, as what a crash leaves.
pub(crate) fn unsynced(state: &Path, there: &BTreeSet<PathBuf>, acts: &[Act]) -> Vec<String> {
    let mut there = there.clone();
    // New names, and new files.
    let (mut names, mut files) = (BTreeSet::<PathBuf>::new(), BTreeSet::<PathBuf>::new());
    let mut faults = Vec::new();
    let matters = |path: &Path| {
        path.starts_with(state) && !TRANSIENT.iter().any(|name| path == state.join(name))
    };
    for act in acts.iter().chain([&Act::Change]) {
        match act {
            Act::MakeDir(path) if matters(path) => {
                names.insert(path.clone());
            }
            Act::Create(path) if matters(path) && there.insert(path.clone()) => {
                names.insert(path.clone());
                files.insert(path.clone());
            }
            Act::Rename(from, to) if matters(from) || matters(to) => {
                let inside = |path: &&PathBuf| path.starts_with(from) && *path != from;
                let late = names.iter().filter(inside).chain(files.get(from));
                faults.extend(late.map(|path| format!("{act:?} before {path:?} was synced")));
                for set in [&mut there, &mut names, &mut files] {
                    let moved = set.iter().map(|path| match path.strip_prefix(from) {
                        Ok(inside) if inside.as_os_str().is_empty() => to.clone(),
                        Ok(inside) => to.join(inside),
                        Err(_) => path.clone(),
                    });
                    *set = moved.collect();
                }
                names.insert(to.clone());
            }
            Act::Remove(path) => {
                for set in [&mut there, &mut names, &mut files] {
                    set.remove(path);
                }
            }
            Act::Sync(path) => {
                names.retain(|name| name.parent() != Some(path));
                files.remove(path);
            }
            Act::Change => {
                let late = names.union(&files);
                faults.extend(late.map(|path| format!("a change before {path:?} was synced")));
                names.clear();
                files.clear();
            }
            _ => {}
        }
    }
    faults
}
