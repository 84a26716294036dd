//! What each backend makes of the same intent, side by side: `tests/kernel/goldens/SCENARIO`, as
//! ip6tables-save and nft print it. The chains of our table are the same in every scenario, and stand
//! in `nftables/table.nft`.
//!
//! After a change of rules that is meant, this writes them anew, to be read and committed:
//!
//! ```text
//! DOCKER_NAT66_WRITE_GOLDENS=1 cargo test --test kernel -- --ignored goldens
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use docker_nat66::backend::compile;
use docker_nat66::model::forward::{Forward, Sources};
use docker_nat66::model::intent::{Hairpin, Intent, Outgoing, Policy, Unpublished};
use docker_nat66::model::rule::BackendKind;

use crate::nftables::others::ruleset;
use crate::packets::scenery::{Firewall, forwards, policy};
use crate::support::contract::rules::contents;
use crate::support::namespace;
use crate::support::shell::sh;

const WRITE: &str = "DOCKER_NAT66_WRITE_GOLDENS";

/// A scenario: its name, what decides, and what is published.
type Scenario = (&'static str, Policy, Vec<Forward>);

fn scenarios() -> Vec<Scenario> {
    let one = |host_addr: Option<&str>, sources: Sources| {
        let mut one = forwards(&sources);
        one.truncate(1);
        one[0].host_addr = host_addr.map(|addr| addr.parse().expect("an address"));
        one
    };
    let any = |host_addr| one(host_addr, Sources::Any);
    let nets = ["2001:db8::/32", "2001:db8:1::/48", "2001:db9::1/128"];
    let nets = BTreeSet::from(nets.map(|net| net.parse().expect("a prefix")));
    let limited = |host_addr| one(host_addr, Sources::Only(nets.clone()));
    let at = Some("2001:db8::1");
    let with = |change: fn(&mut Policy)| {
        let mut policy = policy();
        change(&mut policy);
        policy
    };
    let hairpin = |policy: &mut Policy| policy.hairpin = Hairpin::On;
    vec![
        ("nothing-published", policy(), Vec::new()),
        ("one-forward", policy(), any(None)),
        ("tcp-and-udp", policy(), forwards(&Sources::Any)),
        ("bound-to-an-address", policy(), any(at)),
        ("limited-sources", policy(), limited(None)),
        ("limited-sources-at-an-address", policy(), limited(at)),
        ("hairpin", with(hairpin), any(None)),
        ("hairpin-at-an-address", with(hairpin), any(at)),
        (
            "hairpin-with-two-prefixes",
            with(|policy| {
                policy.hairpin = Hairpin::On;
                policy
                    .prefixes
                    .push("fdfd:2::/64".parse().expect("a prefix"));
            }),
            any(None),
        ),
        (
            "source-of-its-own",
            with(|policy| {
                let source = "2001:db8::11".parse().expect("an address");
                policy.snat = vec![(policy.prefixes[0], source)];
            }),
            any(None),
        ),
        (
            "two-devices",
            with(|policy| policy.devices.push("wan0".parse().expect("a name"))),
            any(None),
        ),
        (
            "unpublished-accept",
            with(|policy| policy.unpublished = Unpublished::Accept),
            any(None),
        ),
        (
            "outgoing-leave",
            with(|policy| policy.outgoing = Outgoing::Leave),
            any(None),
        ),
    ]
}

/// Rules and chains of ours, table by table, as the tool saves them.
fn saved(tool: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["filter", "nat"] {
        let listing = sh(&format!("{tool}-save -t {table}"));
        let ours = listing
            .lines()
            .filter(|line| line.starts_with("-A ") || line.starts_with(":DOCKER"));
        lines.extend(ours.map(|line| {
            let line = line.trim_end_matches(" [0:0]");
            format!("{table} {line}")
        }));
    }
    lines
}

/// Sets and maps that hold something, with their elements, one a line and in order.
fn elements() -> Vec<String> {
    let (mut found, mut name) = (Vec::new(), String::new());
    for line in ruleset().lines().map(str::trim) {
        if let Some(set) = line.strip_prefix("set ").or(line.strip_prefix("map ")) {
            name = set.trim_end_matches(" {").to_owned();
        }
        if line.contains(" comment ") {
            let element = line.trim_start_matches("elements = { ");
            let element = element.trim_end_matches([',', '}', ' ']);
            found.push(format!("{name}: {element}"));
        }
    }
    found.sort();
    found
}

fn path(scenario: &str) -> PathBuf {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/goldens");
    goldens.join(scenario)
}

/// The part of a golden text that is about a backend.
fn part(text: &str, backend: BackendKind) -> String {
    let mut parts = text.split("\n\n");
    let part = parts.find_map(|part| part.strip_prefix(&format!("{backend}\n")));
    part.unwrap_or_default().trim_end().to_owned()
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn every_scenario_reads_as_written_down_and_is_read_back() {
    let is_written = std::env::var_os(WRITE).is_some();
    namespace::fresh(move || {
        Firewall::each(|firewall| {
            let kind = firewall.kind();
            for (name, policy, forwards) in scenarios() {
                firewall.set(&policy, &forwards);
                let lines = match kind {
                    BackendKind::Ip6tables => saved(firewall.tool()),
                    BackendKind::Nftables => elements(),
                };
                let seen: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
                let seen = seen.join("\n");
                let golden = fs::read_to_string(path(name)).unwrap_or_default();
                if is_written {
                    let of = |backend| match kind == backend {
                        true => seen.clone(),
                        false => part(&golden, backend),
                    };
                    let parts = [BackendKind::Ip6tables, BackendKind::Nftables];
                    let parts = parts.map(|backend| format!("{backend}\n{}\n", of(backend)));
                    fs::create_dir_all(path("")).expect("a directory");
                    fs::write(path(name), parts.join("\n")).expect("written");
                } else {
                    assert_eq!(seen, part(&golden, kind), "{name}");
                }
                let intent = Intent::new(policy, Some(forwards));
                let desired = compile::desired(kind, &intent).rules.into_values();
                let mut expected: Vec<_> = desired.map(|owned| Some(owned.rule)).collect();
                expected.sort();
                assert_eq!(contents(firewall.backend()), expected, "{name}");
                firewall.unset();
            }
        })
    });
}
