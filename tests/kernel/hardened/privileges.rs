//! What the daemon may do, what its tools inherit, and what it leaves for others to see.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::running::{Running, engine};
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::shell::sh;
use crate::support::toolbox::Toolbox;
use crate::support::wait::PATIENCE;

/// CAP_NET_ADMIN and CAP_NET_RAW, 12 and 13.
const NEEDED: &str = "0000000000003000";
const NOTHING: &str = "0000000000000000";

/// What runs.
const WEB: &Running = &[(2, 8080)];

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn every_thread_and_tool_of_root_s_daemon_has_two_capabilities_and_gets_no_more() {
    namespace::fresh(|| {
        let tools = Toolbox::installed("nft");
        tools.behave("grep -E '^(Cap|NoNew)' /proc/self/status >>/run/seen");
        let (scene, engine) = (Scene::new(Backend::Ip6tables), engine(WEB));
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        let tasks = format!("/proc/{}/task", daemon.id());
        let mut threads = 0;
        for task in fs::read_dir(tasks).expect("it runs").flatten() {
            // The one that looks once at the host may end meanwhile.
            let Ok(status) = fs::read_to_string(task.path().join("status")) else {
                continue;
            };
            let line = |name: &str| {
                let found = status.lines().find_map(|line| line.strip_prefix(name));
                found.unwrap_or_default().trim().to_owned()
            };
            for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
                assert_eq!(line(set), NEEDED, "{set} {status}");
            }
            for set in ["CapInh:", "CapAmb:"] {
                assert_eq!(line(set), NOTHING, "{set} {status}");
            }
            assert_eq!(line("NoNewPrivs:"), "1", "{status}");
            threads += 1;
        }
        assert!(threads > 3, "{threads}");
        // Those that look before the daemon is set up may still load modules.
        fs::write("/run/seen", "").expect("written");
        daemon.leaves();
        let tools = fs::read_to_string("/run/seen").expect("tools were called");
        assert!(tools.contains("CapEff"), "{tools}");
        for line in tools.lines() {
            let (name, value) = line.split_once(":\t").expect("a line");
            let expected = match name {
                "CapInh" | "CapAmb" => NOTHING,
                "NoNewPrivs" => "1",
                _ => NEEDED,
            };
            assert_eq!(value, expected, "{name}");
        }
    });
}

