//! Writes to standard error even if its reader hangs.
//!
//! A write to a pipe or a socket waits for its reader, and a log collector may hang. Meanwhile the
//! daemon may have ports to close. So it waits for a moment, and then drops lines while there is no
//! room. It counts them, and the log reports the count.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a line may wait for room. A collector that is only busy makes room within milliseconds,
/// and the supervisor's watchdog fires after seconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two such waits, so that a slow reader does not delay every line.
const CALM: Duration = Duration::from_secs(10);

/// How many bytes a pipe with any room takes without blocking (`PIPE_BUF`, pipe(7)). A stream socket
/// takes more (unix(7): writable while at most a quarter of its buffer is used).
const AT_ONCE: usize = 4096;

/// Lines that were lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Those that have not been reported in the log.
    unreported: AtomicU64,
    reported: AtomicU64,
}

impl Lost {
    /// How many lines were lost and have not been reported in the log.
    pub(super) fn count(&self) -> u64 {
        self.0.unreported.load(Ordering::Relaxed)
    }

    /// How many lines were lost since the start.
    pub(super) fn in_all(&self) -> u64 {
        self.count() + self.0.reported.load(Ordering::Relaxed)
    }

    fn add(&self, count: u64) {
        self.0.unreported.fetch_add(count, Ordering::Relaxed);
    }

    /// If there are any, `write` logs a line with their number. If that line is lost too, it does
    /// not count itself.
    pub(super) fn report(&self, write: impl FnOnce(u64)) {
        let lost = self.count();
        // Of several threads that come here at once, only one reports.
        let order = Ordering::Relaxed;
        let unreported = &self.0.unreported;
        if lost > 0 && unreported.compare_exchange(lost, 0, order, order).is_ok() {
            write(lost);
            match unreported.swap(0, order) {
                0 => drop(self.0.reported.fetch_add(lost, order)),
                meanwhile => self.add(lost + meanwhile - 1),
            }
        }
    }
}

/// Writes lines while there is room. Each call of `write` gets one whole line, and succeeds.
pub(super) struct Output<W> {
    out: W,
    lost: Lost,
    /// How many bytes are written at once.
    piece: usize,
    /// Lines wait for room only from this moment on.
    waits_from: Instant,
    /// Whether only a part of the last line was written.
    torn: bool,
}

impl<W: Write + AsFd> Output<W> {
    pub(super) fn new(out: W, lost: Lost) -> Self {
        Self {
            out,
            lost,
            piece: AT_ONCE,
            waits_from: Instant::now(),
            torn: false,
        }
    }

    /// For a socket of datagrams, which takes a line whole or not at all.
    pub(super) fn of_datagrams(out: W, lost: Lost) -> Self {
        Self {
            piece: usize::MAX,
            ..Self::new(out, lost)
        }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.put_piece(b"\n")?;
            self.torn = false;
        }
        for piece in line.chunks(self.piece) {
            self.put_piece(piece)?;
            self.torn = !piece.ends_with(b"\n");
        }
        Ok(())
    }

    fn put_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        if !self.has_room(Duration::ZERO)? {
            let begun = Instant::now();
            if begun < self.waits_from {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let has_room = self.has_room(PATIENCE)?;
            self.waits_from = Instant::now() + CALM;
            if !has_room {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.out.write_all(piece)
    }

    fn has_room(&self, patience: Duration) -> io::Result<bool> {
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.out, PollFlags::OUT)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience)))?;
        Ok(ready > 0)
    }
}

impl<W: Write + AsFd> Write for Output<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.put(line).is_err() {
            self.lost.add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on whole lines, each in one call.
pub(super) struct WholeLines<W> {
    out: W,
    begun: Vec<u8>,
}

impl<W> WholeLines<W> {
    pub(super) fn new(out: W) -> Self {
        let begun = Vec::new();
        Self { out, begun }
    }
}

impl<W: Write> Write for WholeLines<W> {
    /// A call whose bytes end with a line break completes the line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            self.out.write_all(&std::mem::take(&mut self.begun))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};

