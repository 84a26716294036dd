//! `metrics`: the running daemon's figures for monitoring.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::args::DaemonArgs;
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use crate::control::protocol::{Answer, Request};

/// Options of `metrics`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  done\n  1  failed, or the daemon does not answer\n  2  wrong \
                  usage\n  3  no daemon runs\n  4  the daemon answers only root"
)]
pub(super) struct MetricsArgs {
    /// Print one JSON object
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Write them to FILE instead, which is replaced at once, for the textfile collector of
    /// node_exporter; where no daemon runs, or it gives no figures, FILE is removed
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &MetricsArgs) -> Result<Exit, Failure> {
    let Some(file) = &args.write else {
        let figures = figures(&args.daemon)?;
        output::print(&match args.json {
            true => output::json_line(&samples(&figures)?)?,
            false => figures,
        })?;
        return Ok(Exit::Done);
    };
    write(file, figures(&args.daemon))?;
    Ok(Exit::Done)
}

/// The daemon's figures.
fn figures(daemon: &DaemonArgs) -> Result<String, Failure> {
    match ask_daemon(daemon, Request::Metrics)? {
        Some(Answer::Metrics(text)) => Ok(text),
        Some(_) => Err(wrong_answer()),
        None => Err(no_daemon(daemon)),
    }
}

/// The object of `--json`.
#[derive(Debug, PartialEq, Serialize)]
struct Samples<'t> {
    v: u32,
    samples: Vec<Sample<'t>>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Sample<'t> {
    name: &'t str,
    labels: BTreeMap<&'t str, String>,
    value: f64,
}

/// Reads Prometheus' text format, without the comments.
fn samples(text: &str) -> Result<Samples<'_>, Failure> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter(|line| !line.is_empty());
    let samples = lines.map(|line| {
        let message = || format!("the daemon's figures have a line that is no sample: {line:?}");
        sample(line).ok_or_else(|| Failure::new(Exit::Failed, message()))
    });
    Ok(Samples {
        v: 1,
        samples: samples.collect::<Result<_, _>>()?,
    })
}

/// Reads `name{label="value",…} number`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (value, end) = quoted(after)?;
        labels.insert(label, value);
        rest = &after[end..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(Sample {
        name,
        labels,
        value,
    })
}

/// A label's value up to the quote that ends it, and how many bytes that takes. A backslash stands
/// before a backslash, a quote, and the `n` that is a line feed.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

/// Writes the figures to the file, or removes it where there are none: old figures would look like
/// those of a daemon that runs.
fn write(file: &Path, figures: Result<String, Failure>) -> Result<(), Failure> {
    let written = figures
        .and_then(|text| replace(file, &text).map_err(|error| failed("write", file, &error)));
    written.map_err(|mut failure| {
        if let Err(also) = remove(file) {
            failure.message.push_str(&format!("; {also}"));
        }
        failure
    })
}

fn remove(file: &Path) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", file, &error))
        }
        _ => Ok(()),
    }
}

fn failed(what: &str, file: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot {what} {}: {error}", file.display());
    Failure::new(Exit::Failed, message)
}

/// Replaces the file at once, so that a reader sees the old text or the new one, and never a part.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    // The collector reads only files whose names end with .prom.
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let write = || {
        let mut out = File::create_new(&beside)?;
        out.write_all(text.as_bytes())?;
        // The collector runs as another user.
        out.set_permissions(Permissions::from_mode(0o644))?;
        fs::rename(&beside, file)
    };
    let written = write();
    if written.is_err() {
        // It may not have come to be.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_at_once_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("nat66.prom");
        for text in ["a 1\n", "b 2\n"] {
            replace(&file, text).expect("written");
            assert_eq!(fs::read_to_string(&file).expect("read"), text);
        }
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let missing = dir.path().join("no/nat66.prom");
        replace(&missing, "c 3\n").expect_err("no directory");
        let there = fs::read_dir(dir.path()).expect("listed").count();
        assert_eq!(there, 1);
    }

    #[test]
    fn every_sample_is_read_with_its_labels_as_they_were() {
        let text = "# HELP a b\na 1\nb_bucket{le=\"+Inf\",x=\"a\\\\b\\\"{}, =\\n\"} 2.5\n";
        let read = samples(text).expect("samples");
        let labels = [("le", "+Inf"), ("x", "a\\b\"{}, =\n")];
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        let of = |name, labels, value| Sample {
            name,
            labels,
            value,
        };
        assert_eq!(
            read.samples,
            [
                of("a", BTreeMap::new(), 1.0),
                of("b_bucket", labels.into(), 2.5)
            ]
        );
        for line in ["a", "a b", "a{x} 1", "a{x=\"} 1", "a{x=\"y\" 1"] {
            assert!(samples(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_file_goes_where_there_are_no_figures() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("nat66.prom");
        write(&file, Ok("a 1\n".to_owned())).expect("written");
        for exit in [Exit::Failed, Exit::Held] {
            let failure = write(&file, Err(Failure::new(exit, "none"))).expect_err("none");
            assert_eq!((failure.exit, failure.message.as_str()), (exit, "none"));
            assert!(!file.exists());
        }
    }
}