/// DESIGN, invariant 14.
#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn every_tool_of_the_daemon_holds_its_locks() {
    namespace::fresh(|| {
        let tools = Toolbox::installed("nft");
        tools.behave("{ echo run; readlink /proc/$$/fd/*; } >>/run/held");
        let (scene, engine) = (Scene::new(Backend::Ip6tables), engine(WEB));
        // The test has called the tool itself.
        fs::write("/run/held", "").expect("written");
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        daemon.leaves();
        let held = fs::read_to_string("/run/held").expect("tools were called");
        let count = |is: &dyn Fn(&str) -> bool| held.lines().filter(|line| is(line)).count();
        let runs = count(&|line| line == "run");
        let tool_lock = scene.state_dir().join("tool.lock").display().to_string();
        assert!(runs > 0);
        assert_eq!(count(&|line| line == tool_lock), runs, "{held}");
        let netns = "/run/docker-nat66/netns-";
        assert_eq!(count(&|line| line.starts_with(netns)), runs, "{held}");
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn tools_are_not_looked_for_in_path_and_inherit_nothing_of_the_environment() {
    namespace::fresh(|| {
        let tools = Toolbox::installed("nft");
        tools.behave("env >>/run/environment");
        // What a PATH of somebody's choice would find.
        sh(
            "mkdir /run/evil; for tool in sh modprobe ip6tables ip6tables-save ip6tables-restore \
            ip6tables-nft-save ip6tables-nft-restore nft; do \
            printf '#!/bin/sh\\ntouch /run/fooled\\n' >/run/evil/$tool; \
            chmod 755 /run/evil/$tool; done",
        );
        let (scene, engine) = (Scene::new(Backend::Ip6tables), engine(WEB));
        let mut command = scene.daemon(engine.socket());
        command
            .env("PATH", "/run/evil")
            .env("SHELL", "/run/evil/sh")
            .env("XTABLES_LIBDIR", "/run/evil")
            .env("LC_ALL", "tlh")
            .env("SECRET", "of the operator's");
        // The test has called the tool itself.
        fs::write("/run/environment", "").expect("written");
        let mut daemon = Daemon::logged(&scene, command);
        daemon.says("ready");
        daemon.leaves();
        assert!(!Path::new("/run/fooled").exists());
        let seen = fs::read_to_string("/run/environment").expect("tools were called");
        // What the shell adds is among them.
        let allowed = [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C",
            "PWD=/",
            "SHLVL=",
            "_=",
        ];
        for line in seen.lines() {
            assert!(allowed.iter().any(|a| line.starts_with(a)), "{line}");
        }
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn whatever_the_umask_nothing_in_the_state_directory_is_for_others() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        // The second time after damage: a quarantine and a new journal.
        for damaged in [false, true] {
            if damaged {
                scene.damage_journal();
            }
            let engine = engine(WEB);
            let wrapper = ["sh", "-c", "umask 0; exec \"$@\"", "sh"];
            let command = scene.daemon_behind(&wrapper, engine.socket());
            let mut daemon = Daemon::logged(&scene, command);
            daemon.says("ready");
            let state = scene.state_dir();
            let open = sh(&format!(
                "find {} -perm /077 ! -type l; find /run/docker-nat66 -type f -perm /077",
                state.display()
            ));
            assert_eq!(open, "", "damaged: {damaged}");
            let mode = |path: &Path| {
                let found = fs::metadata(path).expect("it is there");
                found.permissions().mode() & 0o7777
            };
            assert_eq!(mode(&state), 0o700);
            assert_eq!(mode(&scene.control()), 0o600);
            assert_eq!(mode(Path::new("/run/docker-nat66")) & 0o022, 0);
            daemon.leaves();
        }
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_state_directory_of_somebody_else_or_behind_a_link_is_refused() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(WEB);
        let state = scene.state_dir();
        let path = state.display();
        let cases = [
            (
                format!("mkdir {path}; chown nobody {path}"),
                "belongs to uid 65534, it must belong to root or to the daemon's user",
            ),
            (
                format!("mv {path} {path}.real; ln -s {path}.real {path}"),
                "is a symbolic link",
            ),
        ];
        for (prepare, reason) in cases {
            sh(&prepare);
            let before = sh(&format!("find {path} {path}/"));
            let mut daemon = Daemon::start(&scene, &engine, &[]);
            let ended = daemon.ends_within(PATIENCE);
            let log = scene.log();
            assert_eq!(ended.and_then(|end| end.code()), Some(2), "{log}");
            assert!(log.contains(reason), "{log}");
            assert_eq!(sh(&format!("find {path} {path}/")), before);
            assert_eq!(scene.ours(), Vec::<String>::new());
        }
    });
}

/// Somebody without rights, and with CAP_NET_ADMIN and CAP_NET_RAW only.
const AS_NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--inh-caps=-all,+net_admin,+net_raw",
    "--ambient-caps=-all,+net_admin,+net_raw",
];

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn without_privilege_it_says_what_it_lacks_and_legacy_asks_for_root() {
    namespace::fresh(|| {
        // In this mount namespace only.
        sh(
            "mkdir /run/docker-nat66 /run/state; chown nobody /run/docker-nat66 /run/state; \
            chmod 700 /run/state; cp -a /etc/alternatives /run/alternatives; \
            for tool in ip6tables ip6tables-save ip6tables-restore; do \
            ln -sfn /usr/sbin/ip6tables-legacy${tool#ip6tables} /run/alternatives/$tool; done; \
            mount --bind /run/alternatives /etc/alternatives",
        );
        // The directories above the program may be closed to others.
        sh(&format!(
            "cp {PROGRAM} /run/program; chmod 755 /run/program"
        ));
        let run = |wrapper: &[&str]| {
            let args = [
                "--dev",
                "lo",
                "--prefix",
                "fdfd::/64",
                "--backend",
                "ip6tables",
            ];
            let output = Command::new("timeout")
                .arg("20")
                .args(wrapper)
                .args(["/run/program", "run", "--state-dir", "/run/state"])
                .args(args)
                .env_clear()
                .output()
                .expect("runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), said)
        };
        let (code, said) = run(&AS_NOBODY);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains("variant of ip6tables needs root"), "{said}");
        let (code, said) = run(&[&AS_NOBODY[..4], &["--inh-caps=-all"]].concat());
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains("needs CAP_NET_ADMIN"), "{said}");
    });
}
