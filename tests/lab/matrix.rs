//! `kill -9`, then a change, then the next start. After each row the kernel has exactly the desired
//! rules, each once, other programs' rules are untouched, and the journal agrees with the kernel.

use std::net::Ipv6Addr;

use crate::journal;
use crate::support::backend::{Backend, in_use};
use crate::support::lab::daemon::{self, Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Foreign, Published};
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, CLIENT_ETH1, HOST, HOST_ETH1, Lab};

/// What happens between the daemon's death and its next start.
struct Row {
    name: &'static str,
    meanwhile: fn(&Lab, &Engine<'_>),
    /// `DEV PREFIX` of the next start; before it was [`USUAL`].
    flags: &'static str,
    /// What the next start must log.
    says: &'static str,
    /// `DEV HOST-PORT CONTAINER` for each forward afterwards; before, `web` served port 8080.
    then: &'static [&'static str],
}

/// The daemon's flags before its death.
const USUAL: &str = "eth0 fdfd:5898:4917:1::/64";

/// A row in which nothing changes.
const SAME: Row = Row {
    name: "nothing",
    meanwhile: |_, _| {},
    flags: USUAL,
    says: "an earlier run left records",
    then: &["eth0 8080 web"],
};

/// What Docker or the operator changes.
const WISHES: [Row; 10] = [
    SAME,
    Row {
        name: "the container has gone",
        meanwhile: |_, engine| engine.remove("web"),
        then: &[],
        ..SAME
    },
    Row {
        name: "another container has come",
        meanwhile: |_, engine| {
            engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
        },
        then: &["eth0 8080 web", "eth0 8081 new"],
        ..SAME
    },
    Row {
        name: "the container has another address",
        meanwhile: |_, engine| {
            let before = engine.address("web");
            engine.docker(&["stop", "web"]);
            engine.run("squatter", &[], &["tcp:80"]);
            assert_eq!(engine.address("squatter"), before, "the address was reused");
            engine.docker(&["start", "web"]);
        },
        ..SAME
    },
    Row {
        name: "another container has the port and the address",
        meanwhile: |_, engine| {
            engine.remove("web");
            engine.run("heir", &["-p", "8080:80"], &["tcp:80"]);
        },
        then: &["eth0 8080 heir"],
        ..SAME
    },
    Row {
        name: "another container has the port, on another address",
        meanwhile: |_, engine| {
            engine.remove("web");
            engine.run("squatter", &[], &["tcp:80"]);
            engine.run("heir", &["-p", "8080:80"], &["tcp:80"]);
        },
        then: &["eth0 8080 heir"],
        ..SAME
    },
    Row {
        name: "the daemon's interface is another",
        flags: "eth1 fdfd:5898:4917:1::/64",
        then: &["eth1 8080 web"],
        ..SAME
    },
    Row {
        name: "the daemon's prefix is wider",
        flags: "eth0 fdfd:5898:4917::/48",
        ..SAME
    },
    Row {
        name: "the daemon's prefix is another",
        flags: "eth0 fd00:5898:4917:1::/64",
        then: &[],
        ..SAME
    },
    Row {
        name: "the daemon's interface and prefix are others",
        flags: "eth1 fdfd:5898:4917::/48",
        then: &["eth1 8080 web"],
        ..SAME
    },
];

