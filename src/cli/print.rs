//! `print`: the files that come with the program, and those that it makes of its own options.

mod config;
mod man;

use clap::{Args, Command, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::failure::{Exit, Failure};
use super::output;
use config::ConfigArgs;

/// The systemd unit, for a program at [`UNIT_PROGRAM`].
const UNIT: &str = include_str!("../assets/docker-nat66.service");

/// Where the unit expects the program, unless `--program` says otherwise.
const UNIT_PROGRAM: &str = "/usr/local/sbin/docker-nat66";

/// For those who run the daemon beside their containers.
const COMPOSE: &str = include_str!("../assets/compose.yaml");

/// For a Swarm: a service with one task on each node.
const STACK: &str = include_str!("../assets/stack.yaml");

/// For those who build the image themselves, from the static program.
const CONTAINERFILE: &str = include_str!("../assets/Containerfile");

/// Prometheus' alerting rules for the metrics.
const ALERTS: &str = include_str!("../assets/alerts.yaml");

/// Grafana's dashboard for the metrics, in the model of Grafana 10 and 11
/// (<https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/>).
const DASHBOARD: &str = include_str!("../assets/dashboard.json");

/// What changed from version to version, in Debian's form (deb-changelog(5)).
const CHANGELOG: &str = include_str!("../assets/changelog");

/// Options of `print`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:\n  0  done\n  1  failed\n  2  wrong usage")]
pub(super) struct PrintArgs {
    #[command(subcommand)]
    what: Asset,
}

#[derive(Debug, Subcommand)]
enum Asset {
    /// The unit for systemd
    Unit(UnitArgs),
    /// The completions of the command line for a shell
    Completions {
        /// Which shell is to load them
        #[arg(value_enum)]
        shell: ShellChoice,
    },
    /// The manual page, for section 8
    Man,
    /// A compose file that runs the image
    Compose(ComposeArgs),
    /// A container file that makes the image of the static program
    Containerfile,
    /// The settings that `run` would use, as a file for EnvironmentFile=
    Config(ConfigArgs),
    /// Alerts for Prometheus
    Alerts,
    /// A dashboard for Grafana, to be imported
    Dashboard,
    /// What changed from version to version
    Changelog,
}

/// Options of `print unit`.
#[derive(Debug, Args)]
struct UnitArgs {
    /// Where the program is installed
    #[arg(long, value_name = "PATH", default_value = UNIT_PROGRAM, value_parser = absolute)]
    program: String,
}

/// Options of `print compose`.
#[derive(Debug, Args)]
struct ComposeArgs {
    /// For `docker stack deploy`: a service with one task on each node of a Swarm
    #[arg(long)]
    swarm: bool,
}

/// The shells in which the completions are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShellChoice {
    Bash,
    Zsh,
    Fish,
}

/// A path that systemd takes as it stands (systemd.service(5), COMMAND LINES).
fn absolute(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    if !text.starts_with('/') || !text.chars().all(is_plain) {
        return Err(format!(
            "give an absolute path of letters, digits and ._+- such as {UNIT_PROGRAM}"
        ));
    }
    Ok(text.to_owned())
}

/// Prints the file; `cli` is the whole command line.
pub(super) fn run(args: &PrintArgs, cli: Command) -> Result<Exit, Failure> {
    let text = match &args.what {
        Asset::Unit(args) => UNIT.replace(UNIT_PROGRAM, &args.program),
        Asset::Completions { shell } => completions(*shell, cli),
        Asset::Man => man::page(cli, CHANGELOG)?,
        Asset::Compose(ComposeArgs { swarm: true }) => STACK.to_owned(),
        Asset::Compose(ComposeArgs { swarm: false }) => COMPOSE.to_owned(),
        Asset::Containerfile => CONTAINERFILE.to_owned(),
        Asset::Config(args) => config::file(args, &cli)?,
        Asset::Alerts => ALERTS.to_owned(),
        Asset::Dashboard => DASHBOARD.to_owned(),
        Asset::Changelog => CHANGELOG.to_owned(),
    };
    output::print(&text)?;
    Ok(Exit::Done)
}

fn completions(shell: ShellChoice, mut cli: Command) -> String {
    let shell = match shell {
        ShellChoice::Bash => Shell::Bash,
        ShellChoice::Zsh => Shell::Zsh,
        ShellChoice::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli, "docker-nat66", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod dashboard_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_the_program_where_it_is() {
        let program = absolute("/usr/sbin/docker-nat66").expect("a path");
        let unit = UNIT.replace(UNIT_PROGRAM, &program);
        assert!(unit.contains("\nExecStart=/usr/sbin/docker-nat66 run\n"));
        for path in [
            "docker-nat66",
            "/opt/a b/docker-nat66",
            "/opt/50%/docker-nat66",
        ] {
            assert!(absolute(path).is_err(), "{path}");
        }
    }
}
