//! A container's labels keep ports closed.

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::Published;
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::wait::{SOON, eventually};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn enable_false_keeps_a_container_out_and_ports_narrow_what_docker_publishes() {
    let lab = Lab::up("labels");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let tcp = format!("[{HOST}]:8080");
    let udp = format!("[{HOST}]:8053");
    let ports = ["-p", "8080:80", "-p", "8053:53/udp"];
    let with = |label: &str| {
        let label = format!("--label=docker-nat66.{label}");
        engine.run(
            "web",
            &[&[&*label][..], &ports].concat(),
            &["tcp:80", "udp:53"],
        );
    };
    with("enable=false");
    engine.settles("enable=false", &[]);
    lab.is_closed(Tcp, &tcp);
    lab.is_closed(Udp, &udp);
    engine.remove("web");

    with("enable=true");
    lab.answers(Tcp, &tcp, "web", CLIENT);
    lab.answers(Udp, &udp, "web", CLIENT);
    engine.remove("web");

    // Port 81 is not published, and a label does not open it.
    with("ports=53/udp,81/tcp");
    lab.answers(Udp, &udp, "web", CLIENT);
    let only = Published::new("eth0 udp * 8053", format!("[{}]:53", engine.address("web")));
    engine.settles("53/udp alone", &[only]);
    lab.is_closed(Tcp, &tcp);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_malformed_label_opens_nothing_and_is_named_in_log_status_and_dump() {
    let lab = Lab::up("labels_malformed");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    let to = format!("[{HOST}]:8080");
    for (label, value) in [
        ("docker-nat66.enable", "yes please"),
        ("docker-nat66.ports", "80/icmp"),
        ("docker-nat66.allow", "192.0.2.0/24"),
        ("docker-nat66.allowed", "2001:db8::/32"),
    ] {
        let option = format!("--label={label}={value}");
        engine.run("odd", &[&option, "-p", "8080:80"], &["tcp:80"]);
        engine.settles(label, &[]);
        lab.is_closed(Tcp, &to);
        let named = |text: &str| [label, value, "odd"].iter().all(|word| text.contains(word));
        let line = daemon.says(&format!("{label}=\"{value}\""));
        assert!(named(&line), "log: {line}");
        let commands: [&[&str]; 4] = [
            &["status"],
            &["status", "--json"],
            &["dump"],
            &["dump", "--json"],
        ];
        for command in commands {
            eventually(SOON, &format!("{label} in {command:?}"), || {
                let output = daemon.command(command);
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if named(&text) { Ok(()) } else { Err(text) }
            });
        }
        engine.remove("odd");
    }
    // Only that container had a malformed label.
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &to, "web", CLIENT);
    daemon.leaves();
}
