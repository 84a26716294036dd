//! The image of a container in the history, after a kill and after an upgrade.

use std::process::Command;

use serde_json::Value;

use crate::running::container;
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::scene::Scene;

fn of_image(number: u16, port: u16, image: &str) -> FakeContainer {
    let mut container = container(number, port);
    container.image = image.to_owned();
    container
}

/// Port, image, when it was opened, and why it ended, of each row of the history, whose seals hold.
fn history(scene: &Scene) -> Vec<[Value; 4]> {
    let mut command = Command::new(PROGRAM);
    command.args(["dump", "--history", "--json", "--state-dir"]);
    let output = command.arg(scene.state_dir()).env_clear().output();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().map(serde_json::from_str::<Value>);
    let rows = rows.map(|row| row.expect("an object"));
    let rows = rows.filter(|row| row["chain"].is_null());
    let fields = ["host_port", "image", "opened", "reason"];
    rows.map(|row| fields.map(|field| row[field].clone()))
        .collect()
}

fn image_outlives_a_kill(backend: Backend) {
    let scene = Scene::new(backend);
    let engine = FakeEngine::start();
    // An Engine that shows no image: records and entries are as a release without images wrote them.
    let (web, brief) = (of_image(2, 8080, ""), of_image(3, 8081, ""));
    engine.put(web.clone());
    engine.put(brief.clone());
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    assert!(daemon.shows("both ports", |status, _| status.forwards == 2));
    engine.die(&brief.id);
    assert!(daemon.shows("one port", |status, _| status.forwards == 1));
    daemon.kill();
    let before = history(&scene);
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.iter().all(|row| row[1].is_null()), "{before:?}");
    let rules = scene.ours();

    // The upgrade: the record gets the image, and the port stays open.
    engine.remove(&web.id);
    engine.put(of_image(2, 8080, "nginx:1.27"));
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    assert!(daemon.shows("the image", |_, rows| {
        let mut images = rows.iter().filter_map(|row| row.image.as_deref());
        images.any(|image| image == "nginx:1.27")
    }));
    daemon.kill();
    assert_eq!(scene.ours(), rules);
    let mut expected = before;
    expected[1][1] = "nginx:1.27".into();
    assert_eq!(history(&scene), expected);

    // The container ends while no daemon runs: the next one knows of it by the record alone.
    engine.remove(&web.id);
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    assert!(daemon.shows("no port", |status, _| status.forwards == 0));
    expected[1][3] = "container-ended".into();
    assert_eq!(history(&scene), expected);
    daemon.leaves();
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn the_image_is_in_the_history_after_a_kill_and_an_upgrade_closes_nothing() {
    for backend in [Backend::Ip6tables, Backend::Nftables] {
        namespace::fresh(|| image_outlives_a_kill(backend));
    }
}
