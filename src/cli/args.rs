//! The options of `run`, and those that several commands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::given::Given;
use crate::logging::Verbosity;
use crate::metrics::address::MetricsAddress;

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM and SIGINT end the daemon, a second one at once; SIGHUP compares everything \
                  anew.\n\nExit codes:\n  0   ended as it was asked to; with --dry-run: what would be done is known\n  \
                  1   failed; with --dry-run: it is not known\n  2   wrong \
                  usage or configuration\n  3   another daemon runs here\n  4   no privilege, tool or \
                  kernel feature; or a journal of a newer version\n  70  a bug\n\nA supervisor should \
                  start it again except after 2 and 4."
)]
pub(super) struct RunArgs {
    /// Egress interface, where requests from outside arrive, or `auto` for the one that has the
    /// default route; may be repeated
    #[arg(
        long,
        value_name = "IF",
        env = "DOCKER_NAT66_DEV",
        value_delimiter = ','
    )]
    pub(super) dev: Vec<String>,
    /// IPv6 prefix of the containers' addresses, or `auto` for the subnets of Docker's bridge
    /// networks; may be repeated
    #[arg(
        long,
        value_name = "PREFIX",
        env = "DOCKER_NAT66_PREFIX",
        value_delimiter = ','
    )]
    pub(super) prefix: Vec<String>,
    /// Which part of the kernel's firewall holds the rules
    #[arg(long, value_enum, env = "DOCKER_NAT66_BACKEND", default_value_t = BackendChoice::Auto)]
    pub(super) backend: BackendChoice,
    /// Address of the Docker Engine: unix:///PATH or tcp://HOST:PORT [default: DOCKER_HOST, or
    /// unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", env = "DOCKER_NAT66_DOCKER_HOST")]
    pub(super) docker_host: Option<String>,
    #[command(flatten)]
    pub(super) state: StateArgs,
    /// Path of the control socket, through which `status` and `dump` ask the daemon
    #[arg(
        long,
        value_name = "PATH",
        env = "DOCKER_NAT66_CONTROL",
        default_value = "/run/docker-nat66/control.sock"
    )]
    pub(super) control: PathBuf,
    /// What happens to the rules when the daemon is asked to stop
    #[arg(long, value_enum, env = "DOCKER_NAT66_ON_EXIT", default_value_t = OnExit::Remove)]
    pub(super) on_exit: OnExit,
    /// How long forwards of an earlier run may stay open before Docker confirms them
    #[arg(long, value_name = "TIME", env = "DOCKER_NAT66_STALE_GRACE", default_value = "30s",
          value_parser = grace)]
    pub(super) stale_grace: Duration,
    /// How often to compare the kernel's rules with ours when no change has been announced
    #[arg(long, value_name = "TIME", env = "DOCKER_NAT66_VERIFY_INTERVAL",
          default_value = "30s", value_parser = interval)]
    pub(super) verify_interval: Duration,
    /// What happens to packets from outside to container ports that are not published
    #[arg(long, value_enum, env = "DOCKER_NAT66_UNPUBLISHED", default_value_t = Unpublished::Drop)]
    pub(super) unpublished: Unpublished,
    /// What happens to connections that containers open through an egress interface; only the
    /// ip6tables backend can accept them
    #[arg(long, value_enum, env = "DOCKER_NAT66_OUTGOING", default_value_t = Outgoing::Accept)]
    pub(super) outgoing: Outgoing,
    /// For which published ports our rules serve requests from the host itself and its containers
    #[arg(long, value_enum, env = "DOCKER_NAT66_HAIRPIN", default_value_t = Hairpin::Auto)]
    pub(super) hairpin: Hairpin,
    /// What to do where Docker's own IPv6 NAT is on
    #[arg(long, value_enum, env = "DOCKER_NAT66_NATIVE", default_value_t = NativeMode::Standby)]
    pub(super) native: NativeMode,
    /// Serve metrics for Prometheus over HTTP on this address: ADDRESS:PORT or unix:/PATH
    #[arg(long, value_name = "ADDRESS", env = "DOCKER_NAT66_METRICS")]
    pub(super) metrics: Option<MetricsAddress>,
    /// Whether the metrics name each published port with its container and its connections
    #[arg(long, value_enum, env = "DOCKER_NAT66_METRICS_CONNECTIONS",
          default_value_t = MetricsConnections::On)]
    pub(super) metrics_connections: MetricsConnections,
    /// Print what would be done to the rules now, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// Where the journal is.
