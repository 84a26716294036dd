//! Wrong usage: for each kind the exit code, and a message that says what is wrong and what would
//! be right.
//!
//! Nothing here can change anything: the state directory of every run is a regular file, which
//! ends it (exit code 2; 4 without privilege, which is asked first) before it looks at the kernel.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::PROGRAM;

/// The least that a correct command line has.
const GOOD: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// How a run ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    said: String,
}

/// Runs the program with nothing in its environment but `env`.
fn run(args: &[&str], env: &[(&str, OsString)]) -> Ended {
    let dir = tempfile::tempdir().expect("temp dir");
    let latch = dir.path().join("latch");
    fs::write(&latch, "not a directory").expect("written");
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("DOCKER_NAT66_STATE_DIR", &latch);
    command.env("DOCKER_NAT66_CONTROL", dir.path().join("control.sock"));
    command.envs(env.iter().cloned()).args(args);
    let output = command.output().expect("runs");
    assert!(output.stdout.is_empty(), "{output:?}");
    let left: Vec<_> = fs::read_dir(&dir).expect("lists").flatten().collect();
    assert_eq!(left.len(), 1, "nothing was made: {left:?}");
    Ended {
        code: output.status.code(),
        said: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The run is refused as wrong usage, with all of these words.
#[track_caller]
fn refused(args: &[&str], env: &[(&str, OsString)], words: &[&str]) {
    let ended = run(args, env);
    assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
    for word in words {
        assert!(
            ended.said.contains(word),
            "{word:?} for {args:?}: {ended:?}"
        );
    }
    assert!(
        !ended.said.contains("latch"),
        "{args:?} got too far: {ended:?}"
    );
}

/// The run gets as far as the latch, with these words on its way.
#[track_caller]
fn accepted(args: &[&str], words: &[&str]) {
    let ended = run(args, &[]);
    let stopped = ended.said.contains("latch is not a directory")
        || ended.said.contains("needs CAP_NET_ADMIN");
    assert!(stopped, "{args:?}: {ended:?}");
    for word in words {
        assert!(
            ended.said.contains(word),
            "{word:?} for {args:?}: {ended:?}"
        );
    }
}

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

#[test]
fn without_an_interface_it_says_how_to_name_one() {
    let words = [
        "no egress interface",
        "--dev",
        "as in: docker-nat66 --dev eth0",
    ];
    refused(&["--prefix", "fd00::/64"], &[], &words);
}

#[test]
fn without_a_prefix_it_says_which_one_is_meant() {
    let words = [
        "no prefix",
        "--fixed-cidr-v6",
        "as in: docker-nat66 --dev eth0",
    ];
    refused(&["--dev", "eth0"], &[], &words);
}

#[test]
fn without_both_it_names_both() {
    for args in [&[][..], &["run"]] {
        refused(
            args,
            &[],
            &["(--dev)", "(--prefix)", "as in: docker-nat66 --dev eth0"],
        );
    }
}

#[test]
fn a_prefix_that_is_none_is_refused_with_its_reason() {
    for (prefix, reason) in [
        ("garbage", "this is not an IPv6 prefix"),
        ("", "this is not an IPv6 prefix"),
        ("fdfd:5898:4917:2:/64", "this is not an IPv6 prefix"),
        ("fd00::/129", "this is not an IPv6 prefix"),
        ("fd00::1", "the prefix length is missing"),
        ("172.17.0.0/16", "this is an IPv4 prefix"),
        ("::/0", "/0 would include every address"),
        ("::ffff:172.17.0.0/112", "IPv4-mapped"),
        ("fe80::/64", "link-local"),
        ("ff05::/64", "multicast"),
    ] {
        let named = format!("--prefix {prefix:?}");
        let words = [named.as_str(), reason, "such as fdfd:5898:4917:1::/64"];
        refused(&["--dev", "eth0", "--prefix", prefix], &[], &words);
    }
}

#[test]
fn one_bad_prefix_among_good_ones_is_refused() {
    let args = with(&GOOD, &["--prefix", "fd00::/8,10.0.0.0/8"]);
    refused(&args, &[], &["--prefix \"10.0.0.0/8\"", "IPv4"]);
}

#[test]
fn host_bits_in_a_prefix_are_masked_with_a_warning() {
    let words = [
        "WARN",
        "fdfd:5898:4917:1::7/64",
        "read as fdfd:5898:4917:1::/64",
    ];
    accepted(
        &["-dev", "eth0", "-prefix", "fdfd:5898:4917:1::7/64"],
        &words,
    );
}

#[test]
fn the_documented_prefix_is_read_with_a_warning_and_no_other_of_its_kind_is() {
    let words = ["WARN", "one colon short", "read as fdfd:5898:4917:1::/64"];
    accepted(&["-dev", "eth0", "-prefix", "fdfd:5898:4917:1:/64"], &words);
    let other = ["-dev", "eth0", "-prefix", "fdfd:5898:4917:9:/64"];
    refused(&other, &[], &["this is not an IPv6 prefix"]);
}

#[test]
fn what_is_no_interface_name_is_refused_with_its_reason() {
    for (name, reason) in [
        ("sixteen-bytes-xy", "at most 15 bytes, this one has 16"),
        ("eth0/1", "cannot hold '/'"),
        ("eth 0", "cannot hold ' '"),
        ("eth0\n", "cannot hold '\\n'"),
        ("eth+", "cannot hold '+'"),
        ("", "cannot be empty"),
        ("..", "are no interface names"),
    ] {
        let named = format!("--dev {name:?}");
        let words = [named.as_str(), reason, "such as eth0"];
        refused(&["--dev", name, "--prefix", "fd00::/64"], &[], &words);
    }
}

#[test]
fn an_unknown_option_is_named() {
    refused(&with(&GOOD, &["--bogus"]), &[], &["'--bogus'", "--help"]);
    refused(&with(&GOOD, &["-devel", "x"]), &[], &["'-d'", "--help"]);
    refused(&["status", "--dev", "eth0"], &[], &["'--dev'", "--help"]);
}

#[test]
fn an_unknown_command_is_answered_with_those_there_are() {
    let words = ["'fly'", "the commands are run, dump, status, cleanup"];
    refused(&["fly"], &[], &words);
    refused(&["stauts"], &[], &["'stauts'", "'status'"]);
    refused(&with(&["run", "more"], &GOOD), &[], &["'more'"]);
    for verb in ["start", "stop", "restart"] {
        let words = format!("systemctl {verb} docker-nat66");
        refused(&[verb], &[], &[&words]);
    }
}

#[test]
fn a_command_behind_the_options_is_told_its_place() {
    let words = ["the command goes first: docker-nat66 status"];
    refused(&with(&GOOD, &["status"]), &[], &words);
}

#[test]
fn short_names_of_levels_are_understood() {
    for level in ["warn", "err"] {
        accepted(&with(&GOOD, &["--log-level", level]), &[]);
    }
}

#[test]
fn a_bad_duration_is_answered_with_a_good_one() {
    for (text, reason) in [
        ("soon", "expected number"),
        ("30", "time unit needed"),
        ("-5s", "expected number"),
        ("25h", "longer than 24h"),
        ("584542046090y", "longer than 24h"),
        ("99999999999999999999s", "number is too large"),
    ] {
        let option = format!("--stale-grace={text}");
        let words = [
            text,
            "'--stale-grace <TIME>'",
            reason,
            "such as 30s or 5min",
        ];
        refused(&with(&GOOD, &[&option]), &[], &words);
    }
}

#[test]
fn a_choice_that_is_none_is_answered_with_the_choices() {
    for (option, choices) in [
        ("--backend", "auto, ip6tables"),
        ("--on-exit", "remove, keep"),
        (
            "--log-level",
            "critical, error, warning, info, debug, trace",
        ),
        ("--log-format", "auto, term, json, journald"),
    ] {
        let words = ["'x'", option, choices];
        refused(&with(&GOOD, &[option, "x"]), &[], &words);
    }
}

#[test]
fn an_engine_behind_tls_or_ssh_is_not_supported() {
    for (url, instead) in [
        (
            "https://192.0.2.1:2376",
            "TLS is not spoken; use unix:///PATH",
        ),
        (
            "ssh://root@192.0.2.1",
            "must run on the engine's own host; use unix:///PATH",
        ),
    ] {
        let words = ["is not supported", url, instead];
        refused(&with(&GOOD, &["--docker-host", url]), &[], &words);
        let inherited = [("DOCKER_HOST", url.into())];
        refused(&GOOD, &inherited, &with(&words, &["DOCKER_HOST: "]));
    }
    let verified = [
        ("DOCKER_HOST", "tcp://192.0.2.1:2376".into()),
        ("DOCKER_TLS_VERIFY", "1".into()),
    ];
    let words = ["DOCKER_TLS_VERIFY", "TLS is not supported", "unset it"];
    refused(&GOOD, &verified, &words);
    // Empty is unset.
    let unset = [("DOCKER_TLS_VERIFY", "".into())];
    let ended = run(&with(&GOOD, &["--docker-host", "tcp://192.0.2.1"]), &unset);
    assert!(!ended.said.contains("TLS"), "{ended:?}");
}

#[test]
fn an_engine_s_address_that_is_none_is_answered_with_the_forms() {
    for url in [
        "docker.sock",
        "unix://docker.sock",
        "tcp://::1:2375",
        "gopher://x",
    ] {
        let words = [url, "malformed", "expected unix:///PATH or tcp://HOST:PORT"];
        refused(&with(&GOOD, &["--docker-host", url]), &[], &words);
    }
}

#[test]
fn a_docker_socket_that_is_a_regular_file_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("docker.sock");
    fs::write(&path, "").expect("written");
    let url = format!("unix://{}", path.display());
    let words = [
        "--docker-host: ",
        &url,
        "is not a socket",
        "unix:///var/run/docker.sock",
    ];
    refused(&with(&GOOD, &["--docker-host", &url]), &[], &words);
}

#[test]
fn a_docker_socket_that_is_not_there_yet_is_accepted() {
    accepted(
        &with(&GOOD, &["--docker-host", "unix:///no/such.sock"]),
        &[],
    );
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("docker.sock");
    drop(UnixListener::bind(&path).expect("bound"));
    let url = format!("unix://{}", path.display());
    accepted(&with(&GOOD, &["--docker-host", &url]), &[]);
}

#[test]
fn a_bad_value_from_the_environment_names_its_variable() {
    for (name, value, words) in [
        (
            "DOCKER_NAT66_DEV",
            "eth0/1",
            ["--dev \"eth0/1\"", "cannot hold '/'"],
        ),
        (
            "DOCKER_NAT66_PREFIX",
            "10.0.0.0/8",
            ["IPv4", "such as fdfd:"],
        ),
        (
            "DOCKER_NAT66_BACKEND",
            "x",
            ["--backend", "auto, ip6tables"],
        ),
        (
            "DOCKER_NAT66_DOCKER_HOST",
            "ssh://h",
            ["not supported", "unix:///PATH"],
        ),
        ("DOCKER_NAT66_ON_EXIT", "x", ["--on-exit", "remove, keep"]),
        (
            "DOCKER_NAT66_STALE_GRACE",
            "soon",
            ["--stale-grace", "such as 30s"],
        ),
        (
            "DOCKER_NAT66_STALE_GRACE",
            "",
            ["--stale-grace", "such as 30s"],
        ),
        (
            "DOCKER_NAT66_LOG_LEVEL",
            "loud",
            ["--log-level", "warning, info"],
        ),
        (
            "DOCKER_NAT66_LOG_FORMAT",
            "xml",
            ["--log-format", "json, journald"],
        ),
    ] {
        let good = [
            ("DOCKER_NAT66_DEV", "eth0".into()),
            ("DOCKER_NAT66_PREFIX", "fd00::/64".into()),
            (name, OsString::from(value)),
        ];
        let origin = format!("comes from {name} in the environment");
        refused(&["run"], &good, &with(&words, &[&origin]));
    }
}

#[test]
fn a_variable_that_the_command_line_overrides_is_not_blamed() {
    let env = [("DOCKER_NAT66_DEV", "eth1".into())];
    let ended = run(&["--dev", "eth0/1", "--prefix", "fd00::/64"], &env);
    assert!(!ended.said.contains("environment"), "{ended:?}");
}

#[test]
fn a_variable_that_is_not_utf8_is_named() {
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let without_dev = &GOOD[2..];
    for (name, args) in [("DOCKER_NAT66_DEV", without_dev), ("DOCKER_HOST", &GOOD)] {
        refused(args, &[(name, odd.clone())], &[name, "not UTF-8"]);
    }
}

#[test]
fn a_state_directory_that_is_a_file_is_refused() {
    let ended = run(&GOOD, &[]);
    if rustix::process::geteuid().is_root() {
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let words = "latch is not a directory, choose another --state-dir or move it away";
        assert!(ended.said.contains(words), "{ended:?}");
        let origin = "comes from DOCKER_NAT66_STATE_DIR in the environment";
        assert!(ended.said.contains(origin), "{ended:?}");
    } else {
        assert_eq!(ended.code, Some(4), "{ended:?}");
    }
}
