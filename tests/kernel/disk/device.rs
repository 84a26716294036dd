//! A block device that remembers what was written to it, and what a power cut leaves of that.
//!
//! A file of a FUSE file system of one file, served from here, lies under a loop device. So each
//! write of the file system above arrives here in its order, and each flush of the device's
//! cache. A cut at any moment leaves all that was written before the last flush, and of what was
//! written since then any sectors.
//!
//! The file system must be used by another process than this one: otherwise killing this process would
//! leave its threads waiting for each other.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::shell::sh;

/// Bytes that a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// Bytes of the device: ext4 with its own journal, and two databases of ours.
pub(crate) const SIZE: usize = 24 * 1024 * 1024;

/// Largest write that the kernel may send in one piece.
const MAX_WRITE: usize = 128 * 1024;

/// See `linux/fuse.h`.
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const NO_REPLY: [u32; 3] = [2, 36, 42];
const HEADER: usize = 40;
const OUT_HEADER: usize = 16;
const DIRECT_IO: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;

/// What has happened to the device, or beside it.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write {
        at: usize,
        data: Vec<u8>,
    },
    Flush,
    /// Of the test's own, see [`Device::note`].
    Note(usize),
}

struct Disk {
    now: Vec<u8>,
    events: Vec<Event>,
}

/// The device; gone when it is dropped.
pub(crate) struct Device {
    disk: Arc<Mutex<Disk>>,
    file: PathBuf,
}

impl Device {
    /// A device with an empty ext4 on it. `dir` is for its file.
    pub(crate) fn new(dir: &Path) -> Self {
        let file = dir.join("device");
        File::create(&file)
            .and_then(|image| image.set_len(SIZE as u64))
            .expect("makes an image");
        sh(&format!("mkfs.ext4 -q -F {}", file.display()));
        let disk = Arc::new(Mutex::new(Disk {
            now: fs::read(&file).expect("reads"),
            events: Vec::new(),
        }));
        File::create(&file).expect("empties it");
        let fuse = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open("/dev/fuse")
            .expect("the kernel has FUSE");
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=100000,user_id=0,group_id=0,allow_other")
            .arg("none")
            .arg(&file)
            .stdin(fuse.try_clone().expect("another descriptor"))
            .status();
        assert!(mounted.expect("mount runs").success());
        let served = Arc::clone(&disk);
        thread::spawn(move || serve(fuse, &served));
        Self { disk, file }
    }

    /// The file that is the device.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Writes down that something has happened that is known as `what`; how much has happened
    /// by then.
    pub(crate) fn note(&self, what: usize) -> usize {
        let mut disk = self.disk.lock().expect("no panic");
        disk.events.push(Event::Note(what));
        disk.events.len()
    }

    /// All that has happened since it was made.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.disk.lock().expect("no panic").events.clone()
    }

    /// What is on it.
    pub(crate) fn content(&self) -> Vec<u8> {
        self.disk.lock().expect("no panic").now.clone()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.file).status();
    }
}

/// What a cut after the first `count` of `events` leaves on a device that was `before`. `keeps`
/// decides of each sector that was written after the last flush.
pub(crate) fn cut(
    before: &[u8],
    events: &[Event],
    count: usize,
    mut keeps: impl FnMut() -> bool,
) -> Vec<u8> {
    let events = &events[..count];
    let flushed = events
        .iter()
        .rposition(|event| matches!(event, Event::Flush));
    let mut left = before.to_vec();
    for (number, event) in events.iter().enumerate() {
        let Event::Write { at, data } = event else {
            continue;
        };
        let is_safe = flushed.is_some_and(|flush| number < flush);
        for (sector, data) in data.chunks(SECTOR).enumerate() {
            let at = at + sector * SECTOR;
            if is_safe || keeps() {
                left[at..at + data.len()].copy_from_slice(data);
            }
        }
    }
    left
}

/// Answers the kernel until the file system is gone.
fn serve(mut fuse: File, disk: &Mutex<Disk>) {
    let mut request = vec![0; HEADER + 64 + MAX_WRITE + 4096];
    loop {
        let length = match fuse.read(&mut request) {
            Ok(length) => length,
            // A request that was taken back.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Interrupted) => {
                continue;
            }
            Err(_) => return,
        };
        let (header, body) = request[..length].split_at(HEADER);
        let operation = u32_at(header, 4);
        if NO_REPLY.contains(&operation) {
            continue;
        }
        let (error, payload) = match answer(operation, body, disk) {
            Some(payload) => (0, payload),
            None => (-libc::ENOSYS, Vec::new()),
        };
        let mut reply = Vec::with_capacity(OUT_HEADER + payload.len());
        reply.extend(((OUT_HEADER + payload.len()) as u32).to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(&header[8..16]);
        reply.extend(payload);
        // Who asked may be gone.
        let _ = fuse.write(&reply);
    }
}

/// `None`: there is no such operation here.
fn answer(operation: u32, body: &[u8], disk: &Mutex<Disk>) -> Option<Vec<u8>> {
    let mut disk = disk.lock().expect("no panic");
    let at = || usize::try_from(u64_at(body, 8)).expect("within the device");
    let size = || u32_at(body, 16) as usize;
    Some(match operation {
        INIT => {
            let mut out = Vec::new();
            // Major, minor, read-ahead, flags.
            for number in [7, 31, 0, BIG_WRITES | MAX_PAGES] {
                out.extend(u32::to_ne_bytes(number));
            }
            // Requests in the background, and how many are many.
            out.extend([16, 0, 12, 0]);
            for number in [MAX_WRITE as u32, 1] {
                out.extend(number.to_ne_bytes());
            }
            // Pages of a request, alignment; the rest is unused.
            out.extend(u16::to_ne_bytes((MAX_WRITE / 4096) as u16));
            out.resize(64, 0);
            out
        }
        GETATTR | SETATTR => {
            let mut out = vec![0; 16];
            for number in [1, SIZE as u64, (SIZE / SECTOR) as u64, 0, 0, 0] {
                out.extend(number.to_ne_bytes());
            }
            // Times; mode, links, user, group, device, size of a block, flags.
            for number in [0, 0, 0, libc::S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0] {
                out.extend(number.to_ne_bytes());
            }
            out
        }
        OPEN => {
            let mut out = vec![0; 16];
            out[8..12].copy_from_slice(&DIRECT_IO.to_ne_bytes());
            out
        }
        READ => disk.now[at().min(SIZE)..(at() + size()).min(SIZE)].to_vec(),
        WRITE => {
            let data = &body[40..40 + size()];
            disk.now[at()..at() + size()].copy_from_slice(data);
            disk.events.push(Event::Write {
                at: at(),
                data: data.to_vec(),
            });
            let mut out = u32_at(body, 16).to_ne_bytes().to_vec();
            out.resize(8, 0);
            out
        }
        FSYNC => {
            disk.events.push(Event::Flush);
            Vec::new()
        }
        STATFS => vec![0; 80],
        RELEASE | FLUSH => Vec::new(),
        _ => return None,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
