//! What the parser's complaints leave out: where a value came from, and what would be right.

use std::env;
use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::args::Cli;

/// An option, and the variable that stands for it.
struct Variable {
    /// With its dashes.
    option: String,
    name: String,
}

/// Every option that has a variable.
fn variables() -> Vec<Variable> {
    let mut cli = Cli::command();
    cli.build();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    arguments
        .filter_map(|argument| {
            Some(Variable {
                option: format!("--{}", argument.get_long()?),
                name: argument.get_env()?.to_str()?.to_owned(),
            })
        })
        .collect()
}

/// Prints what is wrong with the command line, or the help that was asked for, and ends the
/// process. `args` is what was parsed.
pub(super) fn exit_with(error: &clap::Error, args: &[OsString]) -> ! {
    // Nobody can be told that nobody can be told.
    let _ = error.print();
    if error.use_stderr() {
        let text = error.to_string();
        if let Some(note) = note(error.kind()).or_else(|| origin(&text, args)) {
            eprintln!("note: {note}");
        }
    }
    std::process::exit(error.exit_code())
}

fn note(kind: ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::InvalidSubcommand => {
            let cli = Cli::command();
            let names: Vec<_> = cli.get_subcommands().map(|c| c.get_name()).collect();
            Some(format!("the commands are {}", names.join(", ")))
        }
        ErrorKind::InvalidUtf8 => {
            let odd = |v: &Variable| env::var_os(&v.name).is_some_and(|v| v.to_str().is_none());
            let found = variables().into_iter().find(odd)?;
            Some(format!("{} in the environment is not UTF-8", found.name))
        }
        _ => None,
    }
}

/// Names the variable behind an option that `complaint` names, where the option did not stand on
/// the command line.
pub(super) fn origin(complaint: &str, args: &[OsString]) -> Option<String> {
    let named = |v: &Variable| {
        let after = complaint.find(&v.option).map(|at| at + v.option.len());
        let next = after.and_then(|at| complaint[at..].chars().next());
        after.is_some() && !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let given = |v: &Variable| {
        args.iter().filter_map(|a| a.to_str()).any(|arg| {
            arg == v.option
                || (arg.starts_with(&v.option) && arg[v.option.len()..].starts_with('='))
        })
    };
    let found = variables()
        .into_iter()
        .find(|v| named(v) && !given(v) && env::var_os(&v.name).is_some())?;
    Some(format!(
        "the value of {} comes from {} in the environment",
        found.option, found.name
    ))
}
