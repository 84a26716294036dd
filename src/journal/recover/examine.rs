//! Looks at a state directory without opening the journal, and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::load::newer;
use crate::journal::error::OpenError;
use crate::journal::layout::StateDir;
use crate::journal::marker::{self, Found};

/// What the journal's directory looks like from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Examined {
    /// Whether there is a database.
    pub(crate) exists: bool,
    /// When the marker beside it was last written.
    pub(crate) changed: Option<SystemTime>,
    /// Damaged databases that are kept.
    pub(crate) quarantined: Vec<PathBuf>,
    /// Whether the file system is mounted read-only.
    pub(crate) read_only: bool,
    /// Bytes that are free for the daemon.
    pub(crate) free: u64,
}

/// Looks at `state_dir`, or where it is missing at the directory in which it will be made.
///
/// # Errors
/// [`OpenError`]: why a daemon could not use it. Nothing was retried.
pub(crate) fn examine(state_dir: &Path) -> Result<Examined, OpenError> {
    let mut found = Examined::default();
    let mut there = state_dir;
    match StateDir::existing(state_dir) {
        Err(OpenError::Missing(_)) => {
            while !there.exists() {
                match there.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => there = parent,
                    _ => {
                        there = Path::new(".");
                        break;
                    }
                }
            }
        }
        Err(error) => return Err(error),
        Ok(dir) => {
            if let Found::NewerVersion(version) = marker::read(&dir)? {
                return Err(newer(version));
            }
            found.exists = dir.current()?.is_some();
            let marker = fs::metadata(dir.marker());
            found.changed = marker.ok().and_then(|it| it.modified().ok());
            found.quarantined = dir.quarantines()?;
        }
    }
    let disk = statvfs(there).map_err(|e| OpenError::io("reading", there, e.into()))?;
    found.read_only = disk.f_flag.contains(StatVfsMountFlags::RDONLY);
    found.free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(found)
}
