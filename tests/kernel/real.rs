//! Both variants of ip6tables against the kernel.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use docker_nat66::backend::fake::table_of;
use docker_nat66::backend::ip6tables::{Ip6tables, ToolSettings, Variant, render};
use docker_nat66::backend::{Backend, ErrorKind, Verb};

use crate::support::contract::chains;
use crate::support::contract::kit;
use crate::support::contract::rules::{
    contents, every_kind, insertion, jump, jump_in, listed, removal, reply, tcp,
};
use crate::support::contract::{Foreign, Kit, contract};
use crate::support::namespace;
use crate::support::shell::{sh, sh_with};

/// The variant in the tools' names.
pub(crate) fn name(variant: Variant) -> &'static str {
    match variant {
        Variant::Nft => "nft",
        Variant::Legacy => "legacy",
    }
}

/// A directory in which `variant` is what the plain names mean, with both installed.
pub(crate) fn tools(variant: Variant) -> (tempfile::TempDir, ToolSettings) {
    let dir = tempfile::tempdir().expect("temp dir");
    let settings = tools_in(dir.path(), variant);
    (dir, settings)
}

/// The same in an empty directory that somebody else removes.
pub(crate) fn tools_in(dir: &Path, variant: Variant) -> ToolSettings {
    for what in ["save", "restore"] {
        for each in [Variant::Nft, Variant::Legacy] {
            let multi = format!("/usr/sbin/xtables-{}-multi", name(each));
            assert!(Path::new(&multi).exists(), "{multi} is needed");
            let own = format!("ip6tables-{}-{what}", name(each));
            symlink(&multi, dir.join(own)).expect("link");
            if each == variant {
                let plain = format!("ip6tables-{what}");
                symlink(&multi, dir.join(plain)).expect("link");
            }
        }
    }
    ToolSettings {
        tool_dirs: vec![dir.to_owned()],
        ..ToolSettings::default()
    }
}

/// What `tool --version` says, in three numbers.
pub(crate) fn version(tool: &str) -> [u32; 3] {
    let said = sh(&format!("{tool} --version"));
    let word = said.split(' ').nth(1).expect("a version");
    let numbers = word.trim_start_matches('v').split('.');
    let numbers: Vec<u32> = numbers.map(|n| n.parse().expect("a number")).collect();
    numbers.try_into().expect("three numbers")
}

/// Others at work with the tool itself.
pub(crate) struct Others(pub(crate) Variant);

impl Others {
    pub(crate) fn restore(&self, table: &str, line: &str) {
        let tool = format!("ip6tables-{}-restore --noflush", name(self.0));
        sh_with(&tool, &format!("*{table}\n{line}\nCOMMIT\n"));
    }
}

impl Foreign for Others {
    fn kit(&self) -> Kit {
        kit::ip6tables()
    }

    fn add(&mut self, line: &str) {
        let command = match line.strip_prefix(':') {
            Some(chain) => format!("-N {}", chain.replace(" - [0:0]", "")),
            None => line.to_owned(),
        };
        self.restore(table_of(line), &command);
    }

    fn delete(&mut self, line: &str) {
        let command = match line.strip_prefix(':') {
            Some(chain) => format!("-X {}", chain.replace(" - [0:0]", "")),
            None => line.replacen("-A", "-D", 1),
        };
        self.restore(table_of(line), &command);
    }

    fn lines(&mut self) -> Vec<String> {
        let save = format!("ip6tables-{}-save", name(self.0));
        let text = ["filter", "nat"].map(|table| sh(&format!("{save} -t {table}")));
        let is_own = |line: &&str| line.starts_with("-A") || line.contains(" - [");
        let lines = text.iter().flat_map(|text| text.lines()).filter(is_own);
        lines.map(str::to_owned).collect()
    }

    fn clear(&mut self) {
        for table in ["filter", "nat"] {
            let tool = format!("ip6tables-{} -t {table}", name(self.0));
            sh(&format!("{tool} -F && {tool} -X"));
        }
    }
}

fn keeps_the_contract(variant: Variant) {
    let (_dir, settings) = tools(variant);
    let mut backend = Ip6tables::detect(settings).expect("usable");
    assert_eq!(backend.variant(), variant);
    contract(&mut backend, &mut Others(variant), &chains::CASES);
}

