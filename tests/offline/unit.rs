//! What systemd's unit does after the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const UNIT: &str = include_str!("../../src/assets/docker-nat66.service");

/// Writes down how it was called. With `FAILS` in the environment it fails, unless it is given the
/// state directory.
const PROGRAM: &str = "#!/bin/sh\necho \"$*\" >>\"$CALLS\"\n[ -z \"$FAILS\" ] || [ \"${*%--state-dir*}\" != \"$*\" ]\n";

#[test]
fn what_systemd_does_not_start_again_leaves_no_rules() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("program");
    fs::write(&program, PROGRAM).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    let unit = UNIT.replace("\\\n", "");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStopPost=/bin/sh -c '"));
    let script = line.and_then(|it| it.strip_suffix('\'')).expect("a script");
    // As systemd reads it; see systemd.service(5), "Command lines".
    let script = script.replace("$$", "$").replace(
        "/usr/local/sbin/docker-nat66",
        program.to_str().expect("UTF-8"),
    );
    let calls = |code: &str, status: &str, more: &[(&str, &str)]| {
        let calls = dir.path().join("calls");
        let _ = fs::remove_file(&calls);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).env_clear();
        command.env("EXIT_CODE", code).env("EXIT_STATUS", status);
        command.env("CALLS", &calls).envs(more.iter().copied());
        let ended = command.output().expect("a shell");
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.stderr.is_empty(), "{ended:?}");
        let calls = fs::read_to_string(&calls).unwrap_or_default();
        calls.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let cleanup = "cleanup --log-level info --log-format auto";
    let keep = ("DOCKER_NAT66_ON_EXIT", "keep");
    for status in ["2", "4"] {
        assert_eq!(calls("exited", status, &[]), [cleanup]);
        assert_eq!(calls("exited", status, &[keep]), [""; 0]);
    }
    // A state directory that is the mistake.
    let elsewhere = format!("{cleanup} --state-dir /var/lib/docker-nat66");
    assert_eq!(
        calls("exited", "2", &[("FAILS", "1")]),
        [cleanup, &elsewhere]
    );
    for (code, status) in [
        ("exited", "0"),
        ("exited", "1"),
        ("exited", "70"),
        ("exited", "203"),
        ("killed", "KILL"),
        ("killed", "2"),
        ("dumped", "ABRT"),
    ] {
        assert_eq!(calls(code, status, &[]), [""; 0], "{code} {status}");
    }
}

#[test]
fn the_unit_lets_the_daemon_listen_to_tcp_only() {
    let settings: Vec<&str> = UNIT
        .lines()
        .filter(|line| line.starts_with("SocketBind"))
        .collect();
    // Any port, for that of --metrics is free to choose (systemd.resource-control(5), SocketBindAllow=).
    assert_eq!(settings, ["SocketBindDeny=any", "SocketBindAllow=tcp"]);
}
