//! As a plugin of the Docker CLI: `docker nat66 status` starts this program with `nat66 status`.
//!
//! The Docker CLI looks for programs named `docker-NAME` in its plugin directories, asks each for its
//! metadata, and hands over the whole command line, with docker's own options before the name
//! (github.com/docker/cli, cli-plugins/manager, `PluginRunCommand`).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::defaults::Defaults;
use super::failure::{Exit, Failure};
use crate::model::text::escape;

/// The name under which the Docker CLI knows the plugin.
const NAME: &str = "nat66";

/// With this alone the Docker CLI asks for the metadata.
const METADATA: &str = "docker-cli-plugin-metadata";

/// Set by the Docker CLI for a plugin that it starts (cli-plugins/manager, `ReexecEnvvar`).
pub(super) const STARTED_BY: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// The context that stands for `DOCKER_HOST` and the local socket (cli/command, `DefaultContextName`).
const DEFAULT_CONTEXT: &str = "default";

/// What the Docker CLI wants with these arguments (without the program's name).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Print this.
    Metadata(String),
    /// Run this command.
    Command { args: Vec<OsString>, asked: Asked },
}

/// Which Engine docker's own options name, if any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    host: Option<OsString>,
    /// The directory of docker's settings, from `--config`.
    config: Option<OsString>,
    by_docker: bool,
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
    let mut asked = Asked {
        by_docker,
        ..Asked::default()
    };
    let mut rest = args.as_slice();
    while let (true, [option, more @ ..]) = (by_docker, rest)
        && option != NAME
    {
        rest = more;
        let (kind, value) = Kind::of(option);
        let mut value = || {
            value.clone().or_else(|| {
                let next = rest.first().cloned();
                rest = rest.get(1..).unwrap_or_default();
                next
            })
        };
        match kind {
            Kind::Host => asked.host = value(),
            Kind::Config => asked.config = value(),
            Kind::WithValue => drop(value()),
            Kind::Alone => {}
            Kind::Refused => return Err(refused(&option.to_string_lossy())),
        }
    }
    let args = match rest {
        // Nobody starts a daemon by asking docker what this is.
        [name] if name == NAME && by_docker => vec!["--help".into()],
        [name, args @ ..] if name == NAME => args.to_vec(),
        _ => args,
    };
    Ok(Call::Command { args, asked })
}

fn refused(what: &str) -> Failure {
    let message = format!(
        "{what} is not supported; name the Engine with --host unix:///PATH or tcp://HOST:PORT"
    );
    Failure::new(Exit::Usage, message)
}

/// What an option of docker's own means here (`docker --help`, "Global Options").
#[derive(Clone, Copy)]
enum Kind {
    /// `--host`.
    Host,
    /// `--config`.
    Config,
    /// It has a value that makes no difference here.
    WithValue,
    Alone,
    /// It names an Engine or a way to it.
    Refused,
}

impl Kind {
    /// The option, and its value if that is in the same argument.
    fn of(option: &OsStr) -> (Self, Option<OsString>) {
        let text = option.to_string_lossy();
        let Some(long) = text.strip_prefix("--") else {
            return Self::of_letters(text.strip_prefix('-').unwrap_or_default());
        };
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.into())),
            None => (long, None),
        };
        let kind = match name {
            "host" => Self::Host,
            "config" => Self::Config,
            "log-level" => Self::WithValue,
            "context" => Self::Refused,
            name if name.starts_with("tls") => Self::Refused,
            _ => Self::Alone,
        };
        (kind, value)
    }

    /// The same of short options in one argument, as in `-DH URL`: the first that has a value takes what
    /// follows it.
    fn of_letters(letters: &str) -> (Self, Option<OsString>) {
        let with_value = |(at, letter)| {
            let kind = match letter {
                'H' => Self::Host,
                'l' => Self::WithValue,
                'c' => Self::Refused,
                _ => return None,
            };
            Some((kind, &letters[at + 1..]))
        };
        match letters.char_indices().find_map(with_value) {
            None => (Self::Alone, None),
            Some((kind, "")) => (kind, None),
            Some((kind, rest)) => {
                let value = rest.strip_prefix('=').unwrap_or(rest);
                (kind, Some(value.into()))
            }
        }
    }
}

/// Adds the Engine to a command that asks one, unless it names one itself. `args` begins with the
/// command's name.
///
/// # Errors
/// The Engine is that of a Docker context, by `DOCKER_CONTEXT` or `docker context use`.
pub(super) fn with_engine(
    args: &mut Vec<OsString>,
    asked: &Asked,
    cli: &clap::Command,
) -> Result<(), Failure> {
    let defaults = Defaults::read().unwrap_or_default();
    let in_file = |name: &str| {
        defaults
            .get(name.strip_prefix("DOCKER_NAT66_")?)
            .map(Into::into)
    };
    let variable = |name: &str| std::env::var_os(name).or_else(|| in_file(name));
    with_engine_of(args, asked, cli, &variable)
}

fn with_engine_of(
    args: &mut Vec<OsString>,
    asked: &Asked,
    cli: &clap::Command,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(), Failure> {
    let name = args.first().and_then(|name| name.to_str());
    let Some(command) = name.and_then(|name| cli.find_subcommand(name)) else {
        return Ok(());
    };
    let takes = command
        .get_arguments()
        .any(|a| a.get_long() == Some("docker-host"));
    let names_one = |a: &OsString| a.to_string_lossy().starts_with("--docker-host");
    let asks = |a: &OsString| a.to_string_lossy().starts_with("--foreign");
    let is_asked = name != Some("cleanup") || args.iter().any(asks);
    let is_help = |a: &OsString| a == "-h" || a == "--help";
    let is_other = !takes || !is_asked || args.iter().any(is_help);
    if is_other || !asked.by_docker || args.iter().any(names_one) {
        return Ok(());
    }
    match &asked.host {
        Some(host) => {
            args.insert(1, host.clone());
            args.insert(1, "--docker-host".into());
        }
        None => {
            if let Some(context) = context(asked, variable) {
                let context = escape(context.chars());
                return Err(refused(&format!("the Docker context {context}")));
            }
        }
    }
    Ok(())
}

/// The context whose Engine the Docker CLI would ask, unless it is the default one (cli/command,
/// `resolveContextName`).
fn context(asked: &Asked, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if set("DOCKER_NAT66_DOCKER_HOST").is_some() || set("DOCKER_HOST").is_some() {
        return None;
    }
    let name = match set("DOCKER_CONTEXT") {
        Some(name) => name.to_string_lossy().into_owned(),
        None => {
            let directory = asked.config.clone().or_else(|| set("DOCKER_CONFIG"));
            let directory = match directory {
                Some(directory) => PathBuf::from(directory),
                None => PathBuf::from(set("HOME")?).join(".docker"),
            };
            // Of a file that it cannot read, docker itself warns.
            let settings = fs::read(directory.join("config.json")).ok()?;
            let settings: Value = serde_json::from_slice(&settings).ok()?;
            settings.get("currentContext")?.as_str()?.to_owned()
        }
    };
    (!name.is_empty() && name != DEFAULT_CONTEXT).then_some(name)
}

#[cfg(test)]
mod tests;
