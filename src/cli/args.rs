//! The command line: options and environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes Docker's published ports reachable over IPv6.
#[derive(Debug, Parser)]
#[command(name = "docker-nat66", version, max_term_width = 100)]
#[command(after_help = "Without a command, `run` is meant:\n  \
                  docker-nat66 -dev eth0 -prefix fdfd:5898:4917:1::/64\n\n\
                  Exit codes: 0 done; 1 failed, or degraded; 2 usage or configuration; 3 another \
                  daemon\nholds the lock, or none runs; 4 missing privilege, tool or kernel \
                  feature, or a journal of a\nnewer version; 70 a bug.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow Docker and keep the rules in step (the default)
    Run(Box<RunArgs>),
    /// Show the journal
    Dump(ReadArgs),
    /// Show what the daemon is doing
    Status(ReadArgs),
    /// Remove every rule of ours, with no daemon running
    Cleanup(CleanupArgs),
    /// Print a file that goes with the program, to be put in its place
    Print(PrintArgs),
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Egress interface, on which requests arrive; may be repeated; `auto` for that of the
    /// default route
    #[arg(
        long,
        value_name = "IF",
        env = "DOCKER_NAT66_DEV",
        value_delimiter = ','
    )]
    pub dev: Vec<String>,
    /// IPv6 prefix of the containers' addresses; may be repeated; `auto` for the subnets of
    /// Docker's bridge networks
    #[arg(
        long,
        value_name = "PREFIX",
        env = "DOCKER_NAT66_PREFIX",
        value_delimiter = ','
    )]
    pub prefix: Vec<String>,
    /// What holds the rules
    #[arg(long, value_enum, env = "DOCKER_NAT66_BACKEND", default_value_t = BackendChoice::Auto)]
    pub backend: BackendChoice,
    /// The Docker Engine: unix:///PATH or tcp://HOST:PORT [default: DOCKER_HOST, or
    /// unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", env = "DOCKER_NAT66_DOCKER_HOST")]
    pub docker_host: Option<String>,
    /// Where the journal is
    #[command(flatten)]
    pub state: StateArgs,
    /// Control socket
    #[arg(
        long,
        value_name = "PATH",
        env = "DOCKER_NAT66_CONTROL",
        default_value = "/run/docker-nat66/control.sock"
    )]
    pub control: PathBuf,
    /// What happens to the rules when the daemon is asked to leave
    #[arg(long, value_enum, env = "DOCKER_NAT66_ON_EXIT", default_value_t = OnExit::Remove)]
    pub on_exit: OnExit,
    /// How long forwards of an earlier run stay open without Docker's confirmation
    #[arg(long, value_name = "TIME", env = "DOCKER_NAT66_STALE_GRACE", default_value = "30s",
          value_parser = grace)]
    pub stale_grace: Duration,
    /// How often the kernel's rules are compared with ours though nobody has announced a change
    #[arg(long, value_name = "TIME", env = "DOCKER_NAT66_VERIFY_INTERVAL",
          default_value = "30s", value_parser = interval)]
    pub verify_interval: Duration,
    /// What becomes of packets from outside for container ports that are not published
    #[arg(long, value_enum, env = "DOCKER_NAT66_UNPUBLISHED", default_value_t = Unpublished::Drop)]
    pub unpublished: Unpublished,
    /// What becomes of connections that containers begin by way of an egress interface, with the
    /// ip6tables backend; leave: the rest of the firewall decides
    #[arg(long, value_enum, env = "DOCKER_NAT66_OUTGOING", default_value_t = Outgoing::Accept)]
    pub outgoing: Outgoing,
    /// Whether the host itself and the containers reach published ports at the host's
    /// addresses; auto: where no docker-proxy serves them
    #[arg(long, value_enum, env = "DOCKER_NAT66_HAIRPIN", default_value_t = Hairpin::Auto)]
    pub hairpin: Hairpin,
    /// Where Docker's own IPv6 NAT is on: stand by and look on, or set our rules beside it
    #[arg(long, value_enum, env = "DOCKER_NAT66_NATIVE", default_value_t = Native::Standby)]
    pub native: Native,
    /// The log
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where the journal is.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// Directory of the journal
    #[arg(
        long,
        value_name = "DIR",
        env = "DOCKER_NAT66_STATE_DIR",
        default_value = "/var/lib/docker-nat66"
    )]
    pub state_dir: PathBuf,
}

/// The log.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// How much to log
    #[arg(long, value_enum, env = "DOCKER_NAT66_LOG_LEVEL", default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// How log lines look; auto: journald under systemd, else term
    #[arg(long, value_enum, env = "DOCKER_NAT66_LOG_FORMAT", default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
}

/// Options of `dump` and `status`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// JSON: for `dump` one object per line, for `status` one object
    #[arg(long)]
    pub json: bool,
    /// Where the journal is
    #[command(flatten)]
    pub state: StateArgs,
}

/// Options of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Where the journal is
    #[command(flatten)]
    pub state: StateArgs,
    /// The log
    #[command(flatten)]
    pub log: LogArgs,
}

/// Options of `print`.
#[derive(Debug, Args)]
pub struct PrintArgs {
    /// Which file
    #[arg(value_enum)]
    pub what: Asset,
}

/// What `print` hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Asset {
    /// The unit for systemd
    Unit,
}

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// The best that works here.
    Auto,
    /// Rules in the tables of ip6tables.
    Ip6tables,
    /// Elements of a table of our own, without any tool.
    Nftables,
}

/// `--on-exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnExit {
    /// Remove every rule.
    Remove,
    /// Leave the rules for a successor.
    Keep,
}

/// `--unpublished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unpublished {
    /// They are dropped.
    Drop,
    /// They are left to the rest of the firewall.
    Accept,
}

/// `--outgoing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Outgoing {
    /// They are accepted.
    Accept,
    /// They are left to the rest of the firewall.
    Leave,
}

/// `--hairpin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hairpin {
    /// Where no docker-proxy serves the port.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// `--native`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Native {
    /// Insert nothing while it is on.
    Standby,
    /// Do not look whether it is.
    Force,
}

/// `--log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what ends the daemon.
    Critical,
    /// And what it could not do.
    Error,
    /// And what is odd.
    Warning,
    /// And every change of a rule.
    Info,
    /// And what was decided, and why.
    Debug,
    /// Everything.
    Trace,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Journald under systemd, else term.
    Auto,
    /// Text with the time.
    Term,
    /// One JSON object per line.
    Json,
    /// Text with a priority, for systemd's journal.
    Journald,
}

/// Longest `--stale-grace`: what Docker has not confirmed for a day belongs to nobody.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime::parse_duration(text)
        .map_err(|e| format!("{e}; give a number with its unit, such as 30s or 5min"))?;
    if grace > LONGEST_GRACE {
        return Err("longer than 24h; give a time such as 30s or 5min".to_owned());
    }
    Ok(grace)
}

/// Shortest `--verify-interval`: a listing takes milliseconds, and may start a tool.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = grace(text)?;
    if interval < SHORTEST_INTERVAL {
        return Err("shorter than 1s; give a time such as 30s or 5min".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::super::spelling::modernise;
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let args = args.iter().map(Into::into).collect();
        let name = OsString::from("docker-nat66");
        Cli::try_parse_from(std::iter::once(name).chain(modernise(args)))
    }

    fn run(args: &[&str]) -> RunArgs {
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
        assert_eq!(modernise(args), expected);
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
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }
}
