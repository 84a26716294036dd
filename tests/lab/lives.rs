//! A forward through its container's life.

use serde_json::Value;

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::Published;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// The forward from port 8080 of the host to the container's port 80.
fn open(engine: &Engine<'_>, name: &str) -> Published {
    let addr = engine.address(name);
    Published::new("eth0 tcp * 8080", format!("[{addr}]:80"))
}

/// Kills the container's process, as a crash would.
fn crash(lab: &Lab, engine: &Engine<'_>, name: &str) {
    let pid = engine.docker(&["inspect", "-f", "{{.State.Pid}}", name]);
    lab.host().run(&["kill", "-9", &pid]);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_restarted_container_is_reached_again_at_the_address_it_has_then() {
    let lab = Lab::up("lives_restart");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    engine.docker(&["restart", "web"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    engine.settles("one rule after a restart", &[open(&engine, "web")]);

    let before = engine.address("web");
    engine.docker(&["stop", "web"]);
    engine.run("squatter", &[], &["tcp:80"]);
    assert_eq!(engine.address("squatter"), before, "the address was reused");
    engine.settles("nothing while it is stopped", &[]);
    lab.is_closed(Tcp, &to);
    engine.docker(&["start", "web"]);
    assert_ne!(engine.address("web"), before);
    lab.answers(Tcp, &to, "web", CLIENT);
    engine.settles("the new address", &[open(&engine, "web")]);
    engine.docker(&["kill", "web"]);
    engine.settles("nothing after docker kill", &[]);
    lab.is_closed(Tcp, &to);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn pause_and_unpause_keep_the_forward_and_its_connections() {
    let lab = Lab::up("lives_pause");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    let mut line = lab.connect(&to);
    engine.docker(&["pause", "web"]);
    engine.settles("the forward of a paused one", &[open(&engine, "web")]);
    engine.docker(&["unpause", "web"]);
    engine.settles("the forward of an unpaused one", &[open(&engine, "web")]);
    assert_eq!(line.echo("still here"), Ok("still here".to_owned()));
    lab.answers(Tcp, &to, "web", CLIENT);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_new_name_shows_in_dump_and_cuts_no_connection() {
    let lab = Lab::up("lives_rename");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    let mut line = lab.connect(&to);
    let names = || {
        let output = daemon.command(&["dump", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let forwards = rows.filter(|row: &Value| row["host_port"] == 8080);
        let mut names: Vec<String> = forwards
            .map(|row| row["container_name"].as_str().unwrap_or("?").to_owned())
            .collect();
        names.dedup();
        names
    };
    eventually(SOON, "the first name", || {
        same(names(), vec!["web".to_owned()])
    });
    engine.docker(&["rename", "web", "shop"]);
    eventually(SOON, "the new name", || {
        same(names(), vec!["shop".to_owned()])
    });
    assert_eq!(line.echo("still here"), Ok("still here".to_owned()));
    engine.settles("the same rule", &[open(&engine, "shop")]);
    engine.remove("shop");
    engine.settles("nothing left of either name", &[]);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_container_that_removes_itself_or_ends_at_once_leaves_nothing() {
    let lab = Lab::up("lives_short");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    engine.run("web", &["--rm", "-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    crash(&lab, &engine, "web");
    lab.is_closed(Tcp, &to);
    engine.settles("nothing of --rm", &[]);
    let brief = ["--entrypoint=/bin/busybox", "-p", "8080:80", "lab", "true"];
    for rm in ["--rm", "--rm", "--rm", "-i", "-i", "-i"] {
        engine.docker(&[&["run", rm][..], &brief].concat());
    }
    engine.settles("nothing of what ended at once", &[]);
    lab.is_closed(Tcp, &to);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_restart_policy_reopens_what_a_crash_closed_and_a_flapping_one_leaves_nothing() {
    let lab = Lab::up("lives_policy");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    for policy in ["--restart=always", "--restart=on-failure:3"] {
        engine.run("web", &[policy, "-p", "8080:80"], &["tcp:80"]);
        lab.answers(Tcp, &to, "web", CLIENT);
        crash(&lab, &engine, "web");
        eventually(SOON, "the Engine to start it again", || {
            let field = "{{.RestartCount}} {{.State.Running}}";
            let state = engine.docker(&["inspect", "-f", field, "web"]);
            same(state, "1 true".to_owned())
        });
        lab.answers(Tcp, &to, "web", CLIENT);
        engine.settles(policy, &[open(&engine, "web")]);
        engine.remove("web");
    }
    let brief = ["--entrypoint=/bin/busybox", "-p", "8080:80", "lab", "true"];
    let flap = ["run", "-d", "--restart=always", "--name=flap"];
    engine.docker(&[&flap[..], &brief].concat());
    eventually(SOON, "some restarts", || {
        let count = engine.docker(&["inspect", "-f", "{{.RestartCount}}", "flap"]);
        (count.parse::<u32>().unwrap() > 3)
            .then_some(())
            .ok_or(count)
    });
    engine.remove("flap");
    engine.settles("nothing of the flapping one", &[]);
    lab.is_closed(Tcp, &to);
    daemon.leaves();
}