#[test]
#[ignore = "needs ip6tables and root: run by tests/run"]
fn the_nft_variant_keeps_the_contract() {
    namespace::fresh(|| keeps_the_contract(Variant::Nft));
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn the_legacy_variant_keeps_the_contract() {
    namespace::fresh(|| keeps_the_contract(Variant::Legacy));
}

/// The documented command is not what we run: it must mean the same, given the chain.
#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn the_printed_command_inserts_the_very_rule() {
    namespace::fresh(|| {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let mut backend = Ip6tables::detect(settings).expect("usable");
            let mut others = Others(variant);
            others.clear();
            for line in [
                ":DOCKER-NAT66",
                ":DOCKER-NAT66-IN",
                ":DOCKER-NAT66-INSIDE",
                ":DOCKER-USER",
            ] {
                others.add(&format!("{line} - [0:0]"));
            }
            for line in [
                "-A FORWARD -j DOCKER-USER",
                "-A FORWARD -j DROP",
                // So that no chain is idle.
                "-A DOCKER-NAT66 -i eth9 -j DROP",
                "-A DOCKER-NAT66-IN -i eth9 -j DROP",
                "-A DOCKER-NAT66-INSIDE -i eth9 -j ACCEPT",
            ] {
                others.add(line);
            }
            let empty = others.lines();
            for rule in every_kind() {
                assert_eq!(backend.list(), Ok(Vec::new()));
                assert_eq!(
                    backend.commit(&insertion(std::slice::from_ref(&rule))),
                    Ok(())
                );
                let ours = others.lines();
                for (verb, expected) in [(Verb::Del, &empty), (Verb::Add, &ours)] {
                    let line = backend.describe(verb, &rule);
                    let (_, command) = line.split_once(": ").expect("a command");
                    let tool = format!("ip6tables-{}", name(variant));
                    sh(&command.replace("/sbin/ip6tables", &tool));
                    assert_eq!(&others.lines(), expected, "{line}");
                }
                let remove = removal(&mut backend, |_| true);
                assert_eq!(backend.commit(&remove), Ok(()));
            }
        }
    });
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn native_rules_that_the_tool_cannot_read_make_the_listing_uncertain() {
    namespace::fresh(|| {
        let (_dir, settings) = tools(Variant::Nft);
        let mut backend = Ip6tables::detect(settings.clone()).expect("usable");
        let ours = [jump(), tcp(1)];
        assert_eq!(backend.commit(&insertion(&ours)), Ok(()));
        // Two that the tool calls incompatible, with exit status 0, and two that end it halfway.
        for (rule, words) in [
            ("ct state new accept", "incompatible"),
            ("tcp dport 22 log prefix \"x\" accept", "incompatible"),
            ("meta skuid 0 accept", "Parsing nftables rule failed"),
            ("meta mark set 1", "Parsing nftables rule failed"),
        ] {
            // 1.8.11 knows that as its own `-j MARK`, and lists it among the rest, all of it.
            let read = rule == "meta mark set 1" && version("ip6tables") >= [1, 8, 10];
            for chain in ["nat PREROUTING", "filter FORWARD"] {
                let add = format!("nft -a -e 'add rule ip6 {chain} {rule}'");
                let added = sh(&add);
                let handle = added.rsplit("handle ").next().expect("echoed").trim();
                if read {
                    let table = chain.split(' ').next().expect("a table");
                    let all = sh(&format!("ip6tables-nft-save -t {table}"));
                    assert!(all.contains("-j MARK --set-xmark 0x1/0xffffffff"), "{all}");
                    assert_eq!(contents(&mut backend), ours.clone().map(Some));
                    sh(&format!("nft delete rule ip6 {chain} handle {handle}"));
                    continue;
                }
                let error = backend.list().expect_err("cannot be certain");
                assert_eq!(error.kind, ErrorKind::Uncertain, "{error}");
                assert!(error.detail.contains(words), "{error}");
                // A daemon that starts now is not turned away: it may pass.
                assert!(Ip6tables::detect(settings.clone()).is_ok());
                // Nothing that needs the listing is done without it.
                let refused = backend.commit(&insertion(&[reply()]));
                assert_eq!(refused.map_err(|e| e.kind), Err(ErrorKind::Uncertain));
                sh(&format!("nft delete rule ip6 {chain} handle {handle}"));
                assert_eq!(contents(&mut backend), ours.clone().map(Some));
            }
        }
    });
}

