//! Set-ups in which no packet gets through. `status` names each problem; its command, or the test
//! by hand, solves it, and the daemon recovers by itself.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::PROGRAM;
use crate::support::lab::daemon::{self, Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};
use crate::support::process;
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

/// The problems that `status` prints; checks that the exit code agrees.
fn problems(lab: &Lab, state_dir: &str) -> Result<Vec<(String, String)>, String> {
    let command = [PROGRAM, "status", "--state-dir", state_dir];
    let of = |args: &[&str]| lab.host().output(&[&command, args].concat());
    let (screen, json) = (of(&[]), of(&["--json"]));
    let status: Value = serde_json::from_slice(&json.stdout).map_err(|e| e.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told = status["problems"].as_array().ok_or("no problems")?;
    let told: Vec<_> = told
        .iter()
        .map(|p| (text(&p["id"]), text(&p["do"])))
        .collect();
    let code = i32::from(!told.is_empty());
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    for (id, remedy) in &told {
        let names = |line: &str| line.starts_with(&format!("fail  {id} "));
        let mends = |line: &str| {
            let line = line.trim_start().strip_prefix("do ");
            line.is_some_and(|line| line.trim_start() == remedy)
        };
        let is_shown = screen.lines().any(names);
        if !is_shown || !(remedy.is_empty() || screen.lines().any(mends)) {
            return Err(format!("no {id} with {remedy:?} in {screen}"));
        }
    }
    same(json.status.code(), Some(code)).map_err(|e| format!("{e:?}: {status}"))?;
    Ok(told)
}

/// Waits until `status` reports exactly these ids; returns the remedies.
#[track_caller]
fn shows_problems(lab: &Lab, ids: &[&str]) -> Vec<String> {
    let what = format!("the problems {ids:?}");
    eventually(SOON, &what, || {
        let (told, remedies): (Vec<_>, Vec<_>) = problems(lab, STATE_DIR)?.into_iter().unzip();
        match told == ids {
            true => Ok(remedies),
            false => Err(format!("{told:?}")),
        }
    })
}

/// The command in the only remedy.
#[track_caller]
fn remedy(lab: &Lab, id: &str) -> String {
    let mut remedies = shows_problems(lab, &[id]);
    remedies.pop().expect("one")
}

/// Waits until `status` reports exactly this problem, with this remedy.
#[track_caller]
fn advises(lab: &Lab, id: &str, remedy: &str) {
    let expected = [(id.to_owned(), remedy.to_owned())];
    eventually(SOON, remedy, || {
        let told = problems(lab, STATE_DIR)?;
        (told == expected).then_some(()).ok_or(format!("{told:?}"))
    });
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_keeps_packets_out_is_named_with_its_remedy() {
    let lab = Lab::up("health_host");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let host = lab.host();
    let mut daemon = Daemon::ready(&lab, &[&ARGS[..], &["--dev", "eth1"]].concat());
    shows_problems(&lab, &[]);
    lab.answers(Tcp, WEB, "web", CLIENT);

    host.sh("sysctl -qw net.ipv6.conf.all.forwarding=0");
    let mend = remedy(&lab, "forwarding");
    daemon.says("degraded: forwarding: net.ipv6.conf.all.forwarding is 0");
    lab.is_closed(Tcp, WEB);
    host.sh(&mend);
    shows_problems(&lab, &[]);
    daemon.says("no longer: forwarding");
    lab.answers(Tcp, WEB, "web", CLIENT);

    host.sh("sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1");
    let mend = remedy(&lab, "ipv6-disabled");
    host.sh(&mend);
    shows_problems(&lab, &[]);

    host.sh("ip link add br7 type bridge && ip link set eth1 master br7");
    advises(&lab, "bridge-port", "restart with --dev br7");
    host.sh("ip link set eth1 nomaster");
    shows_problems(&lab, &[]);

    host.sh("ip link set eth1 down && ip link set eth1 name wan1");
    shows_problems(&lab, &["no-device"]);
    host.sh("ip link property add dev wan1 altname eth1");
    advises(&lab, "no-device", "restart with --dev wan1");
    host.sh("ip link property del dev wan1 altname eth1 && ip link set wan1 name eth1");
    shows_problems(&lab, &[]);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn settings_that_fit_no_packet_are_named() {
    let lab = Lab::up("health_settings");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);

    let daemon = Daemon::ready(&lab, &["--dev", "eth0", "--prefix", "fd99::/64"]);
    let mend = remedy(&lab, "no-prefix-match");
    assert_eq!(mend, format!("restart with --prefix {PREFIX}"));
    // A container that publishes nothing causes no problem.
    engine.remove("web");
    shows_problems(&lab, &[]);
    daemon.leaves();

    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let wide = [&ARGS[..], &["--prefix", "2001:db8::/32"]].concat();
    let daemon = Daemon::ready(&lab, &wide);
    shows_problems(&lab, &["prefix-overlap"]);
    lab.is_closed(Tcp, WEB);
    daemon.leaves();

    let daemon = Daemon::ready(&lab, &ARGS);
    shows_problems(&lab, &[]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();

    let daemon = Daemon::start(&lab, &["--dev", "auto", "--prefix", PREFIX]);
    let mend = remedy(&lab, "no-egress");
    let mend = mend.replace("ROUTER", "2001:db8::2");
    lab.host().sh(&mend.replace("INTERFACE", "eth0"));
    shows_problems(&lab, &[]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    lab.host().sh("ip -6 route del default");
    shows_problems(&lab, &["no-egress"]);
    // Open ports stay open.
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_in_another_network_namespace_than_docker_says_so() {
    let lab = Lab::up("health_netns");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let before = rules::theirs(lab.client());
    lab.client().sh("sysctl -qw net.ipv6.conf.all.forwarding=1");
    let state = "/run/lab/home/elsewhere";
    let own = daemon::arguments(&ARGS, state);
    let control = ["--control", "/run/lab/elsewhere.sock"];
    let args = [&own[..], &control].concat();
    let log = lab.log("elsewhere");
    let mut child = lab.client().spawn(PROGRAM, &args, &log);
    eventually(SOON, "wrong-netns", || {
        let told = problems(&lab, state)?;
        let ids: Vec<_> = told.iter().map(|(id, _)| id.as_str()).collect();
        match ids == ["wrong-netns"] {
            true => Ok(()),
            false => Err(format!("{ids:?}")),
        }
    });
    process::signal(&child, rustix::process::Signal::TERM);
    let ended = process::wait(&mut child, "the daemon", SOON);
    assert!(ended.success(), "{ended}");
    assert_eq!(rules::theirs(lab.client()), before);
}

/// A proxy before the Engine's socket, which refuses some requests.
struct Proxy {
    rule: Arc<Mutex<Rule>>,
}

/// Which paths the proxy answers itself, and the answer.
type Rule = Option<(Box<dyn Fn(&str) -> bool + Send>, &'static str)>;

/// The answer of a proxy that refuses a request.
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// An answer that is valid JSON of the wrong shape.
const ODD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                   Connection: close\r\n\r\n[]";

impl Proxy {
    /// The URL for the daemon.
    const URL: &'static str = "unix:///run/lab/home/proxy.sock";

    fn up(lab: &Lab) -> Self {
        let rule = Arc::new(Mutex::new(None));
        let listener = UnixListener::bind(lab.home().join("proxy.sock")).expect("bind");
        let engine = PathBuf::from(format!("/proc/{}/root/run/docker.sock", lab.init()));
        let rules = Arc::clone(&rule);
        // The thread ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (engine, rules) = (engine.clone(), Arc::clone(&rules));
                thread::spawn(move || serve(client, &engine, &rules));
            }
        });
        Self { rule }
    }

    /// Answers requests for such paths itself, with this answer.
    fn answers(&self, is: impl Fn(&str) -> bool + Send + 'static, words: &'static str) {
        *self.rule.lock().expect("no panic") = Some((Box::new(is), words));
    }

    fn passes_all_on(&self) {
        *self.rule.lock().expect("no panic") = None;
    }
}

/// Serves one request. Each connection carries one request, so that the proxy sees every path.
fn serve(mut client: UnixStream, engine: &PathBuf, rule: &Mutex<Rule>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.extend(byte),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    if let Some((is, answer)) = &*rule.lock().expect("no panic")
        && is(&path)
    {
        let _ = client.write_all(answer.as_bytes());
        return;
    }
    let Ok(mut server) = UnixStream::connect(engine) else {
        return;
    };
    let request = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    if server.write_all(request.as_bytes()).is_err() {
        return;
    }
    let (Ok(mut ended), Ok(watched)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        // When the client closes the connection, the request ends.
        let _ = ended.read(&mut [0]);
        let _ = watched.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_a_socket_proxy_refuses_is_named_and_so_is_what_cannot_be_read() {
    let lab = Lab::up("health_proxy");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let proxy = Proxy::up(&lab);
    let args = [&ARGS[..], &["--docker-host", Proxy::URL]].concat();
    for path in ["/version", "/events", "/containers/json", "/networks"] {
        proxy.answers(move |asked| asked.contains(path), FORBIDDEN);
        let daemon = Daemon::start(&lab, &args);
        let told = shows_problems(&lab, &["engine-refuses"]);
        assert!(told[0].contains("/version, /events"), "{told:?}");
        let screen = daemon.command(&["status"]).stdout;
        let screen = String::from_utf8_lossy(&screen).into_owned();
        assert!(screen.contains(&format!("{path} was refused")), "{screen}");
        assert!(screen.contains("\nwait  for "), "{screen}");
        proxy.passes_all_on();
        shows_problems(&lab, &[]);
        lab.answers(Tcp, WEB, "web", CLIENT);
        daemon.leaves();
    }
    // The daemon pings only now and then, and keeps what it knows.
    let mut daemon = Daemon::ready(&lab, &args);
    proxy.answers(|asked| asked.contains("/_ping"), FORBIDDEN);
    shows_problems(&lab, &["engine-refuses"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    proxy.passes_all_on();
    shows_problems(&lab, &[]);
    assert!(!daemon.log().contains("not reachable"), "{}", daemon.log());
    // Only an inspect shows what a starting container publishes.
    let is_inspect = |asked: &str| asked.ends_with("/json") && !asked.contains("/containers/json");
    proxy.answers(is_inspect, ODD);
    engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
    shows_problems(&lab, &["unreadable"]);
    daemon.says("a container cannot be inspected");
    lab.answers(Tcp, WEB, "web", CLIENT);
    lab.is_closed(Tcp, "[2001:db8::1]:8081");
    proxy.passes_all_on();
    shows_problems(&lab, &[]);
    lab.answers(Tcp, "[2001:db8::1]:8081", "new", CLIENT);
    daemon.leaves();
}
