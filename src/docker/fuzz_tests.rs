//! What the Engine says, damaged: recorded answers in which values are lost, exchanged and
//! replaced, and whose text is cut and garbled. Nothing panics, and whatever is read from it leads
//! no port to an address that is no container's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::convert::{self, Inspected};
use super::{event, network};
use crate::mapper::plan::{Choice, HairpinMode, Heard, Plan, Surroundings};
use crate::mapper::rules::Unpublished;
use crate::model::container::Snapshot;
use crate::model::rule::{BackendKind, RuleSpec};

/// The recorded answers of one version of the API, by file.
type Answers = BTreeMap<String, String>;

fn recorded() -> &'static [Answers] {
    static RECORDED: OnceLock<Vec<Answers>> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_engine/recorded");
        let dirs = fs::read_dir(root).expect("recorded answers").flatten();
        let dirs = dirs.map(|dir| dir.path()).filter(|dir| dir.is_dir());
        let answers = dirs.map(|dir| {
            let files = fs::read_dir(dir).expect("a directory").flatten();
            let read = |file: fs::DirEntry| {
                let name = file.file_name().into_string().expect("a plain name");
                (name, fs::read_to_string(file.path()).expect("text"))
            };
            files.map(read).collect()
        });
        answers.collect()
    })
}

/// What a value may become.
fn other() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "0",
        "80",
        "65536",
        "-1",
        "tcp",
        "81/icmp",
        "::",
        "::1",
        "0.0.0.0",
        "127.0.0.1",
        "fe80::1%eth0",
        "fdfd:5898:4917:1::",
        "fdfd:5898:4917:1::1",
        "::/0",
        "2001:db8::1",
        "running",
        "../../x",
        "\n\u{1b}[2J\u{202e}",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!([[{}]])),
        Just(json!({"80/tcp": [{"HostIp": "::", "HostPort": "80"}]})),
    ]
}

/// The pointers (RFC 6901) of all values in it.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{n}"), found);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(item, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

/// A change of an answer: the value there becomes this one, or the one that stands elsewhere.
type Change = (Index, Option<Value>, Index);

fn changed(text: &str, changes: &[Change]) -> String {
    let Ok(mut answer) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    for (place, new, elsewhere) in changes {
        let mut all = Vec::new();
        places(&answer, "", &mut all);
        let from = answer.pointer(&all[elsewhere.index(all.len())]).cloned();
        if let Some(value) = answer.pointer_mut(&all[place.index(all.len())]) {
            *value = new.clone().or(from).unwrap_or_default();
        }
    }
    answer.to_string()
}

fn garbled(text: String, damage: &[(Index, u8)], cut: Option<Index>) -> String {
    let mut bytes = text.into_bytes();
    for (place, byte) in damage {
        let place = place.index(bytes.len());
        bytes[place] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the daemon believes after these answers.
fn snapshot(answers: &Answers) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let text = |name: &str| answers.get(name).map_or("", String::as_str);
    let networks = network::list(text("networks.json")).unwrap_or_default();
    let rows = networks.rows.into_iter().map(|row| (row.id.clone(), row));
    snapshot.networks = rows.collect();
    let list = convert::list(text("list.json")).unwrap_or_default();
    for row in list.rows {
        if let Some(container) = row.container {
            snapshot.containers.insert(row.id, container);
        }
    }
    for (name, text) in answers {
        if name.starts_with("inspect-") {
            let id = serde_json::from_str::<Value>(text).unwrap_or_default();
            let id = id["Id"].as_str().unwrap_or("ab").to_owned();
            if let Ok(Inspected::Running(container)) = convert::inspect(&id, text) {
                snapshot.containers.insert(id, *container);
            }
        }
    }
    snapshot
}

/// Every target of a published port lies where a container has its end.
fn opens_only_containers(snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let host: BTreeSet<Ipv6Addr> = ["fdfd:5898:4917:1::1", "2001:db8::1", "::1"]
        .map(|addr| addr.parse().expect("an address"))
        .into();
    let around = Surroundings {
        host_addrs: host.clone(),
        default_devices: vec!["eth0".parse().expect("a name")],
        ..Surroundings::default()
    };
    let ends = snapshot.containers.values().flat_map(|c| &c.endpoints);
    let ends: Vec<_> = ends.collect();
    for backend in [BackendKind::Ip6tables, BackendKind::Nftables] {
        let plan = Plan {
            backend,
            devices: Choice::Auto,
            prefixes: Choice::Auto,
            unpublished: Unpublished::Drop,
            hairpin: HairpinMode::On,
        };
        let planned = plan.make(Heard::Snapshot(snapshot), &around);
        for wanted in planned.desired.rules.values() {
            let RuleSpec::Dnat(dnat) = &wanted.rule.spec else {
                continue;
            };
            let is_end = ends.iter().any(|e| e.address == Some(dnat.target));
            let is_refused = dnat.target.is_unspecified() || host.contains(&dnat.target);
            prop_assert!(is_end && !is_refused, "{:?}", dnat);
            prop_assert!(
                dnat.target_port != 0 && dnat.key.host_port != 0,
                "{:?}",
                dnat
            );
        }
    }
    Ok(())
}

#[test]
fn the_answers_as_they_were_recorded_open_something() {
    for answers in recorded() {
        let snapshot = snapshot(answers);
        assert!(!snapshot.containers.is_empty() && !snapshot.networks.is_empty());
    }
}

proptest! {
    #[test]
    fn no_damage_to_an_answer_panics_or_opens_what_is_no_container(
        version in any::<Index>(),
        file in any::<Index>(),
        changes in prop::collection::vec(
            (any::<Index>(), prop::option::of(other()), any::<Index>()),
            0..5,
        ),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 0..3),
        cut in prop::option::weighted(0.1, any::<Index>()),
    ) {
        let mut answers = recorded()[version.index(recorded().len())].clone();
        let file = file.index(answers.len());
        let (name, text) = answers.iter_mut().nth(file).expect("a file");
        *text = match name.ends_with(".ndjson") {
            // Of a stream, line by line.
            true => text.lines().map(|line| changed(line, &changes) + "\n").collect(),
            false => changed(text, &changes),
        };
        *text = garbled(std::mem::take(text), &damage, cut);
        for line in text.lines() {
            if let Ok(message) = serde_json::from_str(line) {
                let _ = event::read(message, 0);
            }
        }
        opens_only_containers(&snapshot(&answers))?;
    }
}
