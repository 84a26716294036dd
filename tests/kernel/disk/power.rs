//! Cuts of the power at moments drawn by lot, and what is mounted afterwards.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::device::{Event, cut};
use crate::support::draw::Draw;

/// Something mounted, as long as this value lives.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    #[track_caller]
    pub(crate) fn new(image: &Path, dir: &Path) -> Self {
        Self::if_sound(image, dir).unwrap_or_else(|why| panic!("{why}"))
    }

    /// A tmpfs with these options.
    #[track_caller]
    pub(crate) fn tmpfs(options: &str, dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("makes");
        Self::by(["-t", "tmpfs", "-o", options, "none"], dir).unwrap_or_else(|why| panic!("{why}"))
    }

    /// One file in the place of another.
    #[track_caller]
    pub(crate) fn file(file: &Path, over: &Path) -> Self {
        let words = ["--bind".as_ref(), file.as_os_str()];
        Self::by(words, over).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Says what the system says where the file system cannot be mounted.
    fn if_sound(image: &Path, dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).expect("makes");
        Self::by(["-o".as_ref(), "loop".as_ref(), image.as_os_str()], dir)
    }

    /// `words` are the arguments of mount, without the mount point.
    fn by<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>, on: &Path) -> Result<Self, String> {
        let mut mount = Command::new("mount");
        let output = mount.args(words).arg(on).output();
        let output = output.expect("mount is installed");
        match output.status.success() {
            true => Ok(Self(on.to_owned())),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let umount = |option: &[&str]| Command::new("umount").args(option).arg(&self.0).status();
        if !umount(&[]).is_ok_and(|status| status.success()) {
            let _ = umount(&["-l"]);
        }
    }
}

/// What has happened to a device.
pub(crate) struct History {
    /// The device before.
    pub(crate) blank: Vec<u8>,
    pub(crate) events: Vec<Event>,
    /// Moments that matter: after so many events.
    pub(crate) decisive: Vec<usize>,
}

/// A power cut.
pub(crate) struct Cut {
    /// The first is 0.
    pub(crate) number: u64,
    /// After so many events.
    pub(crate) moment: usize,
}

impl History {
    /// Cuts the power `count` times, each time in the same history, has what is left mounted on
    /// `after`, and gathers what `check` says of it, one line for each cut that it finds fault
    /// with. `dir` is for the image.
    pub(crate) fn cuts(
        &self,
        count: u64,
        draw: &mut Draw,
        [dir, after]: [&Path; 2],
        mut check: impl FnMut(Cut) -> Result<(), String>,
    ) -> Vec<String> {
        let image = dir.join("image");
        let mut faults = Vec::new();
        for number in 0..count {
            let moment = self.moment(draw);
            // Of the writes since the last flush: none, all, or any of them.
            let left = cut(&self.blank, &self.events, moment, || match number % 3 {
                0 => false,
                1 => true,
                _ => draw.below(2) == 0,
            });
            // Another file each time: nobody can still have the one before in hand.
            let _ = fs::remove_file(&image);
            fs::write(&image, left).expect("writes");
            // Without its syncs even the file system may be lost.
            let left =
                Mounted::if_sound(&image, after).and_then(|_mounted| check(Cut { number, moment }));
            if let Err(what) = left {
                faults.push(format!("cut {number} at event {moment}: {what}"));
            }
        }
        eprintln!(
            "{} of {count} cuts among {} events lost nothing",
            count - faults.len() as u64,
            self.events.len()
        );
        faults
    }

    /// A moment of power cut: before something that happens to the device, half of them ones
    /// that matter.
    fn moment(&self, draw: &mut Draw) -> usize {
        let happens = |at: &usize| !matches!(self.events[*at], Event::Note(_));
        let moments: Vec<usize> = match draw.below(2) {
            0 => (0..self.events.len()).filter(happens).collect(),
            _ => self.decisive.clone(),
        };
        moments[draw.below(moments.len() as u64) as usize]
    }
}
