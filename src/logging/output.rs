//! Standard error, as far as somebody reads it.
//!
//! A write to a pipe, a socket or a terminal waits for its reader, and a log collector may hang.
//! The daemon has ports to close meanwhile: it waits for a moment, and from then on loses lines
//! until there is room again. They are counted, and the count is told.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the first line is waited for that finds no room. A collector that is only busy takes
/// milliseconds; a watchdog that fires within seconds does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// As much as a pipe takes without waiting when it has room at all (`PIPE_BUF`, pipe(7)); a stream
/// socket has more (unix(7): writable while a quarter of its buffer is used at most).
const AT_ONCE: usize = 4096;

/// Lines that were lost and have not been told of.
#[derive(Debug, Default)]
pub(super) struct Lost(AtomicU64);

impl Lost {
    /// None.
    pub(super) const fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn more(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Has a line written by `write`; if it gets through, `tell` says how many others did not.
    pub(super) fn told_after<T>(&self, write: impl FnOnce() -> T, tell: impl FnOnce(u64)) -> T {
        let before = self.count();
        let written = write();
        // One of those who come here at once tells it.
        let order = Ordering::Relaxed;
        if before > 0 && self.0.compare_exchange(before, 0, order, order).is_ok() {
            tell(before);
            if self.count() > 0 {
                self.more(before);
            }
        }
        written
    }
}

/// Writes lines where there is room. Each call of `write` has one whole line, and succeeds.
pub(super) struct Output<W> {
    out: W,
    lost: &'static Lost,
    /// Whether there was no room, the last time.
    full: bool,
    /// Whether the last line was written in part.
    torn: bool,
}

impl<W: Write + AsFd> Output<W> {
    pub(super) fn new(out: W, lost: &'static Lost) -> Self {
        Self {
            out,
            lost,
            full: false,
            torn: false,
        }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.put_piece(b"\n")?;
            self.torn = false;
        }
        for piece in line.chunks(AT_ONCE) {
            self.put_piece(piece)?;
            self.torn = !piece.ends_with(b"\n");
        }
        Ok(())
    }

    fn put_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let patience = if self.full { Duration::ZERO } else { PATIENCE };
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.out, PollFlags::OUT)];
        self.full = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience)))? == 0;
        match self.full {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => self.out.write_all(piece),
        }
    }
}

impl<W: Write + AsFd> Write for Output<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.put(line).is_err() {
            self.lost.more(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};

    use slog::{Level, Logger, info};

    use super::*;
    use crate::logging::{Format, unblocked};

    fn log_into_a_pipe() -> (Logger, PipeReader, &'static Lost) {
        let (reader, writer) = pipe().unwrap();
        let lost: &Lost = Box::leak(Box::default());
        let log = unblocked(writer, lost, Format::Journald, Level::Info);
        (log, reader, lost)
    }

    /// Logs numbered lines until one is lost; how many were not.
    fn fill(log: &Logger, lost: &Lost, text: &str) -> usize {
        let lines = (0..).find(|number| {
            info!(log, "{number} {text}");
            lost.count() > 0
        });
        lines.unwrap()
    }

    #[test]
    fn without_a_reader_lines_are_lost_and_told_of_when_there_is_one() {
        let (log, mut reader, lost) = log_into_a_pipe();
        let kept = fill(&log, lost, "x");
        info!(log, "lost too");
        assert_eq!(lost.count(), 2);
        let mut first = vec![0; 4096 * 4];
        reader.read_exact(&mut first).unwrap();
        info!(log, "there is room");
        assert_eq!(lost.count(), 0);
        drop(log);
        let mut text = String::from_utf8(first).unwrap();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines[..kept].iter().enumerate() {
            assert_eq!(*line, format!("<6>INFO {number} x"));
        }
        let end = [
            "<6>INFO there is room",
            "<4>WARN the log was not read: lines before this one are lost, lines: 2",
        ];
        assert_eq!(lines[kept..], end);
    }

    #[test]
    fn a_line_that_is_torn_is_ended_before_the_next() {
        let (log, mut reader, lost) = log_into_a_pipe();
        let kept = fill(&log, lost, &"x".repeat(5 * AT_ONCE));
        let mut first = vec![0; 5 * AT_ONCE];
        reader.read_exact(&mut first).unwrap();
        info!(log, "there is room");
        drop(log);
        let mut text = String::from_utf8(first).unwrap();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().skip(kept).collect();
        assert!(lines[0].starts_with(&format!("<6>INFO {kept} x")), "{text}");
        assert_eq!(lines[1], "<6>INFO there is room");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn what_cannot_be_written_at_all_is_counted() {
        let (log, reader, lost) = log_into_a_pipe();
        drop(reader);
        info!(log, "to nobody");
        info!(log, "to nobody");
        assert_eq!(lost.count(), 2);
    }
}
