//! Cuts of the power at moments drawn by lot, and what is mounted afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device::{Event, cut};
use crate::draw::Draw;

/// How many cuts.
pub(crate) const CUTS: &str = "DOCKER_NAT66_TORTURE_CUTS";
pub(crate) const SEED: &str = "DOCKER_NAT66_TORTURE_SEED";

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Something mounted, as long as this value lives.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    #[track_caller]
    pub(crate) fn new(image: &Path, dir: &Path) -> Self {
        Self::if_sound(image, dir).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Says what the system says where the file system cannot be mounted.
    fn if_sound(image: &Path, dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).expect("makes");
        let mut mount = Command::new("mount");
        let output = mount.args(["-o", "loop"]).arg(image).arg(dir).output();
        let output = output.expect("mount is installed");
        match output.status.success() {
            true => Ok(Self(dir.to_owned())),
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
    /// `after`, and gathers what `judge` says of it, one line for each cut that it finds fault
    /// with. `dir` is for the image.
    pub(crate) fn cuts(
        &self,
        count: u64,
        draw: &mut Draw,
        [dir, after]: [&Path; 2],
        mut judge: impl FnMut(Cut) -> Result<(), String>,
    ) -> Vec<String> {
        let image = dir.join("image");
        let mut faults = Vec::new();
        for number in 0..count {
            let moment = self.moment(draw);
            // None of what the device was not told to keep, all of it, or any of it.
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
                Mounted::if_sound(&image, after).and_then(|_mounted| judge(Cut { number, moment }));
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
