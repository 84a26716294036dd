//! The command line: one file per command, and what they share.
//!
//! A new command takes a file with its options and its `run`, and two lines in [`Command`]. What a
//! command ends with stands in [`failure`]; only `main.rs` prints it.

mod args;
mod ask;
mod backends;
mod check;
mod cleanup;
mod compat;
mod defaults;
mod dry;
mod dump;
mod engine_url;
mod explain;
mod failure;
mod foreign;
mod given;
mod hints;
mod history;
mod host_args;
mod lock;
mod metrics;
mod namespace;
mod output;
mod plugin;
mod print;
mod reload;
mod run;
mod screen;
mod startup;
mod status;
mod waiting;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use failure::{Exit, Failure};

/// Makes Docker's published ports reachable over IPv6.
#[derive(Debug, Parser)]
#[command(name = "docker-nat66", version, max_term_width = 100)]
#[command(
    override_usage = "docker-nat66 [COMMAND] [OPTIONS]",
    after_help = "Without a command, docker-nat66 does what `run` does:\n  \
                  docker-nat66 -dev eth0 -prefix fdfd:5898:4917:1::/64\n\n\
                  Exit codes; the help of each command says what they mean there:\n  \
                  0   done, healthy, reachable, equal\n  \
                  1   failed, degraded, not reachable, different\n  \
                  2   wrong usage or configuration\n  \
                  3   another daemon holds the lock; or the one to be asked does not run\n  \
                  4   no privilege, tool or kernel feature; or a journal of a newer version\n  \
                  70  a bug"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Follow Docker, and set and remove rules as it publishes ports (the default)
    Run(Box<args::RunArgs>),
    /// Show what is open and what is closed
    Dump(dump::DumpArgs),
    /// Show what the daemon is doing
    Status(status::StatusArgs),
    /// Remove every rule of docker-nat66, with no daemon running; or those of another program
    Cleanup(given::Given<cleanup::CleanupArgs>),
    /// Look at everything the host must have, and name what is missing with its remedy
    Check(check::CheckArgs),
    /// Follow a packet to a published port, and say what forwards or drops it
    Explain(Box<explain::ExplainArgs>),
    /// Compare Docker, journal and kernel now, and wait for the end of it
    Reload(reload::ReloadArgs),
    /// Log more or less from now on
    LogLevel(reload::LogLevelArgs),
    /// Print the daemon's figures for monitoring, in Prometheus' text format
    Metrics(metrics::MetricsArgs),
    /// Print a file that comes with the program, ready to be installed
    Print(print::PrintArgs),
}

impl Command {
    fn run(&self) -> Result<Exit, Failure> {
        match self {
            Self::Run(args) => run::run(args),
            Self::Dump(args) => dump::run(args),
            Self::Status(args) => status::run(args),
            Self::Metrics(args) => metrics::run(args),
            Self::Reload(args) => reload::reload(args),
            Self::LogLevel(args) => reload::log_level(args),
            Self::Check(args) => check::run(args),
            Self::Explain(args) => explain::run(args),
            Self::Cleanup(args) => cleanup::run(args),
            Self::Print(args) => print::run(args, Cli::command()),
        }
    }
}

/// Parses the arguments (without the program's name) and runs the command.
///
/// # Errors
/// The message to print and the exit code. Where the arguments cannot be parsed, the process has
/// ended by then, with a message and exit code 2.
pub fn main(args: Vec<OsString>) -> Result<Exit, Failure> {
    let by_docker = std::env::var_os(plugin::STARTED_BY).is_some();
    let (args, asked) = match plugin::read(args, by_docker)? {
        plugin::Call::Command { args, asked } => (args, asked),
        plugin::Call::Metadata(metadata) => {
            output::print(&metadata)?;
            return Ok(Exit::Done);
        }
    };
    let command = Cli::command();
    // Values of the environment may be secret, or long, and help is shown to others.
    let command =
        command.mut_subcommands(|sub| sub.mut_args(|argument| argument.hide_env_values(true)));
    let mut args = compat::modernise(args, &command);
    plugin::with_engine(&mut args, &asked, &command)?;
    let name = OsString::from("docker-nat66");
    let cli = command
        .clone()
        .try_get_matches_from(std::iter::once(&name).chain(&args))
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .unwrap_or_else(|error| hints::exit_with(&error, &args, &command));
    cli.command.run().map_err(|mut failure| {
        failure.name_command(&args);
        if failure.exit == Exit::Usage
            && let Some(origin) = hints::origin(&failure.message, &args, &command)
        {
            failure.message.push_str(&format!(" ({origin})"));
        }
        if hints::asks_for_json(&args) {
            output::print_failure(&failure);
        }
        failure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let args = args.iter().map(Into::into).collect();
        let name = OsString::from("docker-nat66");
        let args = compat::modernise(args, &Cli::command());
        Cli::try_parse_from(std::iter::once(name).chain(args))
    }

    fn run(args: &[&str]) -> args::RunArgs {
        match parse(args).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("expected run, got {other:?}"),
        }
    }

    #[test]
    fn the_spellings_of_the_first_release_still_work() {
        for args in [
            &["-dev", "eth0", "-prefix", "fd00::/64"][..],
            &["-dev=eth0", "-prefix=fd00::/64"],
            &["--dev", "eth0", "--prefix", "fd00::/64"],
            &["run", "--dev=eth0", "-prefix", "fd00::/64"],
        ] {
            let run = run(args);
            assert_eq!(
                (run.dev, run.prefix),
                (vec!["eth0".into()], vec!["fd00::/64".into()])
            );
        }
    }

    #[test]
    fn both_options_repeat() {
        let run = run(&[
            "-dev",
            "eth0",
            "--dev",
            "eth1",
            "-prefix=fd00::/64,fd01::/64",
        ]);
        assert_eq!(run.dev, ["eth0", "eth1"]);
        assert_eq!(run.prefix, ["fd00::/64", "fd01::/64"]);
    }

    #[test]
    fn only_known_long_names_are_rewritten() {
        let args = ["-x", "-devel", "-", "-d=1", "--", "-dev"]
            .map(OsString::from)
            .to_vec();
        let mut expected = args.clone();
        expected.insert(0, "run".into());
        assert_eq!(compat::modernise(args, &Cli::command()), expected);
    }

    #[test]
    fn help_and_version_need_no_command() {
        for arg in ["-h", "--help", "-help", "-V", "--version", "-version"] {
            assert_eq!(parse(&[arg]).unwrap_err().exit_code(), 0, "{arg}");
        }
    }

    #[test]
    fn wrong_usage_ends_with_code_2() {
        for args in [
            &["--bogus"][..],
            &["fly"],
            &["--stale-grace", "soon"],
            &["--backend", "x"],
        ] {
            assert_eq!(parse(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn a_dry_run_lists_the_rules_of_others_and_removes_none() {
        for program in ["docker-nat66-go", "docker-ipv6nat", "docker"] {
            let list = ["cleanup", "--foreign", program, "--dry-run"];
            assert!(parse(&list).is_ok(), "{program}");
            let both = parse(&[&list[..], &["--yes"]].concat()).unwrap_err();
            assert_eq!(both.kind(), clap::error::ErrorKind::ArgumentConflict);
            assert_eq!(both.exit_code(), 2, "{program}");
        }
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }
}
