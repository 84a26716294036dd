//! It changes nothing: no file, no rule, no setting; and needs no root.

use std::fs;
use std::process::Command;

use super::{Checked, report};
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::shell::sh;

/// Everything that could be changed, without times and counters of packets.
const STATE: &str = "nft -a list ruleset
for variant in nft legacy; do ip6tables-$variant-save | sed '/^#/d; s/ \\[.*\\]$//'; done
ip -6 route
sysctl -a 2>/dev/null | grep '^net.ipv6' | sort
ls -laR --time-style=full-iso /run";

/// Rules in every place that is read.
const RULES: &str = "ip6tables -A FORWARD -s fd99::/64 -j DROP
ip6tables -t nat -A POSTROUTING -s fd99::/64 -j MASQUERADE
ip6tables-legacy -A FORWARD -s fd99::/64 -j DROP
ip6tables-legacy -t nat -A POSTROUTING -s fd99::/64 -j MASQUERADE
nft 'add table inet myfw { chain fw { type filter hook forward priority 10; policy drop;
  ct state vmap { established : accept, invalid : drop }; ip6 daddr { fd99::1, fd99::2 } accept; }; }'";

/// System calls that change something, whatever their arguments; netlink has its own test.
const CHANGES: &str = "unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,link,linkat,\
    symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,truncate,ftruncate,mount,\
    umount2,mknod,mknodat,setxattr,fsetxattr,utimensat,sethostname,init_module,finit_module,\
    delete_module,unshare,setns";

#[test]
#[ignore = "needs root: run by tests/run"]
fn nothing_is_written_and_no_rule_is_touched() {
    namespace::fresh(|| {
        let host = Checked::new();
        let engine = FakeEngine::start();
        engine.put(FakeContainer::new(1, "web").publish(8080, 80));
        let url = format!("unix://{}", engine.socket().display());
        sh(RULES);
        // What the tools themselves make at their first run, in an empty /run.
        let _ = sh(STATE);
        let before = sh(STATE);
        let dir = tempfile::tempdir().expect("a directory");
        let trace = dir.path().join("trace").display().to_string();
        let wrapper = ["strace", "-f", "-qq", "-o", &trace];
        let calls = format!("trace=open,openat,creat,sendto,sendmsg,{CHANGES}");
        let wrapper = [&wrapper[..], &["-e", &calls]].concat();
        let output = host.output(&wrapper, &["--json", "--docker-host", &url]);
        let lines = report(&output);
        assert!(lines.iter().all(|line| line.result != "skip"), "{lines:#?}");
        let after = sh(STATE);
        let changed = before
            .lines()
            .zip(after.lines())
            .find(|(before, after)| before != after);
        assert!(
            changed.is_none() && after.len() == before.len(),
            "{changed:?}"
        );
        let traced = fs::read_to_string(&trace).expect("a trace");
        assert!(traced.contains("NFT_MSG_GETRULE"), "{traced}");
        for line in traced.lines() {
            let call = line
                .split_once(' ')
                .map_or(line, |(_, call)| call.trim_start());
            let name = call.split('(').next().unwrap_or_default();
            let bad = match name {
                "open" | "openat" => {
                    let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"];
                    let is_null = call.contains("\"/dev/null\"");
                    writes.iter().any(|flag| call.contains(flag)) && !is_null
                }
                // Requests over netlink: only those that list.
                "sendto" | "sendmsg" => [
                    "NFT_MSG_NEW",
                    "NFT_MSG_DEL",
                    "RTM_NEW",
                    "RTM_DEL",
                    "RTM_SET",
                ]
                .iter()
                .any(|kind| call.contains(kind)),
                _ => CHANGES.split(',').any(|change| change.trim() == name),
            };
            assert!(!bad, "{line}");
        }
        // Of the Engine, nothing but what is asked with GET.
        let requests = engine.request_lines();
        assert!(
            requests.iter().all(|line| line.starts_with("GET ")),
            "{requests:?}"
        );
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn without_privileges_it_skips_what_it_may_not_see_and_fails_at_nothing() {
    namespace::fresh(|| {
        let host = Checked::new();
        let engine = FakeEngine::start();
        engine.put(FakeContainer::new(1, "web").publish(8080, 80));
        let socket = engine.socket().display().to_string();
        let url = format!("unix://{socket}");
        sh(RULES);
        sh(&format!(
            "chmod 600 {socket}; chmod 755 $(dirname {socket})"
        ));
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        ];
        let ended = host.output(&nobody, &["--docker-host", &url]);
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stderr.is_empty(), "{ended:?}");
        let lines = report(&host.output(&nobody, &["--json", "--docker-host", &url]));
        let skipped: Vec<&str> = lines
            .iter()
            .filter(|line| line.result == "skip")
            .map(|line| line.id.as_str())
            .collect();
        let expected = [
            "netns",
            "docker",
            "docker-proxy-socket",
            "docker-ipv6",
            "mixed-rules",
            "forward-drop",
            "firewalld",
            "ufw",
            "rpfilter",
            "docker-native",
            "privilege",
            "leftovers",
        ];
        for id in expected {
            assert!(skipped.contains(&id), "{id}: {lines:#?}");
        }
        let docker = lines
            .iter()
            .find(|line| line.id == "docker")
            .expect("a line");
        assert!(docker.found.contains("permission denied"), "{docker:?}");
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn beside_a_daemon_what_was_not_given_is_what_the_daemon_has() {
    namespace::fresh(|| {
        // Without a default route.
        let scene = Scene::new(Backend::Nftables);
        let engine = FakeEngine::start();
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        let address = |args: &[&str]| {
            let mut command = Command::new(PROGRAM);
            command.env_clear().args(["check", "--json"]).args(args);
            command.arg("--state-dir").arg(scene.state_dir());
            let engine = format!("unix://{}", engine.socket().display());
            command.arg("--docker-host").arg(engine);
            let mut lines = report(&command.output().expect("runs"));
            lines.retain(|line| line.id == "address");
            lines.pop().map(|line| (line.result, line.found))
        };
        let line = |result: &str, found: &str| Some((result.to_owned(), found.to_owned()));
        let known = line("ok", "eth0 has 2001:db8::1");
        let unknown = line("skip", "no egress interface is known");
        assert_eq!(address(&[]), known);
        assert_eq!(address(&["--dev", "auto"]), unknown);
        daemon.leaves();
        assert_eq!(address(&[]), unknown);
    });
}
