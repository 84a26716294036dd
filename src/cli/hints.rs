//! What the parser's messages leave out: where a value came from, and what would be right.

use std::env;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::failure::{Exit, Failure};
use super::{output, startup};
use crate::logging;

/// An option, and the environment variable that can set it.
struct Variable {
    /// With its dashes.
    option: String,
    name: String,
}

/// Every option that has a variable.
fn variables(cli: &clap::Command) -> impl Iterator<Item = Variable> {
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    arguments.filter_map(|argument| {
        Some(Variable {
            option: format!("--{}", argument.get_long()?),
            name: argument.get_env()?.to_str()?.to_owned(),
        })
    })
}

/// Prints what is wrong with the command line, or the help that the user asked for, and ends the
/// process. `args` is what was parsed.
pub(super) fn exit_with(error: &clap::Error, args: &[OsString], cli: &clap::Command) -> ! {
    if !error.use_stderr() {
        // A reader that has read enough (`--help | head`) is no failure.
        let _ = error.print();
        std::process::exit(error.exit_code())
    }
    let mut text = error.render().to_string();
    if of_systemd(error, args).is_some() {
        // What is most alike is something else.
        text.truncate(text.find('\n').map_or(text.len(), |end| end + 1));
    }
    // As every other message of the program begins.
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let hint = hint(error, args, cli).or_else(|| origin(text, args, cli));
    if startup::begin_log_unparsed(args, cli) {
        logging::last_words(&on_one_line(text, hint.as_deref()));
    } else {
        eprint!("docker-nat66: {text}");
        if let Some(hint) = hint {
            eprintln!("note: {hint}");
        }
    }
    if asks_for_json(args) {
        let first = text.lines().next().unwrap_or_default();
        output::print_failure(&Failure::new(Exit::Usage, first));
    }
    std::process::exit(error.exit_code())
}

/// What is wrong, with its tips and without the usage.
fn on_one_line(text: &str, hint: Option<&str>) -> String {
    let what = text.split("\n\nUsage:").next().unwrap_or_default();
    let what = what.split("\n\nFor more information").next();
    let words = what.unwrap_or_default().split_whitespace();
    let mut line = words.collect::<Vec<_>>().join(" ");
    if let Some(hint) = hint {
        line.push_str(&format!(" ({hint})"));
    }
    line
}

/// Whether the answer is to be JSON.
pub(super) fn asks_for_json(args: &[OsString]) -> bool {
    args.iter().any(|arg| arg == "--json")
}

/// What a service manager does, and not this program.
const OF_SYSTEMD: [&str; 5] = ["start", "stop", "restart", "enable", "disable"];

/// What was asked of the program as of a service: in the place of a command, or after the options of
/// `run`.
fn of_systemd<'e>(error: &'e clap::Error, args: &[OsString]) -> Option<&'e str> {
    let place = match error.kind() {
        ErrorKind::UnknownArgument if is_run(args) => ContextKind::InvalidArg,
        _ => ContextKind::InvalidSubcommand,
    };
    match error.get(place) {
        Some(ContextValue::String(verb)) if OF_SYSTEMD.contains(&verb.as_str()) => Some(verb),
        _ => None,
    }
}

fn is_run(args: &[OsString]) -> bool {
    args.first().is_some_and(|arg| arg == "run")
}

fn hint(error: &clap::Error, args: &[OsString], cli: &clap::Command) -> Option<String> {
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let is_command = |name: &&str| cli.find_subcommand(name).is_some();
    if let Some(verb) = of_systemd(error, args) {
        return Some(format!(
            "a service is run by systemd: systemctl {verb} docker-nat66"
        ));
    }
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let names: Vec<_> = cli.get_subcommands().map(|c| c.get_name()).collect();
            Some(format!("the commands are {}", names.join(", ")))
        }
        ErrorKind::UnknownArgument if is_run(args) => {
            let command = named(ContextKind::InvalidArg).filter(is_command)?;
            Some(format!("the command goes first: docker-nat66 {command}"))
        }
        ErrorKind::InvalidUtf8 => {
            let odd = |v: &Variable| env::var_os(&v.name).is_some_and(|v| v.to_str().is_none());
            let found = variables(cli).find(odd)?;
            Some(format!("{} in the environment is not UTF-8", found.name))
        }
        _ => None,
    }
}

/// Names the variable behind an option that `message` names, unless the option stands on the
/// command line.
pub(super) fn origin(message: &str, args: &[OsString], cli: &clap::Command) -> Option<String> {
    let is_named = |v: &Variable| {
        let after = message.find(&v.option).map(|at| at + v.option.len());
        let next = after.and_then(|at| message[at..].chars().next());
        after.is_some() && !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_given = |v: &Variable| {
        args.iter().filter_map(|a| a.to_str()).any(|arg| {
            arg == v.option
                || (arg.starts_with(&v.option) && arg[v.option.len()..].starts_with('='))
        })
    };
    let found =
        variables(cli).find(|v| is_named(v) && !is_given(v) && env::var_os(&v.name).is_some())?;
    Some(format!(
        "the value of {} comes from {} in the environment",
        found.option, found.name
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::{Cli, compat};
    use super::*;

    fn hint_of(args: &[&str]) -> Option<String> {
        let cli = Cli::command();
        let args = compat::modernise(args.iter().map(Into::into).collect(), &cli);
        let name = OsString::from("docker-nat66");
        let parsed = cli
            .clone()
            .try_get_matches_from(std::iter::once(&name).chain(&args));
        hint(&parsed.expect_err("wrong usage"), &args, &cli)
    }

    #[test]
    fn a_verb_of_systemd_has_its_hint_with_options_and_without() {
        let options = ["-dev", "eth0", "-prefix", "fd00::/64"];
        for verb in OF_SYSTEMD {
            let expected = format!("a service is run by systemd: systemctl {verb} docker-nat66");
            for args in [
                &[verb][..],
                &[&options[..], &[verb]].concat(),
                &["run", verb],
            ] {
                assert_eq!(hint_of(args).as_deref(), Some(&*expected), "{args:?}");
            }
        }
        let first = "the command goes first: docker-nat66 status";
        let late = hint_of(&[&options[..], &["status"]].concat());
        assert_eq!(late.as_deref(), Some(first));
        assert_eq!(hint_of(&["status", "start"]), None);
    }
}
