//! What the Docker CLI hands over, and what becomes of it.

use clap::CommandFactory;

use super::*;

fn call(args: &[&str]) -> Result<Call, Failure> {
    read(args.iter().map(Into::into).collect(), true)
}

fn command(args: &[&str], host: Option<&str>) -> Call {
    Call::Command {
        args: args.iter().map(Into::into).collect(),
        asked: asked(host),
    }
}

fn asked(host: Option<&str>) -> Asked {
    Asked {
        host: host.map(Into::into),
        config: None,
        by_docker: true,
    }
}

#[test]
fn the_docker_cli_is_told_what_the_plugin_is() {
    let Ok(Call::Metadata(text)) = call(&[METADATA]) else {
        panic!("metadata");
    };
    let metadata: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(metadata["SchemaVersion"], "0.1.0");
}

#[test]
fn the_plugin_s_name_and_docker_s_options_go() {
    for (args, left, host) in [
        (
            &["nat66", "status", "--json"][..],
            &["status", "--json"][..],
            None,
        ),
        (&["-D", "-l", "info", "nat66", "dump"], &["dump"], None),
        (
            &["-H", "unix:///s", "nat66", "check"],
            &["check"],
            Some("unix:///s"),
        ),
        (
            &["--host=unix:///s", "nat66", "check"],
            &["check"],
            Some("unix:///s"),
        ),
        (
            &["-Hunix:///s", "nat66", "check"],
            &["check"],
            Some("unix:///s"),
        ),
        (
            &["-DH", "unix:///s", "nat66", "check"],
            &["check"],
            Some("unix:///s"),
        ),
        (
            &["-H=unix:///s", "nat66", "check"],
            &["check"],
            Some("unix:///s"),
        ),
        (
            &["-DHunix:///s?a=b", "nat66", "check"],
            &["check"],
            Some("unix:///s?a=b"),
        ),
        (&["-Dl", "info", "nat66", "check"], &["check"], None),
        (&["nat66", "nat66"], &["nat66"], None),
        (&["nat66"], &["--help"], None),
    ] {
        assert_eq!(call(args).expect("runs"), command(left, host), "{args:?}");
    }
    for args in [
        &["--context", "x", "nat66", "status"][..],
        &["--context=x", "nat66", "status"],
        &["-c", "x", "nat66", "status"],
        &["-Dcx", "nat66", "status"],
        &["--tls", "nat66", "check"],
        &["--tlscacert=x", "nat66", "check"],
    ] {
        assert_eq!(
            call(args).expect_err("refused").exit,
            Exit::Usage,
            "{args:?}"
        );
    }
}

#[test]
fn without_the_docker_cli_only_a_leading_name_goes() {
    let args = |args: &[&str]| args.iter().map(Into::into).collect::<Vec<OsString>>();
    for (given, left) in [
        (&["nat66", "status"][..], &["status"][..]),
        (&["--dev", "nat66"], &["--dev", "nat66"]),
        (&[], &[]),
    ] {
        let Ok(Call::Command { args: found, asked }) = read(args(given), false) else {
            panic!("a command: {given:?}");
        };
        assert_eq!((found, asked), (args(left), Asked::default()));
    }
}

/// What becomes of a command with these variables in the environment.
fn with(args: &[&str], asked: &Asked, variables: &[(&str, &str)]) -> Result<Vec<String>, Failure> {
    let cli = crate::cli::Cli::command();
    let mut args: Vec<OsString> = args.iter().map(Into::into).collect();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    with_engine_of(&mut args, asked, &cli, &variable)?;
    Ok(args
        .iter()
        .map(|it| it.to_string_lossy().into_owned())
        .collect())
}

#[test]
fn the_engine_goes_to_commands_that_ask_one() {
    let host = asked(Some("unix:///s"));
    let with = |args: &[&str]| with(args, &host, &[("DOCKER_CONTEXT", "x")]).expect("runs");
    assert_eq!(
        with(&["check", "--json"]),
        ["check", "--docker-host", "unix:///s", "--json"]
    );
    assert_eq!(with(&["status"]), ["status"]);
    let own = ["check", "--docker-host=unix:///own"];
    assert_eq!(with(&own), own);
}

#[test]
fn the_engine_of_a_context_is_refused_by_commands_that_ask_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().to_str().expect("UTF-8");
    fs::create_dir(dir.path().join(".docker")).expect("made");
    let file = dir.path().join(".docker/config.json");
    let docker = asked(None);
    let by_name = [("DOCKER_CONTEXT", "far\n"), ("HOME", home)];
    let by_file = [("HOME", home)];

    let refused = with(&["check"], &docker, &by_name).expect_err("refused");
    assert_eq!(refused.exit, Exit::Usage);
    assert!(
        refused
            .message
            .starts_with("the Docker context far\\n is not supported; name the Engine with"),
        "{}",
        refused.message
    );
    assert!(
        with(&["check"], &docker, &by_file).is_ok(),
        "there is no file"
    );
    for (settings, is_ok) in [
        (r#"{"currentContext": "far"}"#, false),
        (r#"{"currentContext": "default"}"#, true),
        (r#"{"auths": {}}"#, true),
        ("{", true),
    ] {
        fs::write(&file, settings).expect("written");
        assert_eq!(
            with(&["check"], &docker, &by_file).is_ok(),
            is_ok,
            "{settings}"
        );
    }

    let foreign = ["cleanup", "--foreign", "docker"];
    assert!(with(&foreign, &docker, &by_name).is_err());
    fs::write(&file, r#"{"currentContext": "far"}"#).expect("written");
    let configured = Asked {
        config: Some(dir.path().join(".docker").into()),
        ..asked(None)
    };
    assert!(with(&["check"], &configured, &[]).is_err());
    // What docker itself takes before a context, what names an Engine here, and who asks none.
    for (args, asked, more) in [
        (&["check"][..], &docker, ("DOCKER_HOST", "unix:///s")),
        (&["check"], &docker, ("DOCKER_CONTEXT", "default")),
        (
            &["check"],
            &docker,
            ("DOCKER_NAT66_DOCKER_HOST", "unix:///s"),
        ),
        (
            &["check", "--docker-host=unix:///s"],
            &docker,
            ("HOME", home),
        ),
        (&["status"], &docker, ("DOCKER_CONTEXT", "far")),
        (&["check", "--help"], &docker, ("DOCKER_CONTEXT", "far")),
        (&["cleanup"], &docker, ("DOCKER_CONTEXT", "far")),
        (&["check"], &Asked::default(), ("DOCKER_CONTEXT", "far")),
    ] {
        let variables = [more, ("HOME", home)];
        let found = with(args, asked, &variables).expect("runs");
        assert_eq!(found, args, "{more:?}");
    }
}
