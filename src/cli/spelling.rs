//! The spellings of the first release, brought into today's.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use super::args::Cli;

/// Brings the arguments into the form that the parser knows: the single-dash spelling of long
/// options (`-dev eth0`, `-prefix=…`) that users of the first release know, and no command for
/// `run`. `args` is without the program's name.
pub(super) fn modernise(args: Vec<OsString>) -> Vec<OsString> {
    let known = long_names();
    let mut seen_end = false;
    let mut args: Vec<OsString> = args
        .into_iter()
        .map(|arg| {
            seen_end |= arg == "--";
            if seen_end {
                arg
            } else {
                double_dash(arg, &known)
            }
        })
        .collect();
    let is_for_all = |arg: &OsStr| {
        ["-h", "--help", "-V", "--version"]
            .iter()
            .any(|a| arg == *a)
    };
    let implied = match args.first() {
        None => true,
        Some(first) => first.as_encoded_bytes().starts_with(b"-") && !is_for_all(first),
    };
    if implied {
        args.insert(0, "run".into());
    }
    args
}

fn double_dash(arg: OsString, known: &[String]) -> OsString {
    let is_known = arg
        .to_str()
        .and_then(|text| text.strip_prefix('-'))
        .is_some_and(|text| {
            let name = text.split_once('=').map_or(text, |(name, _)| name);
            known.iter().any(|k| k == name)
        });
    if !is_known {
        return arg;
    }
    let mut long = OsString::from("-");
    long.push(arg);
    long
}

/// Every long option of every command.
fn long_names() -> Vec<String> {
    let mut cli = Cli::command();
    cli.build();
    let mut names: Vec<String> = ["help", "version"].map(str::to_owned).into();
    for command in cli.get_subcommands() {
        names.extend(
            command
                .get_arguments()
                .filter_map(|a| a.get_long().map(str::to_owned)),
        );
    }
    names
}
