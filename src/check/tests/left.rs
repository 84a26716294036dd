//! What others have left behind: what is said of it, and which command removes it.

use super::*;
use crate::docker_nat::observation::LeftBehind;
use crate::docker_nat::watch::Seen;

/// The tool's variant, the Engine's version, the tables nat and filter, and what is said and named.
type Row<'r> = (Variant, &'static str, &'r str, &'r str, &'r str, &'r str);

#[test]
fn what_others_have_left_goes_with_the_command_for_their_program() {
    const RECORDED: &str =
        include_str!("../../../tests/kernel/recorded/docker-ipv6nat-0.4/rules.save");
    const STRAY: &str = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9 -j DNAT --to-destination \
                         [fd00::99]:80";
    const GO: &str = "-A POSTROUTING -s fd00::/64 -o eth0 -j MASQUERADE";
    let (theirs, filter) = RECORDED.split_once("*filter").expect("two tables");
    let of_engine = "-A DOCKER-FORWARD -j DOCKER-CT\n:DOCKER-FORWARD - [0:0]\n";
    let unclear = "rules of an Engine, or of docker-ipv6nat, for ports that no container publishes";
    let clear = "2 rules of docker-ipv6nat, for ports that no container publishes";
    let go = "1 rule as the first docker-nat66 (written in Go)";
    let ipv6nat = "docker-nat66 cleanup --foreign docker-ipv6nat --yes";
    let (nft, legacy) = (Variant::Nft, Variant::Legacy);
    // It serves one of two ports, and the command would close that, too.
    let serving = theirs.replace("[fdfd:5898:4917:1:0:242:ac11:2]:80", "[fd00::2]:80");
    let rows = [
        (nft, "20.10.24", theirs, filter, clear, ipv6nat),
        (
            nft,
            "20.10.24",
            &serving,
            filter,
            "1 rule of an Engine, or of docker-ipv6nat",
            "ip6tables-nft -t nat -D DOCKER -d 2001:db8::1/128",
        ),
        (legacy, "26.1.5", theirs, filter, clear, ipv6nat),
        (
            nft,
            "28.5.2",
            theirs,
            filter,
            unclear,
            "ip6tables-nft -t nat -D DOCKER ",
        ),
        (
            nft,
            "20.10.24",
            theirs,
            of_engine,
            unclear,
            "ip6tables-nft -t nat -D DOCKER ",
        ),
        // Of an Engine: `--foreign docker` takes only what drops.
        (
            legacy,
            "20.10.24",
            STRAY,
            "",
            "1 rule of an Engine, or of docker-ipv6nat",
            "ip6tables-legacy -t nat -D DOCKER ! -i docker0 -p tcp -m tcp --dport 9 -j DNAT \
             --to-destination [fd00::99]:80",
        ),
        (
            legacy,
            "28.5.2",
            GO,
            "",
            go,
            "docker-nat66 cleanup --foreign docker-nat66-go --prefix fd00::/64 --yes",
        ),
    ];
    let check = |(variant, engine, nat, filter, words, remedy): Row<'_>, docker: DockerHost| {
        let found = line(CheckId::Leftovers, |facts| {
            facts.settings.docker = docker.clone();
            facts.docker = Docker::Here(Box::new(Survey {
                version: Some(("1.41".parse().expect("a version"), engine.into())),
                refused: Vec::new(),
                snapshot: Ok(Arc::new(snapshot())),
            }));
            let listing = |table: &str, text: &str| Listing {
                variant,
                table: table.to_owned(),
                text: text.to_owned(),
            };
            facts.firewall.listings = vec![listing("nat", nat), listing("filter", filter)];
        });
        assert_eq!(found.result, Warn, "{found:?}");
        assert!(found.found.contains(words), "{engine}: {found:?}");
        let named = found.remedy.expect("a remedy");
        assert!(named.starts_with(remedy), "{engine}: {named}");
    };
    for row in rows {
        check(row, DockerHost::default());
    }
    // The command asks the Engine that was asked here.
    let elsewhere = DockerHost::Unix("/run/user/1000/docker.sock".into());
    let (variant, engine, nat, filter, words, _) = rows[0];
    let remedy = "docker-nat66 cleanup --foreign docker-ipv6nat \
                  --docker-host unix:///run/user/1000/docker.sock --yes";
    check((variant, engine, nat, filter, words, remedy), elsewhere);
}

#[test]
fn what_is_left_behind_shows_though_the_legacy_tables_cannot_be_read() {
    let unread = || BackendError {
        operation: "listing of the legacy table nat, which is in use".to_owned(),
        kind: ErrorKind::Unsupported,
        detail: "its tool is not installed".to_owned(),
    };
    let lines = |nat: DockerNat| {
        let seen = move |facts: &mut CheckFacts| {
            facts.docker = Docker::Here(Box::new(Survey {
                version: None,
                refused: Vec::new(),
                snapshot: Ok(Arc::new(snapshot())),
            }));
            facts.firewall.nat = Ok(Seen {
                nat: nat.clone(),
                unread: Some(unread()),
            });
        };
        [CheckId::ForwardDrop, CheckId::DockerNative].map(|id| line(id, &seen))
    };
    let left = LeftBehind {
        place: "chain DOCKER".to_owned(),
        remedy: "ip6tables -F DOCKER".to_owned(),
    };
    let [drop, native] = lines(DockerNat {
        left_behind: [left].into(),
        ..DockerNat::default()
    });
    assert_eq!((drop.result, native.result), (Fail, Skip));
    for found in lines(DockerNat::default()) {
        assert_eq!(found.result, Skip, "{found:?}");
        assert!(found.found.contains("legacy table nat"), "{found:?}");
    }
}
