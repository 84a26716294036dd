//! The README says nothing that no test has tried: each command in it is run here, or by the test that
//! is named here with the words in which it does so.

mod here;
mod proofs;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::Command;

use self::here::HERE;
use self::proofs::{NAMED, Named, QUOTED, START, TYPED, VERBATIM};
use crate::support::PROGRAM;
use crate::support::readme::{blocks, command_of, commands, quoted, section, text};

/// Longest line, in characters, and longest first screen, in lines.
const WIDTH: usize = 100;
const SCREEN: usize = 40;

/// Without quotes, commas, backslashes and surplus blanks, and with the longer names of options: as
/// it stands in a shell, in an array of Rust, or over several lines.
fn normal(text: &str) -> String {
    let is_apart = |c: char| c.is_whitespace() || "\"',\\`;".contains(c);
    let words = text.split(is_apart).filter(|word| !word.is_empty());
    let words = words.map(|word| match word {
        "-d" => "--detach",
        "-v" => "--volume",
        "-qw" => "-w",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn of_tree(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A command as the tables of proofs have it: the version is that of this program.
fn versioned(command: &str) -> String {
    command.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn each_command_is_run_by_a_test() {
    let readme = text();
    let mut named: BTreeSet<&str> = NAMED.iter().map(|named| named.command).collect();
    named.extend(HERE.iter().map(|(command, _)| *command));
    named.extend(VERBATIM.iter().map(|(_, command)| *command));
    named.extend(TYPED);
    let found: BTreeSet<String> = commands(&readme).iter().map(|it| versioned(it)).collect();
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let unknown: Vec<_> = found.difference(&named).collect();
    assert!(
        unknown.is_empty(),
        "no test runs these commands of the README; name it in tests/offline/readme/proofs.rs: \
         {unknown:#?}"
    );
    let gone: Vec<_> = named.difference(&found).collect();
    assert!(gone.is_empty(), "these are not in the README: {gone:#?}");
}

#[test]
fn the_named_tests_have_the_commands() {
    for Named {
        command,
        file,
        as_there,
        differs,
    } in NAMED
    {
        let there = normal(&of_tree(file));
        let mut words = BTreeSet::new();
        for text in *as_there {
            let text = normal(text);
            assert!(
                there.contains(&text),
                "{file} has no {text:?}, for {command}"
            );
            words.extend(text.split(' ').map(str::to_owned));
        }
        let missing: Vec<String> = normal(command)
            .split(' ')
            .filter(|word| !words.contains(*word) && !differs.contains(word))
            .map(str::to_owned)
            .collect();
        assert!(missing.is_empty(), "{file} has no {missing:?} of {command}");
    }
    let typed = normal(&of_tree(START).replace("$version", "VERSION"));
    for command in TYPED {
        assert!(typed.contains(&normal(command)), "{START} has no {command}");
    }
    for (file, command) in VERBATIM {
        assert!(of_tree(file).contains("readme::"), "{file} for {command}");
    }
}

#[test]
fn commands_that_need_no_host_do_as_they_are_written() {
    for (command, check) in HERE {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().display();
        // What a reader has there, and where it goes.
        let there = command
            .replace("/etc/", &format!("{root}/etc/"))
            .replace("/usr/local/sbin/", &format!("{root}/sbin/"))
            .replace("target/release/docker-nat66", PROGRAM)
            .replace("docker-nat66-VERSION-x86_64-unknown-linux-gnu", PROGRAM);
        let mut shell = Command::new("sh");
        shell.args([
            "-ec",
            &format!("mkdir -p etc/default etc/systemd/system sbin bin\n{there}"),
        ]);
        shell
            .current_dir(dir.path())
            .env_clear()
            .env("HOME", dir.path());
        let first = Path::new(PROGRAM).parent().expect("a directory");
        shell.env("PATH", format!("{}:/usr/bin:/bin", first.display()));
        std::os::unix::fs::symlink(PROGRAM, dir.path().join("docker-nat66")).expect("a link");
        let output = shell.output().expect("a shell");
        assert!(output.status.success(), "{command}: {output:?}");
        check(&String::from_utf8_lossy(&output.stdout), dir.path());
    }
}

#[test]
fn a_prefix_that_is_drawn_is_a_unique_local_one_and_another_each_time() {
    let readme = text();
    let section = section(&readme, "## IPv6 addresses for containers");
    let draw = &commands(section)[0];
    let drawn: BTreeSet<String> = (0..20)
        .map(|_| {
            let output = Command::new("sh")
                .args(["-c", draw])
                .output()
                .expect("runs");
            String::from_utf8(output.stdout).expect("text")
        })
        .collect();
    assert_eq!(drawn.len(), 20, "{drawn:?}");
    for prefix in drawn {
        let addr = prefix.trim_end().strip_suffix("/64").expect("a /64");
        let addr: Ipv6Addr = addr.parse().expect("an address");
        assert_eq!(
            addr.octets()[0],
            0xfd,
            "RFC 4193, section 3.2: the L bit is set"
        );
        assert_eq!(addr.segments()[3..], [1, 0, 0, 0, 0], "{addr}");
    }
}

/// The commands of the program and the long options that its help names.
fn helped(command: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(command).arg("--help").output();
    let output = output.expect("the help");
    assert!(
        output.status.success(),
        "docker-nat66 {command:?}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The program knows the command and its options.
#[track_caller]
fn is_understood(words: &[&str], whole: &str) {
    let is_command = words
        .first()
        .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
    // `print config` takes the options of `run`.
    let mut help = helped(&["run"]);
    if is_command {
        help = match words {
            ["print", what, ..] if what.chars().all(|c| c.is_ascii_lowercase()) => {
                helped(&["print", what]) + &help
            }
            ["print", ..] => helped(&["print"]) + &help,
            [command, ..] => helped(&[command]),
            [] => help,
        };
    }
    for word in words {
        let option = word.split(['=', '|']).next().unwrap_or_default();
        let is_option = option.starts_with("--") && option.len() > 2;
        assert!(!is_option || help.contains(option), "{whole}: no {option}");
    }
}

#[test]
fn the_program_knows_the_commands_and_options_that_are_named() {
    let readme = text();
    let inline = quoted(&readme);
    let all = commands(&readme);
    for line in all.iter().chain(&inline) {
        for part in line.split(" && ").flat_map(|part| part.split(" | ")) {
            let words: Vec<&str> = part
                .split(['>', '<'])
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            match words[..] {
                ["docker-nat66", ref rest @ ..] if !rest.is_empty() => is_understood(rest, line),
                ["docker", "nat66", ref rest @ ..] => is_understood(rest, line),
                _ => {}
            }
        }
    }
    // Other programs' commands in the text are few, and each has its proof.
    const PROGRAMS: [&str; 9] = [
        "apt",
        "systemctl",
        "journalctl",
        "sysctl",
        "nft",
        "ip6tables",
        "ufw",
        "firewall-cmd",
        "docker",
    ];
    for line in &inline {
        let mut words = line.split(' ');
        let (first, more) = (words.next().unwrap_or_default(), words.next());
        if !PROGRAMS.contains(&first) || more.is_none() || line.starts_with("docker nat66") {
            continue;
        }
        let proof = QUOTED.iter().find(|(quoted, _, _)| quoted == line);
        let (_, file, as_there) = proof.unwrap_or_else(|| panic!("no test runs `{line}`"));
        let there = normal(&of_tree(file));
        assert!(
            there.contains(&normal(as_there)),
            "{file} has no {as_there:?}"
        );
    }
}

#[test]
fn a_block_without_a_prompt_is_no_command() {
    let programs: BTreeSet<String> = commands(&text())
        .iter()
        .filter_map(|command| command.split(' ').next().map(str::to_owned))
        .collect();
    for block in blocks(&text()) {
        if block.iter().any(|line| command_of(line).is_some()) {
            continue;
        }
        for line in block {
            let mut words = line.split_whitespace();
            let (first, second) = (
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
            );
            let is_screen = second.starts_with(|c: char| c.is_ascii_digit());
            let is_synopsis = line.contains("PORT[/PROTO]");
            assert!(
                !programs.contains(first) || is_screen || is_synopsis || line.starts_with(' '),
                "a command without a prompt is run by no test: {line}"
            );
        }
    }
}

#[test]
fn it_can_be_read_on_any_screen() {
    let readme = text();
    for (number, line) in readme.lines().enumerate() {
        assert!(line.chars().count() <= WIDTH, "line {}: {line}", number + 1);
    }
    let mut headings = readme
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("## "));
    let first: Vec<_> = headings.by_ref().take(2).collect();
    assert_eq!(first[0].1, "## Quick start");
    assert!(
        first[1].0 <= SCREEN,
        "the first screen ends in line {}",
        first[1].0
    );
}

#[test]
fn what_it_refers_to_is_there() {
    let readme = text();
    let anchors: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect();
    let targets = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    for target in targets {
        let (path, place) = target.split_once('#').unwrap_or((target, ""));
        if path.is_empty() {
            assert!(anchors.contains(place), "no heading for {target}");
        } else {
            let there = of_tree(path);
            let mut headings = there.lines().filter(|line| line.starts_with('#'));
            let is_there = headings.any(|line| anchor(line.trim_start_matches('#')) == place);
            assert!(place.is_empty() || is_there, "no heading for {target}");
        }
    }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn dockers_settings_are_those_with_which_the_package_is_tried() {
    let readme = text();
    let section = section(&readme, "### The default bridge");
    let settings = blocks(section)
        .into_iter()
        .find(|block| block[0] == "{")
        .expect("settings");
    let settings: serde_json::Value = serde_json::from_str(&settings.join("\n")).expect("JSON");
    let there = normal(&of_tree("tests/shipped/host"));
    for (name, value) in settings.as_object().expect("an object") {
        let setting = normal(&format!("\"{name}\": {value}"));
        assert!(
            there.contains(&setting),
            "tests/shipped/host has no {setting}"
        );
    }
}
