//! The spellings of the first release, rewritten into today's.

use std::ffi::{OsStr, OsString};

/// Rewrites the single-dash spelling of long options (`-dev eth0`, `-prefix=…`), and adds `run`
/// where no command is given. `args` is without the program's name; `cli` knows the options.
pub(super) fn modernise(args: Vec<OsString>, cli: &clap::Command) -> Vec<OsString> {
    let known = long_names(cli);
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
    let needs_no_command = |arg: &OsStr| {
        ["-h", "--help", "-V", "--version"]
            .iter()
            .any(|a| arg == *a)
    };
    let is_run = match args.first() {
        None => true,
        Some(first) => first.as_encoded_bytes().starts_with(b"-") && !needs_no_command(first),
    };
    if is_run {
        args.insert(0, "run".into());
    }
    args
}

fn double_dash(arg: OsString, known: &[&str]) -> OsString {
    let is_known = arg
        .to_str()
        .and_then(|text| text.strip_prefix('-'))
        .is_some_and(|text| {
            let name = text.split_once('=').map_or(text, |(name, _)| name);
            known.contains(&name)
        });
    if !is_known {
        return arg;
    }
    let mut long = OsString::from("-");
    long.push(arg);
    long
}

/// Every long option of every command.
fn long_names(cli: &clap::Command) -> Vec<&str> {
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let names = arguments.filter_map(clap::Arg::get_long);
    ["help", "version"].into_iter().chain(names).collect()
}
