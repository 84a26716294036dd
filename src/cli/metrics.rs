//! `metrics`: the running daemon's figures for monitoring.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::DaemonArgs;
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use crate::control::protocol::{Answer, Request};

/// Options of `metrics`.
#[derive(Debug, Args)]
pub(super) struct MetricsArgs {
    /// Write them to FILE instead, which is replaced at once, for the textfile collector of
    /// node_exporter; where no daemon runs, or it gives no figures, FILE is removed
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &MetricsArgs) -> Result<Exit, Failure> {
    let Some(file) = &args.write else {
        output::print(&figures(&args.daemon)?)?;
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
