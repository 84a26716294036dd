//! What the Engine says, damaged: recorded answers in which values are lost, exchanged and
//! replaced, and whose text is cut and garbled. Nothing panics, and whatever is read from it leads
//! no port to an address that is no container's.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::oracle::{Answers, check_answers, snapshot};

/// The recorded answers, by version of the API.
fn recorded() -> &'static [Answers] {
    static RECORDED: OnceLock<Vec<Answers>> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_engine/recorded");
        let dirs = fs::read_dir(root).expect("recorded answers").flatten();
        let dirs = dirs.map(|dir| dir.path()).filter(|dir| dir.is_dir());
        dirs.map(|dir| version(&dir)).collect()
    })
}

fn version(dir: &Path) -> Answers {
    let read = |name: &str| fs::read_to_string(dir.join(name)).expect("text");
    let files = fs::read_dir(dir).expect("a directory").flatten();
    let names = files.map(|file| file.file_name().into_string().expect("a plain name"));
    let mut inspects: Vec<String> = names.filter(|name| name.starts_with("inspect-")).collect();
    inspects.sort();
    Answers {
        list: read("list.json"),
        networks: read("networks.json"),
        events: read("events.ndjson"),
        inspects: inspects.iter().map(|name| read(name)).collect(),
    }
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
        let file = file.index(3 + answers.inspects.len());
        let text = match file {
            0 => &mut answers.list,
            1 => &mut answers.networks,
            2 => &mut answers.events,
            _ => &mut answers.inspects[file - 3],
        };
        *text = match file {
            // Of a stream, line by line.
            2 => text.lines().map(|line| changed(line, &changes) + "\n").collect(),
            _ => changed(text, &changes),
        };
        *text = garbled(std::mem::take(text), &damage, cut);
        check_answers(&answers);
    }
}
