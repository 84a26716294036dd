//! Log entries in systemd's native protocol: one datagram each, with every value as a field of its
//! own (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use slog::{Drain, KV, Key, OwnedKVList, Record, Serializer};

use super::line::{one_line, priority, write_line};

/// Where the journal listens (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";

/// What the entries are found by: `journalctl -t docker-nat66`.
const IDENTIFIER: &str = "docker-nat66";

/// The journal's socket.
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// `None` where there is none, or where it is not what standard error leads to
    /// (systemd.exec(5), `JOURNAL_STREAM`).
    pub(super) fn behind_stderr() -> Option<Self> {
        let named = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = rustix::fs::fstat(io::stderr()).ok()?;
        if named != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        Some(Self(socket))
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected
    )
}

impl Write for Journal {
    /// Sends one datagram.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        match self.0.send(entry) {
            // The journal was started anew, and listens on another socket. After that failure ours
            // is not connected any more.
            Err(error) if is_gone(&error) => {
                self.0.connect(SOCKET)?;
                self.0.send(entry)
            }
            sent => sent,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes each record as one entry, in one call of `write_all`.
pub(super) struct Entries<W>(Mutex<W>);

impl<W: Write> Entries<W> {
    pub(super) fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W: Write> Drain for Entries<W> {
    type Ok = ();
    type Err = io::Error;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> io::Result<()> {
        let fields = Fields::of(record, values)?;
        let message = one_line(&fields.message(record));
        let mut entry = Vec::with_capacity(256);
        let number = priority(record.level()).to_string();
        push_field(&mut entry, "MESSAGE", &message);
        push_field(&mut entry, "PRIORITY", &number);
        push_field(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
        for (key, value) in &fields.0 {
            push_field(&mut entry, &name_of(key), value);
        }
        match self.0.lock() {
            Ok(mut out) => out.write_all(&entry),
            Err(_) => Err(io::Error::other("a writer of the log panicked")),
        }
    }
}

/// Writes each record as one line that begins with its priority, which the journal reads.
pub(super) struct Prefixed<W>(Mutex<W>);

impl<W: Write> Prefixed<W> {
    pub(super) fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W: Write> Drain for Prefixed<W> {
    type Ok = ();
    type Err = io::Error;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> io::Result<()> {
        let fields = Fields::of(record, values)?;
        let prefix = format!("<{}>", priority(record.level()));
        write_line(&self.0, &prefix, &fields.message(record))
    }
}

/// The values of a record, by their keys.
#[derive(Default)]
struct Fields(Vec<(Key, String)>);

impl Fields {
    /// In the order of the other formats, in which they were written: the logger's first.
    fn of(record: &Record<'_>, values: &OwnedKVList) -> io::Result<Self> {
        let mut fields = Self::default();
        record.kv().serialize(record, &mut fields)?;
        values.serialize(record, &mut fields)?;
        // slog gives the last ones first.
        fields.0.reverse();
        Ok(fields)
    }

    /// The message with all values.
    fn message(&self, record: &Record<'_>) -> String {
        let values = self.0.iter();
        let values = values.map(|(key, value)| format!(", {key}: {value}"));
        format!("{}{}", record.msg(), values.collect::<String>())
    }
}

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.push((key, value.to_string()));
        Ok(())
    }

    fn emit_none(&mut self, _: Key) -> slog::Result {
        Ok(())
    }
}

/// A key as the journal takes it: upper-case letters, digits and underscores, no underscore first,
/// and at most 64 bytes.
fn name_of(key: Key) -> String {
    let upper = key.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    });
    let name: String = upper.take(64).collect();
    name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit())
        .to_owned()
}

/// A value with line feeds, which others may have put there, is written with its length, so that it
/// makes no field of its own.
fn push_field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slog::{Logger, o, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_value_is_a_field_and_stands_in_the_message_too() {
        let sink = Sink::default();
        let drain = Entries::new(sink.clone());
        let log = Logger::root(slog::Fuse(drain), o!("actor" => "writer"));
        warn!(log, "odd"; "container-id" => "a\nPRIORITY=0", "none" => None::<u8>, "took_ms" => 3);
        let entry = sink.0.lock().unwrap().clone();
        let expected = [
            &b"MESSAGE=odd, actor: writer, container-id: a\\nPRIORITY=0, took_ms: 3\n"[..],
            b"PRIORITY=4\nSYSLOG_IDENTIFIER=docker-nat66\n",
            b"ACTOR=writer\nCONTAINER_ID\n",
            &12_u64.to_le_bytes(),
            b"a\nPRIORITY=0\nTOOK_MS=3\n",
        ]
        .concat();
        assert_eq!(
            String::from_utf8_lossy(&entry),
            String::from_utf8_lossy(&expected)
        );
    }
}