/// What a hand-written nftables.conf often has.
#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn native_base_chains_in_the_same_table_do_no_harm() {
    namespace::fresh(|| {
        sh_with(
            "nft -f -",
            "table ip6 nat {
               chain postrouting {
                 type nat hook postrouting priority 100; ct state new masquerade;
               }
             }
             table ip6 filter {
               chain forward {
                 type filter hook forward priority 0; ct state new accept;
               }
             }",
        );
        let theirs = "nft list chain ip6 nat postrouting; nft list chain ip6 filter forward";
        let before = sh(theirs);
        let (_dir, settings) = tools(Variant::Nft);
        let mut backend = Ip6tables::detect(settings).expect("usable");
        let mut rules = every_kind();
        assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
        rules.sort();
        let expected: Vec<_> = rules.into_iter().map(Some).collect();
        assert_eq!(contents(&mut backend), expected);
        let remove = removal(&mut backend, |_| true);
        assert_eq!(backend.commit(&remove), Ok(()));
        assert_eq!(listed(&mut backend), []);
        assert_eq!(sh(theirs), before);
    });
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn a_held_xtables_lock_is_busy_and_changes_nothing() {
    namespace::fresh(|| {
        let (_dir, mut settings) = tools(Variant::Legacy);
        settings.deadline = Duration::from_secs(3);
        let mut backend = Ip6tables::detect(settings).expect("usable");
        let lock = std::fs::File::create("/run/xtables.lock").expect("an empty /run");
        lock.lock().expect("nobody else");
        let start = Instant::now();
        let error = backend.commit(&insertion(&[tcp(1)])).expect_err("locked");
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        assert!(start.elapsed() < Duration::from_secs(3));
        lock.unlock().expect("held");
        assert_eq!(listed(&mut backend), []);
        assert_eq!(backend.commit(&insertion(&[tcp(1)])), Ok(()));
    });
}

#[test]
#[ignore = "needs ip6tables and root: run by tests/run"]
fn looking_for_legacy_rules_creates_no_legacy_table() {
    namespace::fresh(|| {
        let names = || std::fs::read_to_string("/proc/net/ip6_tables_names").unwrap_or_default();
        let (_dir, settings) = tools(Variant::Nft);
        let backend = Ip6tables::detect(settings).expect("usable");
        let mut other = backend.other().expect("installed beside");
        assert_eq!(other.variant(), Variant::Legacy);
        assert_eq!(other.list(), Ok(Vec::new()));
        assert_eq!(names(), "");
        let mut others = Others(Variant::Legacy);
        others.restore("nat", &render::listed(&tcp(1)));
        let remove = removal(&mut other, |_| true);
        assert_eq!(remove.remove.len(), 1);
        assert_eq!(other.commit(&remove), Ok(()));
        assert_eq!(other.list(), Ok(Vec::new()));
        // One table does not bring in the other.
        assert_eq!(names(), "nat\n");
        others.restore("filter", ":DOCKER-NAT66 - [0:0]");
        others.restore("filter", &render::listed(&reply()));
        let remove = removal(&mut other, |_| true);
        assert_eq!(other.commit(&remove), Ok(()));
        assert_eq!(others.lines(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn looking_for_nft_rules_creates_no_nft_table() {
    namespace::fresh(|| {
        let (_dir, settings) = tools(Variant::Legacy);
        let backend = Ip6tables::detect(settings).expect("usable");
        let mut other = backend.other().expect("installed beside");
        assert_eq!(other.variant(), Variant::Nft);
        assert_eq!(other.list(), Ok(Vec::new()));
        assert_eq!(sh("nft list tables"), "");
        for rule in [tcp(1), jump_in()] {
            let mut others = Others(Variant::Nft);
            if rule != tcp(1) {
                others.add(":DOCKER-NAT66-IN - [0:0]");
            }
            others.add(&render::listed(&rule));
        }
        assert_eq!(contents(&mut other), [jump_in(), tcp(1)].map(Some));
        let remove = removal(&mut other, |_| true);
        assert_eq!(other.commit(&remove), Ok(()));
        assert_eq!(Others(Variant::Nft).lines(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn the_probe_leaves_nothing_behind() {
    namespace::fresh(|| {
        let (_dir, settings) = tools(Variant::Nft);
        Ip6tables::detect(settings).expect("usable");
        assert_eq!(sh("nft list ruleset"), "");
        let (_dir, settings) = tools(Variant::Legacy);
        Ip6tables::detect(settings).expect("usable");
        assert_eq!(Others(Variant::Legacy).lines(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn without_privilege_it_is_denied_with_the_remedy() {
    namespace::fresh(|| {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let denied = std::thread::spawn(move || {
                // Per thread, and inherited by what this thread starts.
                let none = rustix::thread::CapabilitySets {
                    effective: rustix::thread::CapabilitySet::empty(),
                    permitted: rustix::thread::CapabilitySet::empty(),
                    inheritable: rustix::thread::CapabilitySet::empty(),
                };
                rustix::thread::remove_capability_from_bounding_set(
                    rustix::thread::CapabilitySet::NET_ADMIN,
                )
                .expect("may drop");
                rustix::thread::set_capabilities(None, none).expect("may drop");
                Ip6tables::detect(settings).map(|b| b.variant())
            });
            let error = denied.join().expect("no panic").expect_err("denied");
            assert_eq!(error.kind, ErrorKind::Denied, "{error}");
            assert!(error.detail.contains("CAP_NET_ADMIN"), "{error}");
        }
    });
}
