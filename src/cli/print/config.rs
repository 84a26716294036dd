//! `print config`: the settings that `run` would use, as a file that systemd reads.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};

use crate::cli::defaults::{self, Defaults};
use crate::cli::failure::{Exit, Failure};

/// What the name of every variable begins with.
const VARIABLES: &str = "DOCKER_NAT66_";

/// What stands first.
const HEAD: &str = "\
# Settings of docker-nat66, for the unit's EnvironmentFile=. What is written as a comment has its
# default. `docker-nat66 run --help` explains each; `systemctl restart docker-nat66` makes a change
# take effect, and cuts no connection.
";

/// Width of the comments, as in the help.
const WIDTH: usize = 98;

/// Options of `print config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Settings are taken from the options given here, then from the environment, then \
                  from /etc/default/docker-nat66. What has its default is written as a comment. \
                  Write to another file first, then install that one: a shell empties the file to \
                  which it redirects before this command reads it."
)]
pub(super) struct ConfigArgs {
    /// Options of `run` (`docker-nat66 run --help`), which are set in the file
    #[arg(
        value_name = "OPTION OF RUN",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    options: Vec<OsString>,
}

/// The file's text; `cli` is the whole command line.
///
/// # Errors
/// `/etc/default/docker-nat66` cannot be read, a setting is one that `run` would refuse, or its value
/// cannot be written into such a file.
pub(super) fn file(args: &ConfigArgs, cli: &Command) -> Result<String, Failure> {
    text(&args.options, &Defaults::read()?, cli)
}

fn text(options: &[OsString], in_file: &Defaults, cli: &Command) -> Result<String, Failure> {
    let run = cli
        .find_subcommand("run")
        .ok_or_else(|| Failure::new(Exit::Failed, "the command line has no `run`: a bug"))?;
    let mut options = options.to_vec();
    let given = parse(run, &options)?;
    for option in settings(run) {
        let is_given = matches!(
            given.value_source(option.id),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        );
        if let (false, Some(value)) = (is_given, in_file.get(option.name)) {
            options.push(format!("--{}={value}", option.long).into());
        }
    }
    let matches = parse(run, &options)?;
    let mut text = HEAD.to_owned();
    for option in settings(run) {
        let values: Vec<&str> = matches
            .get_raw(option.id)
            .into_iter()
            .flatten()
            .filter_map(|value| value.to_str())
            .collect();
        let is_default = matches!(
            matches.value_source(option.id),
            None | Some(ValueSource::DefaultValue)
        );
        let comment = if is_default { "#" } else { "" };
        let value = quoted(&values.join(","))
            .map_err(|reason| Failure::new(Exit::Usage, format!("--{}: {reason}", option.long)))?;
        text.push('\n');
        text.push_str(&wrapped(&option.help));
        text.push_str(&format!("{comment}{VARIABLES}{}={value}\n", option.name));
    }
    Ok(text)
}

/// An option of `run` that has a variable.
struct Setting<'a> {
    id: &'a str,
    long: &'a str,
    /// The variable without [`VARIABLES`].
    name: &'a str,
    help: String,
}

fn settings(run: &Command) -> impl Iterator<Item = Setting<'_>> {
    run.get_arguments().filter_map(|argument| {
        Some(Setting {
            id: argument.get_id().as_str(),
            long: argument.get_long()?,
            name: argument.get_env()?.to_str()?.strip_prefix(VARIABLES)?,
            help: help(argument),
        })
    })
}

/// What the option is for, and the values that it can have.
fn help(argument: &Arg) -> String {
    let mut help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let values = argument.get_possible_values();
    if !values.is_empty() {
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        help.push_str(&format!(": {}", names.join(", ")));
    }
    help
}

/// Parses options of `run`; a message of the parser names what is wrong and what would be right.
fn parse(run: &Command, options: &[OsString]) -> Result<ArgMatches, Failure> {
    let name = OsString::from("run");
    let args = std::iter::once(&name).chain(options);
    run.clone().try_get_matches_from(args).map_err(|error| {
        let text = error.to_string();
        let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        Failure::new(
            Exit::Usage,
            format!(
                "{text}\n(from an option, the environment or {})",
                defaults::FILE
            ),
        )
    })
}

/// A value as systemd.exec(5) reads it back, under EnvironmentFile=.
fn quoted(value: &str) -> Result<String, &'static str> {
    if value.chars().any(char::is_control) {
        return Err("a value with control characters cannot stand in such a file");
    }
    let is_plain = |c: char| c.is_alphanumeric() || "/:.,_+-@%=[]".contains(c);
    if value.chars().all(is_plain) {
        return Ok(value.to_owned());
    }
    if value.contains(['"', '\\', '$', '`']) {
        return Err("a value with one of \" \\ $ ` cannot stand in such a file");
    }
    Ok(format!("\"{value}\""))
}

/// Lines of comment.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() >= WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn config(options: &[&str], in_file: &str) -> Result<String, Failure> {
        let options: Vec<OsString> = options.iter().map(Into::into).collect();
        text(&options, &Defaults::parse(in_file), &Cli::command())
    }

    #[test]
    fn an_option_wins_over_the_file_and_a_default_is_a_comment() {
        let file = "DOCKER_NAT66_DEV=eth0,eth1\nDOCKER_NAT66_PREFIX=fd00::/64\n\
                    DOCKER_NAT66_STATE_DIR=\"/srv/a b\"\n";
        let text = config(&["--dev", "wan", "--backend=nftables"], file).expect("prints");
        for line in [
            "DOCKER_NAT66_DEV=wan",
            "DOCKER_NAT66_PREFIX=fd00::/64",
            "DOCKER_NAT66_BACKEND=nftables",
            "DOCKER_NAT66_STATE_DIR=\"/srv/a b\"",
            "#DOCKER_NAT66_ON_EXIT=remove",
            "#DOCKER_NAT66_DOCKER_HOST=",
        ] {
            assert!(
                text.lines().any(|printed| printed == line),
                "{line}\n{text}"
            );
        }
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        // What was printed says the same when it is read again.
        assert_eq!(config(&[], &text).expect("prints"), text);
    }

    #[test]
    fn what_run_would_refuse_is_refused() {
        for (options, file, words) in [
            (&["--backend", "pf"][..], "", "ip6tables"),
            (&[], "DOCKER_NAT66_BACKEND=pf", "/etc/default/docker-nat66"),
            (&["--state-dir", "/a$b"], "", "--state-dir"),
            (&["--bogus"], "", "--bogus"),
        ] {
            let failure = config(options, file).expect_err("refused");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }
}
