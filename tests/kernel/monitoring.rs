//! What monitoring and the operator get of a running daemon: metrics, health checks, `reload` and
//! `log-level`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use crate::running::{are_open, change, container, engine, replace};
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::wait::{SOON, eventually, until};

const ADDRESS: &str = "127.0.0.1:9166";

/// Sends a request and reads the whole answer: its head and its body.
fn ask<S: Read + Write>(mut stream: S, request: &str) -> (String, String) {
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn get(path: &str) -> (String, String) {
    let stream = TcpStream::connect(ADDRESS).expect("it listens");
    ask(stream, &format!("GET {path}"))
}

/// The samples of a text, by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

fn scrape() -> BTreeMap<String, f64> {
    samples(&get("/metrics").1)
}

fn command(scene: &Scene, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).arg("--state-dir").arg(scene.state_dir());
    command.output().expect("it runs")
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8(text).expect("UTF-8"),
    )
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn metrics_count_what_the_daemon_does_and_health_checks_say_whether_it_can() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(&[(2, 8080)]);
        let mut daemon = Daemon::ready(&scene, &engine, &["--metrics", ADDRESS]);
        change(&engine, &[(2, 8080)], &[(2, 8080), (3, 8081)]);
        let followed = |events: f64| {
            let count = "docker_nat66_event_to_rule_seconds_count";
            until(&format!("{events} events"), || scrape()[count] == events);
        };
        followed(1.0);
        change(&engine, &[(2, 8080), (3, 8081)], &[(2, 8080)]);
        followed(2.0);
        // A scrape does not wait for a slow reading: the next one has it.
        let counted =
            "docker_nat66_connections_total{port=\"8080\",proto=\"tcp\",container=\"c2\"}";
        until("the connections", || scrape().contains_key(counted));
        let (head, text) = get("/metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        let samples = samples(&text);
        for (sample, value) in [
            ("docker_nat66_ready", 1.0),
            ("docker_nat66_docker_connected", 1.0),
            ("docker_nat66_docker_reconnects_total", 0.0),
            ("docker_nat66_forwards{state=\"wanted\"}", 1.0),
            ("docker_nat66_forwards{state=\"applied\"}", 1.0),
            ("docker_nat66_event_to_rule_seconds_count", 2.0),
            (
                "docker_nat66_event_to_rule_seconds_bucket{le=\"+Inf\"}",
                2.0,
            ),
            (
                "docker_nat66_connections_total{port=\"8080\",proto=\"tcp\",container=\"c2\"}",
                0.0,
            ),
            (
                "docker_nat66_connections_total{port=\"other\",proto=\"other\",container=\"other\"}",
                0.0,
            ),
            ("docker_nat66_degraded{reason=\"forwarding\"}", 0.0),
            ("docker_nat66_degraded{reason=\"log\"}", 0.0),
            ("docker_nat66_closed_ports{reason=\"label\"}", 0.0),
            (
                "docker_nat66_rule_changes_total{op=\"remove\",kind=\"dnat\",outcome=\"ok\"}",
                1.0,
            ),
            (
                "docker_nat66_rule_changes_total{op=\"insert\",kind=\"dnat\",outcome=\"ok\"}",
                2.0,
            ),
        ] {
            assert_eq!(samples.get(sample), Some(&value), "{sample}: {text}");
        }
        for more in [
            "docker_nat66_journal_sync_seconds_count",
            "docker_nat66_apply_seconds_count{op=\"insert\"}",
            "docker_nat66_resyncs_total{reason=\"first-list\"}",
            "docker_nat66_last_resync_timestamp_seconds",
            "docker_nat66_rules",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
        ] {
            assert!(
                samples.get(more).is_some_and(|v| *v > 0.0),
                "{more}: {text}"
            );
        }
        assert!(
            text.contains("docker_nat66_build_info{version=\""),
            "{text}"
        );

        // The same over the control socket, and in a file.
        let output = command(&scene, &["metrics"]);
        let (code, printed) = said(&output);
        assert_eq!(code, Some(0), "{printed}");
        let names = |text: &str| -> Vec<String> {
            let heads = text.lines().filter(|line| line.starts_with("# TYPE"));
            heads.map(str::to_owned).collect()
        };
        assert_eq!(names(&printed), names(&text));
        let file = scene.state_dir().with_file_name("nat66.prom");
        let path = file.to_str().expect("UTF-8");
        assert_eq!(
            said(&command(&scene, &["metrics", "--write", path])),
            (Some(0), String::new())
        );
        assert_eq!(
            names(&fs::read_to_string(&file).expect("written")),
            names(&text)
        );

        let health = |path| {
            let (head, body) = get(path);
            (head[9..12].to_owned(), body)
        };
        let ok = ("200".to_owned(), "ok\n".to_owned());
        assert_eq!((health("/healthz"), health("/readyz")), (ok.clone(), ok));
        assert_eq!(health("/nothing").0, "404");
        let stream = TcpStream::connect(ADDRESS).expect("it listens");
        let (head, _) = ask(stream, "POST /metrics");
        assert!(head.starts_with("HTTP/1.1 405"), "{head}");
        // Clients that say nothing take all its connections, until their time is over.
        let silent: Vec<TcpStream> = (0..8)
            .map(|_| TcpStream::connect(ADDRESS).expect("it listens"))
            .collect();
        assert_eq!(health("/readyz").0, "200");
        drop(silent);

        // A journal that hangs is an illness; an Engine that is away is none.
        drop(engine);
        let docker = "docker_nat66_degraded{reason=\"docker\"}";
        until("the loss", || scrape().get(docker) == Some(&1.0));
        assert_eq!(scrape()["docker_nat66_docker_connected"], 0.0);
        assert_eq!(
            (health("/healthz").0, health("/readyz").0),
            ("200".into(), "200".into())
        );
        daemon.leaves();
        let (code, words) = said(&command(&scene, &["metrics", "--write", path]));
        assert_eq!(code, Some(3), "{words}");
        assert!(words.contains("no daemon runs"), "{words}");
        assert!(!file.exists());
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_reload_is_over_when_it_says_so_and_the_log_says_more_on_demand() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(&[(2, 8080)]);
        let socket = scene.state_dir().with_file_name("metrics.sock");
        let address = format!("unix:{}", socket.display());
        let args = ["--metrics", &address, "--metrics-connections", "off"];
        let mut daemon = Daemon::ready(&scene, &engine, &args);
        let stream = UnixStream::connect(&socket).expect("it listens");
        assert!(ask(stream, "GET /readyz").0.starts_with("HTTP/1.1 200"));
        let (_, printed) = said(&command(&scene, &["metrics"]));
        assert!(!printed.contains("connections_total"), "{printed}");
        let nothing = (Some(0), "resync done: nothing to do\n".to_owned());
        eventually(SOON, "nothing to do", || {
            let is = said(&command(&scene, &["reload"]));
            if is == nothing { Ok(()) } else { Err(is) }
        });
        // A change without an event is made when `reload` returns.
        replace(&engine, &[(2, 8080), (3, 8081)]);
        let (code, words) = said(&command(&scene, &["reload"]));
        assert_eq!(code, Some(0), "{words}");
        assert!(words.starts_with("resync done: "), "{words}");
        assert!(words.contains(" inserted"), "{words}");
        assert!(are_open(
            &daemon.rows().expect("rows"),
            &[(2, 8080), (3, 8081)]
        ));
        daemon.says("resync done: ");

        assert!(!scene.log().contains("round done"));
        let levels = [
            ("debug", "log level: debug\n"),
            ("info", "log level: info\n"),
        ];
        let is = said(&command(&scene, &["log-level", levels[0].0]));
        assert_eq!(is, (Some(0), levels[0].1.to_owned()));
        engine.die(&container(3, 8081).id);
        daemon.says("round done");
        let is = said(&command(&scene, &["log-level", levels[1].0]));
        assert_eq!(is, (Some(0), levels[1].1.to_owned()));
        assert_eq!(
            command(&scene, &["log-level", "loud"]).status.code(),
            Some(2)
        );

        drop(engine);
        daemon.until("the loss", |status| !status.docker.connected);
        let (code, words) = said(&command(&scene, &["reload"]));
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("Docker is not reachable"), "{words}");
        daemon.leaves();
        assert!(!socket.exists());
        let (code, words) = said(&command(&scene, &["reload"]));
        assert_eq!(code, Some(3), "{words}");
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn the_log_names_each_port_once_and_of_very_many_the_container() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(&[]);
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        change(&engine, &[], &[(2, 8080)]);
        daemon.says("NAT66 add portfwd: nft add element ip6 docker_nat66 forwards { tcp . 8080 ");
        let lines = |words: &str| {
            let log = scene.log();
            let lines = log.lines().filter(|line| line.contains(words));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let added = lines("NAT66 add portfwd");
        let id: String = container(2, 8080).id.chars().take(12).collect();
        let fields = format!(
            "port: 8080/tcp, to: [{}]:80, container: c2, container_id: {id}, rules: 1, after_ms: ",
            container(2, 8080).address.expect("one")
        );
        assert!(added.len() == 1 && added[0].contains(&fields), "{added:#?}");

        let mut many = container(3, 20_000);
        for port in 1..=100 {
            many = many.publish(20_000 + port, 1_000 + port);
        }
        engine.run(many);
        daemon.says("very many ports");
        let added = lines("NAT66 add portfwd");
        assert_eq!(added.len(), 2, "{added:#?}");
        let counts = "each named at level debug, container: c3, container_id: ";
        assert!(added[1].contains(counts), "{added:#?}");
        assert!(
            added[1].contains("ports: 101, rules: 101, after_ms: "),
            "{added:#?}"
        );
        daemon.leaves();
        assert_eq!(lines("NAT66 del portfwd").len(), 2);
    });
}
