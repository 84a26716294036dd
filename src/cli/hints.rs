//! What the parser's messages leave out: where a value came from, and what would be right.

use std::env;
use std::ffi::OsString;

use clap::error::ErrorKind;

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
    // If standard error is closed, nobody can read of it either.
    let _ = error.print();
    if error.use_stderr() {
        let hint = hint(error.kind(), cli).or_else(|| origin(&error.to_string(), args, cli));
        if let Some(hint) = hint {
            eprintln!("note: {hint}");
        }
    }
    std::process::exit(error.exit_code())
}

fn hint(kind: ErrorKind, cli: &clap::Command) -> Option<String> {
    match kind {
        ErrorKind::InvalidSubcommand => {
            let names: Vec<_> = cli.get_subcommands().map(|c| c.get_name()).collect();
            Some(format!("the commands are {}", names.join(", ")))
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