#[derive(Debug, Clone, Args)]
pub(super) struct StateArgs {
    /// Directory of the journal
    #[arg(
        long,
        value_name = "DIR",
        env = "DOCKER_NAT66_STATE_DIR",
        default_value = "/var/lib/docker-nat66"
    )]
    pub(super) state_dir: PathBuf,
}

/// Where a running daemon is found, and what of it the user typed.
pub(super) type DaemonArgs = Given<DaemonOptions>;

/// Where a running daemon is found.
#[derive(Debug, Clone, Args)]
pub(super) struct DaemonOptions {
    #[command(flatten)]
    pub(super) state: StateArgs,
    /// Control socket of the daemon, and no other [default: the one that it names in its state
    /// directory]
    #[arg(long, value_name = "PATH", env = "DOCKER_NAT66_CONTROL")]
    pub(super) control: Option<PathBuf>,
}

/// The log.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// Which messages to log
    #[arg(long, value_enum, env = "DOCKER_NAT66_LOG_LEVEL", default_value_t = LogLevel::Info)]
    pub(super) log_level: LogLevel,
    /// Format of the log lines
    #[arg(long, value_enum, env = "DOCKER_NAT66_LOG_FORMAT", default_value_t = LogFormat::Auto)]
    pub(super) log_format: LogFormat,
}

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendChoice {
    /// ip6tables where its tool works, else nftables.
    Auto,
    /// The tables of ip6tables, by means of its tool.
    Ip6tables,
    /// A table of our own, over netlink and without any tool.
    Nftables,
}

/// `--on-exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnExit {
    /// The daemon removes every rule.
    Remove,
    /// They stay in place for the next start.
    Keep,
}

/// `--unpublished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Unpublished {
    /// They are dropped.
    Drop,
    /// They are left to the rest of the firewall.
    Accept,
}

/// `--outgoing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Outgoing {
    /// They are accepted.
    Accept,
    /// They are left to the rest of the firewall.
    Leave,
}

/// `--hairpin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Hairpin {
    /// Those that no docker-proxy serves.
    Auto,
    /// All.
    On,
    /// None.
    Off,
}

/// `--native`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NativeMode {
    /// Insert nothing while it is on, and report which published ports it does not serve.
    Standby,
    /// Set our rules beside it, whether or not it is on.
    Force,
}

/// `--metrics-connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricsConnections {
    /// They do: 200 by themselves, all others together.
    On,
    /// They have neither.
    Off,
}

/// `--log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// Why the daemon ends at once.
    Critical,
    /// What it cannot do, besides critical messages.
    #[value(alias = "err")]
    Error,
    /// What is unusual, besides errors.
    #[value(alias = "warn")]
    Warning,
    /// Every forward that opens or closes, besides warnings.
    Info,
    /// Every rule and every decision with its reason, besides info messages.
    Debug,
    /// All messages.
    Trace,
}

impl From<LogLevel> for Verbosity {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Critical => Self::Critical,
            LogLevel::Error => Self::Error,
            LogLevel::Warning => Self::Warning,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// journald where systemd collects the log, else term.
    Auto,
    /// Text with the time.
    Term,
    /// One JSON object per line.
    Json,
    /// Entries of systemd's journal; lines with a priority where it cannot be reached.
    Journald,
}

/// Longest `--stale-grace`. A forward that Docker has not confirmed for a day belongs to nobody.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A time that a command may wait.
pub(super) fn time_to_wait(text: &str) -> Result<Duration, String> {
    grace(text)
}

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

/// The pause between two updates of the screen.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = grace(text)?;
    if interval < SHORTEST_INTERVAL {
        return Err("shorter than 1s; give a time such as 30s or 5min".to_owned());
    }
    Ok(interval)
}