/// What happens to the journal and the kernel.
const BLOWS: [Row; 8] = [
    Row {
        name: "the state directory is gone",
        meanwhile: |lab, _| {
            lab.host().sh(&format!("rm -r {STATE_DIR}"));
        },
        says: "adopted rules of ours that the journal did not know",
        ..SAME
    },
    Row {
        name: "the database is gone",
        meanwhile: |lab, _| {
            lab.host().sh(&format!("rm -r {STATE_DIR}/journal"));
        },
        says: "reason: the database has vanished",
        ..SAME
    },
    Row {
        name: "the database is garbage",
        meanwhile: |lab, _| {
            let db = format!("{STATE_DIR}/journal/db");
            lab.host().sh(&format!(
                "head -c $(stat -c %s {db}) /dev/urandom >{db}.new; mv {db}.new {db}"
            ));
        },
        says: "the journal could not be used, a new one was begun",
        ..SAME
    },
    Row {
        name: "the database is cut short, and the container has gone",
        meanwhile: |lab, engine| {
            lab.host()
                .sh(&format!("truncate -s 100 {STATE_DIR}/journal/db"));
            engine.remove("web");
        },
        says: "the journal could not be used, a new one was begun",
        then: &[],
        ..SAME
    },
    Row {
        name: "the journal is gone and the interface is another",
        meanwhile: |lab, _| {
            lab.host().sh(&format!("rm -r {STATE_DIR}"));
        },
        flags: "eth1 fdfd:5898:4917::/48",
        says: "adopted rules of ours that the journal did not know",
        then: &["eth1 8080 web"],
    },
    Row {
        name: "the machine seems to have booted",
        meanwhile: |lab, _| {
            lab.host()
                .sh("cat /proc/sys/kernel/random/uuid >/run/lab/boot_id
                 mount --bind /run/lab/boot_id /proc/sys/kernel/random/boot_id");
        },
        says: "removing the forwards of an earlier boot",
        ..SAME
    },
    Row {
        name: "the machine has booted: no rule is left, and no container",
        meanwhile: |lab, engine| {
            lab.host()
                .sh("cat /proc/sys/kernel/random/uuid >/run/lab/boot_id
                 mount --bind /run/lab/boot_id /proc/sys/kernel/random/boot_id");
            lab.host().sh(in_use().wipe());
            engine.remove("web");
        },
        says: "recorded rules are not in the kernel any more",
        then: &[],
        ..SAME
    },
    Row {
        name: "somebody flushed the table",
        meanwhile: |lab, _| {
            lab.host().sh(in_use().wipe());
        },
        says: "recorded rules are not in the kernel any more",
        ..SAME
    },
];

/// What another program does to the daemon's rules in the tables of ip6tables.
const RULES: [Row; 3] = [
    Row {
        name: "somebody doubled our rules",
        meanwhile: |lab, _| {
            lab.host().sh("saved=$(ip6tables-save -t nat)
                 { echo '*nat'; echo \"$saved\" | grep 'docker-nat66:[0-9a-f]'; echo COMMIT; } |
                 ip6tables-restore --noflush");
        },
        says: "removing surplus or altered copies of our rules, count: 2",
        ..SAME
    },
    Row {
        name: "somebody restored the whole table twice",
        meanwhile: |lab, _| {
            lab.host()
                .sh("ip6tables-save -t nat | ip6tables-restore --noflush");
        },
        says: "removing surplus or altered copies of our rules, count: 2",
        ..SAME
    },
    Row {
        name: "somebody sent our rule elsewhere",
        meanwhile: |lab, _| {
            lab.host().sh(
                "ip6tables-save -t nat | sed '/docker-nat66:[0-9a-f]/s/]:80$/]:81/' |
                 ip6tables-restore",
            );
        },
        says: "removing surplus or altered copies of our rules, count: 1",
        ..SAME
    },
];

/// What another program does to the daemon's table once its owner is dead. A map cannot hold an
/// element twice, but it can hold the same comment twice.
const ELEMENTS: [Row; 4] = [
    Row {
        name: "somebody copied our element to another port",
        meanwhile: |lab, _| alter(lab, "", "s/8080/8081/"),
        says: "removing surplus or altered copies of our rules, count: 1",
        ..SAME
    },
    Row {
        name: "somebody sent our element elsewhere",
        meanwhile: |lab, _| {
            let delete = "nft delete element ip6 docker_nat66 forwards { tcp . 8080 }";
            alter(lab, delete, "s/ [.] 80$/ . 81/");
        },
        says: "removing surplus or altered copies of our rules, count: 1",
        ..SAME
    },
    Row {
        name: "somebody put a rule and a chain into our table",
        meanwhile: |lab, _| {
            lab.host().sh("nft insert rule ip6 docker_nat66 forward drop
                 nft add chain ip6 docker_nat66 theirs
                 nft add element ip6 docker_nat66 forwards { tcp . 8082 : ::1 . 80 }");
        },
        ..SAME
    },
    Row {
        name: "somebody put a table of their own in the place of ours",
        meanwhile: |lab, _| {
            lab.host().sh("nft delete table ip6 docker_nat66
                 nft add table ip6 docker_nat66
                 nft add chain ip6 docker_nat66 prerouting");
        },
        says: "recorded rules are not in the kernel any more",
        ..SAME
    },
];

/// Runs `first`, and then inserts our forward into its map again, altered by sed.
fn alter(lab: &Lab, first: &str, sed: &str) {
    lab.host().sh(&format!(
        "element=$(nft -s list map ip6 docker_nat66 forwards |
             sed -n 's/.*\\(tcp . 8080\\) counter \\(.*[0-9]\\) }}.*/\\1 \\2/p' | sed '{sed}')
         test -n \"$element\"
         {first}
         nft \"add element ip6 docker_nat66 forwards {{ $element }}\""
    ));
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn after_a_kill_the_next_start_follows_what_is_wished_now() {
    walk("matrix_wishes", WISHES.iter());
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn after_a_kill_the_next_start_bears_any_blow_to_journal_and_kernel() {
    let others: &[Row] = match in_use() {
        Backend::Ip6tables => &RULES,
        Backend::Nftables => &ELEMENTS,
    };
    walk("matrix_blows", BLOWS.iter().chain(others));
}

fn walk(name: &str, rows: impl Iterator<Item = &'static Row>) {
    let lab = Lab::up(name);
    let engine = Engine::up(&lab, &[]);
    for row in rows {
        println!("{}", row.name);
        step(&lab, &engine, row);
    }
}

fn step(lab: &Lab, engine: &Engine<'_>, row: &Row) {
    let host = lab.host();
    Foreign::plant(host);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(lab, &args(USUAL));
    assert_eq!(rules::published(host), forwards(engine, SAME.then));
    assert_eq!(journal::agrees(lab).len(), in_use().statics() + 1);
    daemon.sigkill();
    (row.meanwhile)(lab, engine);
    let theirs = Foreign::theirs(host);

    let mut daemon = Daemon::ready(lab, &args(row.flags));
    daemon.says(row.says);
    assert_eq!(rules::published(host), forwards(engine, row.then));
    assert_eq!(rules::masquerades(host), [row.flags]);
    assert_eq!(Foreign::theirs(host), theirs);
    assert_eq!(
        journal::agrees(lab).len(),
        row.then.len() + in_use().statics()
    );
    for text in row.then {
        let [dev, port, container] = words(text);
        let (to, from) = match dev {
            "eth0" => (HOST, CLIENT),
            _ => (HOST_ETH1, CLIENT_ETH1),
        };
        lab.answers(Tcp, &format!("[{to}]:{port}"), container, from);
    }
    daemon.leaves();
    assert_eq!(Foreign::seen(host), theirs);
    let dump = daemon::command(lab, &["dump", "--json"]);
    assert_eq!(String::from_utf8_lossy(&dump.stdout), "");
    Foreign::uproot(host);
    for name in engine
        .docker(&["ps", "-a", "--format", "{{.Names}}"])
        .lines()
    {
        engine.remove(name);
    }
}

fn args(flags: &'static str) -> [&'static str; 4] {
    let (dev, prefix) = flags.split_once(' ').expect("DEV PREFIX");
    ["--dev", dev, "--prefix", prefix]
}

fn words(text: &str) -> [&str; 3] {
    let words: Vec<&str> = text.split(' ').collect();
    words.try_into().expect("three words")
}

fn forwards(engine: &Engine<'_>, texts: &[&str]) -> Vec<Published> {
    let forward = |text: &&str| {
        let [dev, port, name] = words(text);
        let addr: Ipv6Addr = engine.address(name);
        Published::new(format!("{dev} tcp * {port}"), format!("[{addr}]:80"))
    };
    let mut expected: Vec<Published> = texts.iter().map(forward).collect();
    expected.sort();
    expected
}