    use slog::{Logger, debug, error, info};

    use super::*;
    use crate::logging::{Format, LossyLog, Verbosity};

    struct Piped {
        log: Logger,
        lossy: Arc<LossyLog>,
        reader: PipeReader,
    }

    impl Piped {
        fn new(verbosity: Verbosity) -> Self {
            let (reader, writer) = pipe().unwrap();
            let lossy = LossyLog::new(writer, Format::Journald, verbosity);
            Self {
                log: lossy.clone().logger(),
                lossy,
                reader,
            }
        }

        fn lost(&self) -> u64 {
            self.lossy.lost()
        }

        /// Logs numbered lines until one is lost, and returns how many got through.
        fn fill(&self, text: &str) -> usize {
            let lines = (0..).find(|number| {
                error!(self.log, "{number} {text}");
                self.lost() > 0
            });
            lines.unwrap()
        }

        /// Reads so many bytes.
        fn read(&mut self, bytes: usize) -> String {
            let mut first = vec![0; bytes];
            self.reader.read_exact(&mut first).unwrap();
            String::from_utf8(first).unwrap()
        }

        fn rest(self) -> String {
            let Self {
                log,
                lossy,
                mut reader,
            } = self;
            drop((log, lossy));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            rest
        }
    }

    const REPORT: &str = "<4>the log was not read: lines before this one are lost, lines: ";

    #[test]
    fn lines_lost_without_a_reader_are_reported_when_it_reads_again() {
        let mut piped = Piped::new(Verbosity::Info);
        let kept = piped.fill("x");
        info!(piped.log, "lost too");
        assert_eq!(piped.lost(), 2);
        let first = piped.read(4096 * 4);
        info!(piped.log, "there is room");
        assert_eq!(piped.lost(), 0);
        let text = first + &piped.rest();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines[..kept].iter().enumerate() {
            assert_eq!(*line, format!("<3>{number} x"));
        }
        let report = format!("{REPORT}2");
        assert_eq!(lines[kept..], ["<6>there is room", &report]);
    }

    #[test]
    fn lost_lines_are_reported_without_another_line_and_at_any_level() {
        let mut piped = Piped::new(Verbosity::Error);
        piped.fill("x");
        // A record below the level neither counts as lost nor as a line that got through.
        debug!(piped.log, "not written");
        info!(piped.log, "nor that");
        piped.lossy.catch_up();
        piped.lossy.catch_up();
        assert_eq!(piped.lost(), 1);
        piped.read(4096 * 4);
        piped.lossy.catch_up();
        assert_eq!(piped.lost(), 0);
        assert!(piped.rest().ends_with(&format!("\n{REPORT}1\n")));
    }

    #[test]
    fn a_slow_reader_does_not_delay_every_line() {
        let mut piped = Piped::new(Verbosity::Info);
        piped.fill("x");
        let begun = Instant::now();
        for _ in 0..20 {
            piped.read(4096);
            let lost = piped.lost();
            while piped.lost() <= lost {
                info!(piped.log, "{}", "y".repeat(1000));
            }
        }
        assert!(begun.elapsed() < CALM, "it waited each time");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut piped = Piped::new(Verbosity::Info);
        let kept = piped.fill(&"x".repeat(5 * AT_ONCE));
        let first = piped.read(5 * AT_ONCE);
        info!(piped.log, "there is room");
        let text = first + &piped.rest();
        let lines: Vec<&str> = text.lines().skip(kept).collect();
        assert!(lines[0].starts_with(&format!("<3>{kept} x")), "{text}");
        assert_eq!(lines[1], "<6>there is room");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let Piped { log, lossy, reader } = Piped::new(Verbosity::Info);
        drop(reader);
        info!(log, "to nobody");
        info!(log, "to nobody");
        assert_eq!(lossy.lost(), 2);
    }
}
