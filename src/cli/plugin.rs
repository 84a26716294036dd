//! As a plugin of the Docker CLI: `docker nat66 status` starts this program with `nat66 status`.
//!
//! The Docker CLI looks for programs named `docker-NAME` in its plugin directories, asks each for its
//! metadata, and hands over the whole command line, with docker's own options before the name
//! (github.com/docker/cli, cli-plugins/manager, `PluginRunCommand`).

use std::ffi::{OsStr, OsString};

use serde_json::json;

use super::failure::{Exit, Failure};

/// The name under which the Docker CLI knows the plugin.
const NAME: &str = "nat66";

/// With this alone the Docker CLI asks for the metadata.
const METADATA: &str = "docker-cli-plugin-metadata";

/// Set by the Docker CLI for a plugin that it starts (cli-plugins/manager, `ReexecEnvvar`).
pub(super) const STARTED_BY: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// What the Docker CLI wants with these arguments (without the program's name).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Print this.
    Metadata(String),
    /// Run this command, with the Engine that docker's own options name.
    Command {
        args: Vec<OsString>,
        docker_host: Option<OsString>,
    },
}

/// Reads the arguments; `by_docker` is whether the Docker CLI has started this process.
///
/// # Errors
/// An option of docker's that names an Engine in a way that is not supported here.
pub(super) fn read(args: Vec<OsString>, by_docker: bool) -> Result<Call, Failure> {
    if args.len() == 1 && args[0] == METADATA {
        let metadata = json!({
            "SchemaVersion": "0.1.0",
            "Vendor": "docker-nat66",
            "Version": concat!("v", env!("CARGO_PKG_VERSION")),
            "ShortDescription": "Published ports over IPv6",
        });
        return Ok(Call::Metadata(format!("{metadata}\n")));
    }
    let mut docker_host = None;
    let mut rest = args.as_slice();
    while let (true, [option, more @ ..]) = (by_docker, rest)
        && option != NAME
    {
        rest = more;
        match Docker::from(option) {
            Docker::Host(Some(host)) => docker_host = Some(host),
            Docker::Host(None) => {
                docker_host = more.first().cloned();
                rest = more.get(1..).unwrap_or_default();
            }
            Docker::WithValue => rest = more.get(1..).unwrap_or_default(),
            Docker::Alone => {}
            Docker::Refused => {
                let message = format!(
                    "{} is not supported; name the Engine with --host unix:///PATH or \
                     tcp://HOST:PORT",
                    option.to_string_lossy()
                );
                return Err(Failure::new(Exit::Usage, message));
            }
        }
    }
    let args = match rest {
        // Nobody starts a daemon by asking docker what this is.
        [name] if name == NAME && by_docker => vec!["--help".into()],
        [name, args @ ..] if name == NAME => args.to_vec(),
        _ => args,
    };
    Ok(Call::Command { args, docker_host })
}

/// An option of docker's own (`docker --help`, "Global Options").
enum Docker {
    /// `--host`, with its value if that is in the same argument.
    Host(Option<OsString>),
    /// Its value is the next argument, and makes no difference here.
    WithValue,
    Alone,
    /// It names an Engine or a way to it.
    Refused,
}

impl From<&OsString> for Docker {
    fn from(option: &OsString) -> Self {
        let text = option.to_string_lossy();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&*text, None),
        };
        match (name, value) {
            ("-H" | "--host", value) => Self::Host(value.map(Into::into)),
            ("--config" | "-l" | "--log-level", None) => Self::WithValue,
            ("-c" | "--context", _) => Self::Refused,
            (name, _) if name.starts_with("--tls") => Self::Refused,
            (name, _) if name.starts_with("-H") => Self::Host(Some(name[2..].into())),
            (name, _) if name.starts_with("-c") => Self::Refused,
            _ => Self::Alone,
        }
    }
}

/// Adds the Engine to a command that asks one, unless it names one itself. `args` begins with the
/// command's name.
pub(super) fn with_host(args: &mut Vec<OsString>, host: &OsStr, cli: &clap::Command) {
    let name = args.first().and_then(|name| name.to_str());
    let Some(command) = name.and_then(|name| cli.find_subcommand(name)) else {
        return;
    };
    let takes = command
        .get_arguments()
        .any(|a| a.get_long() == Some("docker-host"));
    if takes
        && !args
            .iter()
            .any(|a| a.to_string_lossy().starts_with("--docker-host"))
    {
        args.insert(1, host.into());
        args.insert(1, "--docker-host".into());
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn call(args: &[&str]) -> Result<Call, Failure> {
        read(args.iter().map(Into::into).collect(), true)
    }

    fn command(args: &[&str], host: Option<&str>) -> Call {
        Call::Command {
            args: args.iter().map(Into::into).collect(),
            docker_host: host.map(Into::into),
        }
    }

    #[test]
    fn the_docker_cli_is_told_what_the_plugin_is() {
        let Ok(Call::Metadata(text)) = call(&[METADATA]) else {
            panic!("metadata");
        };
        let metadata: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(metadata["SchemaVersion"], "0.1.0");
    }

    #[test]
    fn the_plugin_s_name_and_docker_s_options_go() {
        for (args, left, host) in [
            (
                &["nat66", "status", "--json"][..],
                &["status", "--json"][..],
                None,
            ),
            (&["-D", "--config", "/x", "nat66", "dump"], &["dump"], None),
            (
                &["-H", "unix:///s", "nat66", "check"],
                &["check"],
                Some("unix:///s"),
            ),
            (
                &["--host=unix:///s", "nat66", "check"],
                &["check"],
                Some("unix:///s"),
            ),
            (
                &["-Hunix:///s", "nat66", "check"],
                &["check"],
                Some("unix:///s"),
            ),
            (&["nat66", "nat66"], &["nat66"], None),
            (&["nat66"], &["--help"], None),
        ] {
            assert_eq!(call(args).expect("runs"), command(left, host), "{args:?}");
        }
        for args in [
            &["--context", "x", "nat66", "status"][..],
            &["--tls", "nat66", "check"],
        ] {
            assert_eq!(
                call(args).expect_err("refused").exit,
                Exit::Usage,
                "{args:?}"
            );
        }
    }

    #[test]
    fn without_the_docker_cli_only_a_leading_name_goes() {
        let args = |args: &[&str]| args.iter().map(Into::into).collect::<Vec<OsString>>();
        for (given, left) in [
            (&["nat66", "status"][..], &["status"][..]),
            (&["--dev", "nat66"], &["--dev", "nat66"]),
            (&[], &[]),
        ] {
            assert_eq!(read(args(given), false).expect("runs"), command(left, None));
        }
    }

    #[test]
    fn the_engine_goes_to_commands_that_ask_one() {
        let cli = super::super::Cli::command();
        let with = |args: &[&str]| {
            let mut args: Vec<OsString> = args.iter().map(Into::into).collect();
            with_host(&mut args, OsStr::new("unix:///s"), &cli);
            args
        };
        assert_eq!(
            with(&["check", "--json"]),
            ["check", "--docker-host", "unix:///s", "--json"]
        );
        assert_eq!(with(&["status"]), ["status"]);
        let own = ["check", "--docker-host=unix:///own"];
        assert_eq!(with(&own), own);
    }
}
