//! The log: standard error, one line per fact, written before the call returns.
//!
//! A line is never lost at exit (no asynchronous drain) and never split: control characters in a value
//! are escaped before the line is written. If the reader hangs, the daemon goes on, and logs later how
//! many lines were lost.

pub(crate) mod once;
mod output;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::UnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};

use slog::{Drain, Level, LevelFilter, Logger, OwnedKVList, Record, b, o, record};
use slog_term::{Decorator, FullFormat, RecordDecorator};

use output::{Lost, Output, WholeLines};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2016/10/06 14:23:42 INFO message, key: value`, in local time.
    Term,
    /// One JSON object per line.
    Json,
    /// `<6>INFO message, key: value`: a priority that the journal of systemd reads
    /// (sd-daemon(3)), and no time, which the journal adds.
    Journald,
}

/// The log on standard error.
static STDERR: OnceLock<Arc<LossyLog>> = OnceLock::new();

/// A logger that writes to standard error, and does not wait for a reader that hangs.
pub fn to_stderr(format: Format, level: Level) -> Logger {
    let log = STDERR.get_or_init(|| LossyLog::new(io::stderr(), format));
    Arc::clone(log).logger(level)
}

/// How many lines could not be written to standard error, and have not been reported in the log.
pub fn lost() -> u64 {
    STDERR.get().map_or(0, |log| log.lost())
}

/// Reports lost lines in the log if there is room by now. Called from time to time, so that the
/// report comes even if nothing else is logged.
pub(crate) fn catch_up() {
    if let Some(log) = STDERR.get() {
        log.catch_up();
    }
}

/// Writes the last message of a program to standard error, without waiting long either.
pub fn last_words(text: &str) {
    // This does not fail, and the process ends anyway.
    let _ = Output::new(io::stderr(), Lost::default()).write_all(text.as_bytes());
}

type Lines = Arc<dyn slog::SendSyncRefUnwindSafeDrain<Ok = (), Err = slog::Never>>;

/// A log that may lose lines, and reports their number with the next line that gets through.
struct LossyLog {
    lines: Lines,
    lost: Lost,
}

impl LossyLog {
    fn new<W: Write + AsFd + Send + 'static>(out: W, format: Format) -> Arc<Self> {
        let lost = Lost::default();
        let lines = lines(Output::new(out, lost.clone()), format);
        Arc::new(Self { lines, lost })
    }

    fn logger(self: Arc<Self>, level: Level) -> Logger {
        root(self, level)
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
pub fn to_writer<W: Write + Send + 'static>(out: W, format: Format, level: Level) -> Logger {
    root(lines(out, format), level)
}

fn lines<W: Write + Send + 'static>(out: W, format: Format) -> Lines {
    match format {
        // The drain writes each word by itself.
        Format::Json => {
            let json = slog_json::Json::default(WholeLines::new(out));
            Arc::new(Mutex::new(json).ignore_res())
        }
        Format::Term => Arc::new(term(out, false, local_time)),
        Format::Journald => Arc::new(term(out, true, |_| Ok(()))),
    }
}

fn root<D>(drain: D, level: Level) -> Logger
where
    D: slog::SendSyncRefUnwindSafeDrain<Ok = (), Err = slog::Never> + UnwindSafe + 'static,
{
    Logger::root(LevelFilter::new(drain, level).ignore_res(), o!())
}

fn term<W: Write + Send + 'static>(
    out: W,
    priority: bool,
    timestamp: fn(&mut dyn Write) -> io::Result<()>,
) -> impl slog::SendSyncRefUnwindSafeDrain<Ok = (), Err = slog::Never> + UnwindSafe {
    let lines = LineByLine {
        out: Mutex::new(out),
        priority,
    };
    let drain = FullFormat::new(lines)
        .use_custom_timestamp(timestamp)
        .use_original_order()
        .build();
    drain.ignore_res()
}

/// `2016/10/06 14:23:42`, as the documentation shows it.
fn local_time(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}", chrono::Local::now().format("%Y/%m/%d %H:%M:%S"))
}

/// Writes each record as one line without control characters.
struct LineByLine<W> {
    out: Mutex<W>,
    /// Whether a line begins with its priority.
    priority: bool,
}

impl<W: Write> Decorator for LineByLine<W> {
    fn with_record<F>(&self, record: &Record<'_>, _: &OwnedKVList, format: F) -> io::Result<()>
    where
        F: FnOnce(&mut dyn RecordDecorator) -> io::Result<()>,
    {
        let mut plain = Plain(Vec::with_capacity(256));
        format(&mut plain)?;
        let mut line = String::with_capacity(plain.0.len() + 8);
        if self.priority {
            line.push_str(&format!("<{}>", priority(record.level())));
        }
        for c in String::from_utf8_lossy(&plain.0).trim().chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        match self.out.lock() {
            Ok(mut out) => out.write_all(line.as_bytes()),
            Err(_) => Err(io::Error::other("a writer of the log panicked")),
        }
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

/// syslog(3)'s priorities.
fn priority(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
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
        let logger = to_writer(sink.clone(), format, Level::Info);
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
        assert_eq!(text, "<4>WARN odd, reason: none\n");
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
