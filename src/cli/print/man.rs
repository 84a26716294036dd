//! `print man`: the manual page. What the options mean is said once, where they are declared; the
//! page's other sections stand in `assets/`.

use chrono::DateTime;
use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::failure::{Exit, Failure};

/// What stands before the commands: how the program is called, and what it does.
const BEFORE: &str = include_str!("../../assets/man-before.roff");

/// What stands after them: files, signals, exit codes, examples.
const AFTER: &str = include_str!("../../assets/man-after.roff");

/// The heading of the commands.
const COMMANDS: &str = "COMMANDS";

/// Longest line of source: mandoc's lint accepts 80 bytes, and escapes make lines longer.
const WIDTH: usize = 72;

/// The page, in roff; `cli` is the whole command line, and the newest version of the
/// `changelog` (deb-changelog(5)) gives the date.
///
/// # Errors
/// The changelog has no date: a bug.
pub(super) fn page(cli: Command, changelog: &str) -> Result<String, Failure> {
    let mut cli = cli.disable_help_subcommand(true);
    cli.build();
    let man = Man::new(cli.clone())
        .title("DOCKER-NAT66")
        .section("8")
        .date(date(changelog)?)
        .manual("System Administration");
    let mut head = Vec::new();
    man.render_title(&mut head)?;
    let head = String::from_utf8_lossy(&head);

    let mut commands = Roff::new();
    commands.control("SH", [COMMANDS]);
    for command in cli.get_subcommands() {
        section(&mut commands, command);
    }
    let commands = commands.render();
    // What `render` puts before stands in the page's head already.
    let from = commands
        .find(&format!(".SH {COMMANDS}"))
        .unwrap_or_default();
    Ok(format!("{head}{BEFORE}{}{AFTER}", &commands[from..]))
}

/// The day of the newest version.
fn date(changelog: &str) -> Result<String, Failure> {
    let trailer = changelog.lines().find_map(|line| line.strip_prefix(" -- "));
    let date = trailer.and_then(|line| line.split_once(">  "));
    let date = date.and_then(|(_, date)| DateTime::parse_from_rfc2822(date).ok());
    let day = date.map(|date| date.format("%Y-%m-%d").to_string());
    day.ok_or_else(|| Failure::new(Exit::Failed, "the changelog has no date: a bug"))
}

/// One command: what it does, and its options, or its own commands.
fn section(roff: &mut Roff, command: &Command) {
    roff.control("SS", [command.get_name()]);
    if let Some(about) = command.get_about() {
        sentence(roff, &about.to_string());
    }
    for nested in command.get_subcommands() {
        let mut head = vec![bold(format!(
            "{} {}",
            command.get_name(),
            nested.get_name()
        ))];
        for argument in arguments(nested) {
            head.push(roman(if argument.is_required_set() {
                " "
            } else {
                " ["
            }));
            head.extend(heading(argument));
            head.extend((!argument.is_required_set()).then(|| roman("]")));
        }
        roff.control("TP", []).text(head);
        if let Some(about) = nested.get_about() {
            sentence(roff, &about.to_string());
        }
    }
    if command.has_subcommands() {
        return;
    }
    for argument in arguments(command) {
        roff.control("TP", []).text(heading(argument));
        sentence(roff, &help(argument));
        values(roff, argument);
    }
}

/// The positional ones, then the options.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let options = command.get_opts().chain(
        command
            .get_arguments()
            .filter(|a| !a.is_positional() && !a.get_action().takes_values()),
    );
    let is_own = |option: &&Arg| !matches!(option.get_long(), Some("help" | "version"));
    command.get_positionals().chain(options).filter(is_own)
}

/// The argument as it is written: `--dev IF`.
fn heading(argument: &Arg) -> Vec<Inline> {
    let mut heading = Vec::new();
    if let Some(long) = argument.get_long() {
        heading.push(bold(format!("--{long}")));
    }
    if argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        heading.extend((!heading.is_empty()).then(|| roman(" ")));
        heading.push(italic(names.join(" ")));
    }
    heading
}

/// What the argument means, its default, and its variable.
fn help(argument: &Arg) -> String {
    let mut help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let default: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy())
        .collect();
    if !default.is_empty() && argument.get_action().takes_values() {
        help.push_str(&format!(". Default: {}", default.join(",")));
    }
    if let Some(variable) = argument.get_env() {
        help.push_str(&format!(". Variable: {}", variable.to_string_lossy()));
    }
    help
}

/// The values that the argument can have, each with its meaning.
fn values(roff: &mut Roff, argument: &Arg) {
    let values = argument.get_possible_values();
    let meanings = || {
        values
            .iter()
            .filter_map(|v| Some((v.get_name(), v.get_help()?)))
    };
    if !argument.get_action().takes_values() || meanings().next().is_none() {
        return;
    }
    roff.control("RS", []);
    for (name, meaning) in meanings() {
        roff.control("TP", []).text([italic(name)]);
        sentence(roff, &meaning.to_string());
    }
    roff.control("RE", []);
}

/// Text as lines of source, each sentence on lines of its own; what stands in backquotes is bold.
fn sentence(roff: &mut Roff, text: &str) {
    let text = text.trim_end_matches('.').to_owned() + ".";
    let mut is_bold = false;
    let mut line = String::new();
    let mut flush = |line: &mut String| {
        let mut inlines = Vec::new();
        for (index, part) in line.split('`').enumerate() {
            is_bold ^= index > 0;
            match (part.is_empty(), is_bold) {
                (true, _) => {}
                (false, true) => inlines.push(bold(part)),
                (false, false) => inlines.push(roman(part)),
            }
        }
        roff.text(inlines);
        line.clear();
    };
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() >= WIDTH {
            flush(&mut line);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if word.ends_with('.') {
            flush(&mut line);
        }
    }
    if !line.is_empty() {
        flush(&mut line);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;
    use crate::cli::print::CHANGELOG;

    #[test]
    fn the_page_has_every_command_option_and_variable() {
        let page = page(Cli::command(), CHANGELOG).expect("prints");
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            assert!(
                page.contains(&format!(".SS {}\n", command.get_name())),
                "{page}"
            );
            for option in command.get_arguments() {
                let Some(long) = option.get_long() else {
                    continue;
                };
                let spelt = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
                assert!(page.contains(&spelt), "{spelt}");
            }
        }
        for section in ["DESCRIPTION", "FILES", "SIGNALS", "EXIT STATUS", "EXAMPLES"] {
            assert!(
                page.contains(&format!("\n.SH {section}\n"))
                    || page.contains(&format!("\n.SH \"{section}\"\n")),
                "{section}"
            );
        }
    }
}
