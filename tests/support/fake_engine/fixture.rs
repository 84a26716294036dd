//! Answers in the shape of one version of the API, from a directory of `recorded/`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{FakeContainer, FakeEngine};

/// A directory of `recorded/`; which of them were recorded from an Engine stands in its README.
pub fn dir(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/support/fake_engine/recorded").join(name)
}

/// A file of such a directory.
pub fn read(name: &str, file: &str) -> String {
    let path = dir(name).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parse(name: &str, file: &str) -> Value {
    let text = read(name, file);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}/{file}: {e}"))
}

/// An Engine that answers what stands in the directory `name`: its version, its containers
/// and networks, and every inspect that is there. Containers without one answer 404.
pub fn start(name: &str) -> FakeEngine {
    let engine = FakeEngine::start();
    let version = parse(name, "version.json");
    let minor = |key: &str| -> u32 {
        let text = version[key].as_str().expect("a version");
        let minor = text.strip_prefix("1.").expect("one point something");
        minor.parse().expect("a number")
    };
    engine.edit(|s| {
        s.versions = (minor("MinAPIVersion"), minor("ApiVersion"));
        s.version_body = Some(version.to_string());
        s.networks.clear();
    });
    for row in parse(name, "networks.json").as_array().expect("a list") {
        engine.put_network(row.clone());
    }
    for row in parse(name, "list.json").as_array().expect("a list") {
        let mut container = FakeContainer::new(0, "");
        container.id = row["Id"].as_str().expect("an id").to_owned();
        container.raw_row = Some(row.clone());
        // One that is never asked for.
        container.raw_inspect = Some(String::new());
        engine.put(container);
    }
    for entry in fs::read_dir(dir(name)).expect("a directory") {
        let file = entry.expect("an entry").file_name();
        let file = file.to_str().expect("a plain name");
        if file.starts_with("inspect-") && file != "inspect-404.json" {
            let body = parse(name, file);
            let id = body["Id"].as_str().expect("an id").to_owned();
            engine.edit(|s| {
                // One was recorded again when it was dead.
                if let Some(container) = s.containers.get_mut(&id)
                    && body["State"]["Running"] != false
                {
                    container.raw_inspect = Some(body.to_string());
                }
            });
        }
    }
    engine
}
