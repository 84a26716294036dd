//! The log: standard error or the journal of systemd, one line per fact, written before the call returns.
//!
//! A line is never lost at exit (no asynchronous drain) and never split: control characters in a value
//! are escaped before the line is written. If the reader hangs, the daemon goes on, and logs later how
//! many lines were lost.

mod journald;
mod line;
pub(crate) mod once;
mod output;
mod verbosity;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::UnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};

use slog::{Drain, Level, Logger, OwnedKVList, Record, b, crit, o, record};
use slog_term::{Decorator, FullFormat, RecordDecorator};

use line::{one_line, write_line};
use output::{Lost, Output, WholeLines};
pub use verbosity::Verbosity;
use verbosity::{Current, Filter};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2016/10/06 14:23:42 INFO message, key: value`, in local time.
    Term,
    /// One JSON object per line.
    Json,
    /// Entries of systemd's journal, with each value as a field. Where the journal cannot be reached,
    /// lines `<6>message, key: value` on standard error: a priority that it reads (sd-daemon(3)), and
    /// no time, which it adds.
    Journald,
}

/// The log on standard error.
static STDERR: OnceLock<Arc<LossyLog>> = OnceLock::new();

/// A logger that writes to standard error, and does not wait for a reader that hangs.
pub fn to_stderr(format: Format, verbosity: Verbosity) -> Logger {
    let log = STDERR.get_or_init(|| LossyLog::new(io::stderr(), format, verbosity));
    log.current.set(verbosity);
    Arc::clone(log).logger()
}

/// From now on the log on standard error has these messages.
pub(crate) fn set_verbosity(verbosity: Verbosity) {
    if let Some(log) = STDERR.get() {
        log.current.set(verbosity);
    }
}

/// How many lines could not be written to standard error, and have not been reported in the log.
pub fn lost() -> u64 {
    STDERR.get().map_or(0, |log| log.lost())
}

/// How many lines could not be written to standard error since the start.
pub(crate) fn lost_in_all() -> u64 {
    STDERR.get().map_or(0, |log| log.lost.in_all())
}

/// Reports lost lines in the log if there is room by now. Called from time to time, so that the
/// report comes even if nothing else is logged.
pub(crate) fn catch_up() {
    if let Some(log) = STDERR.get() {
        log.catch_up();
    }
}

/// Says why the program ends, on one line and without waiting long either: in the log where programs
/// read it, else on standard error for people.
pub fn last_words(message: &str) {
    match STDERR.get() {
        Some(log) if log.format != Format::Term => crit!(Arc::clone(log).logger(), "{message}"),
        _ => {
            let line = format!("docker-nat66: {}\n", one_line(message));
            // This does not fail, and the process ends anyway.
            let _ = Output::new(io::stderr(), Lost::default()).write_all(line.as_bytes());
        }
    }
}

type Lines = Arc<dyn slog::SendSyncRefUnwindSafeDrain<Ok = (), Err = slog::Never>>;

/// A log that may lose lines, and reports their number with the next line that gets through.
struct LossyLog {
    lines: Lines,
    format: Format,
    lost: Lost,
    current: Current,
}

impl LossyLog {
    fn new<W>(out: W, format: Format, verbosity: Verbosity) -> Arc<Self>
    where
        W: Write + AsFd + Send + 'static,
    {
        let lost = Lost::default();
        let journal = (format == Format::Journald).then(journald::Journal::behind_stderr);
        let lines: Lines = match journal.flatten() {
            Some(journal) => {
                let out = Output::of_datagrams(journal, lost.clone());
                Arc::new(journald::Entries::new(out).ignore_res())
            }
            None => lines(Output::new(out, lost.clone()), format),
        };
        let current = Current::new(verbosity);
        Arc::new(Self {
            lines,
            format,
            lost,
            current,
        })
    }

    fn logger(self: Arc<Self>) -> Logger {
        let current = self.current.clone();
        root(self, current)
    }

    fn lost(&self) -> u64 {
        self.lost.count()
    }

    fn catch_up(&self) {
        self.lost.report(|count| {
            let Ok(()) = self.lines.log(
                &record!(
                    Level::Warning,
                    "",
                    &format_args!("the log was not read: lines before this one are lost"),
                    b!("lines" => count)
                ),
                &o!().into(),
            );
        });
    }
}

/// Gets only records that pass the level, which is checked before.
impl Drain for LossyLog {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        let before = self.lost();
        self.lines.log(record, values)?;
        if self.lost() == before {
            self.catch_up();
        }
        Ok(())
    }
}

/// A logger that writes to `out`, one `write_all` call per line.
pub fn to_writer<W>(out: W, format: Format, verbosity: Verbosity) -> Logger
where
    W: Write + Send + 'static,
{
    root(lines(out, format), Current::new(verbosity))
}

fn lines<W: Write + Send + 'static>(out: W, format: Format) -> Lines {
    match format {
        // The drain writes each word by itself.
        Format::Json => {
            let json = slog_json::Json::default(WholeLines::new(out));
            Arc::new(Mutex::new(json).ignore_res())
        }
        Format::Term => Arc::new(term(out)),
        Format::Journald => Arc::new(journald::Prefixed::new(out).ignore_res()),
    }
}

fn root<D>(drain: D, current: Current) -> Logger
where
    D: slog::SendSyncRefUnwindSafeDrain<Ok = (), Err = slog::Never> + UnwindSafe + 'static,
{
    Logger::root(Filter { drain, current }.ignore_res(), o!())
}

fn term<W: Write + Send + 'static>(
    out: W,
) -> impl slog::SendSyncRefUnwindSafeDrain<Ok = (), Err = slog::Never> + UnwindSafe {
    let drain = FullFormat::new(LineByLine(Mutex::new(out)))
        .use_custom_timestamp(local_time)
        .use_original_order()
        .build();
    drain.ignore_res()
}

/// `2016/10/06 14:23:42`, as the documentation shows it.
fn local_time(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}", chrono::Local::now().format("%Y/%m/%d %H:%M:%S"))
}

/// Writes each record as one line without control characters.
struct LineByLine<W>(Mutex<W>);

impl<W: Write> Decorator for LineByLine<W> {
    fn with_record<F>(&self, _: &Record<'_>, _: &OwnedKVList, format: F) -> io::Result<()>
    where
        F: FnOnce(&mut dyn RecordDecorator) -> io::Result<()>,
    {
        let mut plain = Plain(Vec::with_capacity(256));
        format(&mut plain)?;
        write_line(&self.0, "", &String::from_utf8_lossy(&plain.0))
    }
}

/// A record without colours.
struct Plain(Vec<u8>);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RecordDecorator for Plain {
    fn reset(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use slog::{info, warn};

    use super::*;

    /// What was written, and in how many calls.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>, Arc<Mutex<usize>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            *self.1.lock().unwrap() += 1;
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, log: impl FnOnce(&Logger)) -> String {
        let sink = Sink::default();
        let logger = to_writer(sink.clone(), format, Verbosity::Info);
        log(&logger);
        // One call per line keeps lines whole beside those of other writers.
        assert!(*sink.1.lock().unwrap() <= 1, "in pieces");
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_has_the_documented_form() {
        let text = logged(Format::Term, |log| info!(log, "NAT66 set postrouting: x"));
        let (time, rest) = text.split_at("2016/10/06 14:23:42".len());
        assert!(
            time.chars()
                .all(|c| c.is_ascii_digit() || "/: ".contains(c)),
            "{text}"
        );
        assert_eq!(rest, " INFO NAT66 set postrouting: x\n");
    }

    #[test]
    fn journald_lines_begin_with_their_priority() {
        let text = logged(
            Format::Journald,
            |log| warn!(log, "odd"; "reason" => "none"),
        );
        assert_eq!(text, "<4>odd, reason: none\n");
    }

    #[test]
    fn no_value_splits_a_line_or_steers_a_terminal() {
        for format in [Format::Term, Format::Json, Format::Journald] {
            let text = logged(format, |log| {
                info!(log, "a"; "name" => "x\nNAT66 add portfwd: y\x1b[2J\r");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
        }
    }

    #[test]
    fn what_is_below_the_level_is_not_written() {
        assert_eq!(logged(Format::Term, |log| slog::debug!(log, "no")), "");
    }
}
