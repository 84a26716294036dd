//! Random schedules: events are lost, doubled, mixed up, and name what nobody knows.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use fake_engine::network::{BRIDGE, row};

/// Something that happens, of container or network number so and so.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Start(u16),
    Kill(u16),
    Rename(u16),
    /// Starts or ends without a word.
    Silently(u16),
    /// An event of a container that nobody knows.
    Unknown(u16, u8),
    /// A network comes or goes.
    Network(u16),
    /// The stream breaks.
    Break,
    /// The events held back so far are sent: in their order where they concern one container,
    /// mixed up otherwise, some of them twice.
    Send(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let n = 1..8u16;
    prop_oneof![
        6 => n.clone().prop_map(Happening::Start),
        4 => n.clone().prop_map(Happening::Kill),
        2 => n.clone().prop_map(Happening::Rename),
        1 => n.clone().prop_map(Happening::Silently),
        2 => (n.clone(), 0..4u8).prop_map(|(n, kind)| Happening::Unknown(n, kind)),
        2 => n.prop_map(Happening::Network),
        1 => Just(Happening::Break),
        6 => any::<u64>().prop_map(Happening::Send),
    ]
}

struct Storm<'e> {
    engine: &'e FakeEngine,
    running: BTreeMap<u16, FakeContainer>,
    /// The ids of the networks that are there.
    networks: BTreeMap<u16, String>,
    /// Counts whatever needs a new name.
    count: u16,
    /// Held back: whom it concerns, and the event.
    held: Vec<(String, String)>,
}

impl Storm<'_> {
    fn hold(&mut self, kind: &str, action: &str, id: &str, attributes: serde_json::Value) {
        let event = json!({"Type": kind, "Action": action, "scope": "local",
            "Actor": {"ID": id, "Attributes": attributes}});
        let subject = attributes["container"].as_str().unwrap_or(id).to_owned();
        self.held.push((subject, event.to_string()));
    }

    fn member(&mut self, action: &str, id: &str) {
        self.hold("network", action, BRIDGE.1, json!({"container": id}));
    }

    fn start(&mut self, n: u16) {
        self.count += 1;
        let name = format!("c{n}.{}", self.count);
        let container = FakeContainer::new(n, &name).publish(8000 + n, 80);
        self.running.insert(n, container.clone());
        self.engine.put(container);
    }

    fn end(&mut self, n: u16) {
        self.running.remove(&n);
        self.engine.remove(&FakeContainer::new(n, "").id);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start(n) if !self.running.contains_key(&n) => {
                let id = FakeContainer::new(n, "").id;
                self.member("connect", &id);
                self.start(n);
                self.hold("container", "start", &id, json!({}));
            }
            Happening::Kill(n) if self.running.contains_key(&n) => {
                let id = FakeContainer::new(n, "").id;
                self.hold("container", "die", &id, json!({}));
                self.end(n);
                self.member("disconnect", &id);
            }
            Happening::Rename(n) if self.running.contains_key(&n) => {
                self.start(n);
                let id = FakeContainer::new(n, "").id;
                self.hold("container", "rename", &id, json!({}));
            }
            Happening::Start(_) | Happening::Kill(_) | Happening::Rename(_) => {}
            Happening::Silently(n) if self.running.contains_key(&n) => self.end(n),
            Happening::Silently(n) => self.start(n),
            Happening::Unknown(n, kind) => {
                let id = FakeContainer::new(1000 + n, "").id;
                match kind {
                    0 => self.hold("container", "start", &id, json!({})),
                    1 => self.hold("container", "die", &id, json!({})),
                    2 => self.hold("network", "connect", &id, json!({"container": id})),
                    _ => self.hold("network", "destroy", &id, json!({})),
                }
            }
            Happening::Network(n) => {
                if let Some(id) = self.networks.remove(&n) {
                    self.engine.edit_networks(|all| all.remove(&id));
                    self.hold("network", "destroy", &id, json!({}));
                } else {
                    // An id is never given again.
                    self.count += 1;
                    let id = format!("{:060x}aaaa", self.count);
                    self.networks.insert(n, id.clone());
                    self.engine.put_network(row("net", &id, "fd00::/64"));
                    self.hold("network", "create", &id, json!({}));
                }
            }
            Happening::Break => self.engine.drop_streams(),
            Happening::Send(bits) => self.send(bits),
        }
    }

    fn send(&mut self, mut bits: u64) {
        let mut held = std::mem::take(&mut self.held);
        for n in 1..held.len() {
            if bits & 1 == 1 && held[n - 1].0 != held[n].0 {
                held.swap(n - 1, n);
            }
            bits = bits.rotate_right(1);
        }
        for (_, event) in held {
            for _ in 0..=(bits & 1) {
                self.engine.emit_raw(&event);
            }
            bits = bits.rotate_right(1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Events are lost, doubled, mixed up, and name what nobody knows; streams break.
    #[test]
    fn any_storm_ends_with_what_a_fresh_daemon_would_see(
        storm in prop::collection::vec(happening(), 0..80)
    ) {
        let engine = FakeEngine::start();
        run(async {
            let mut follower = Follower::of(&engine).await;
            let mut world = Storm {
                engine: &engine,
                running: BTreeMap::new(),
                networks: BTreeMap::new(),
                count: 0,
                held: Vec::new(),
            };
            let mut silence = false;
            for happening in &storm {
                world.happen(*happening);
                silence |= matches!(happening, Happening::Silently(_));
                // The follower runs meanwhile.
                while follower.update(Duration::from_micros(200)).await {}
            }
            world.send(0);
            let sent = engine.events();
            if silence {
                // What nobody said is found by the next list, once no row can be a teardown's.
                let pings = engine.count(&Route::Ping);
                let begun = Instant::now();
                while engine.count(&Route::Ping) < pings + 4 {
                    assert!(begun.elapsed() < DEADLINE, "pings");
                    follower.update(Duration::from_millis(1)).await;
                }
                follower.inner.commands.send(Command::Resync).await.expect("taken");
            }
            follower.is_what_a_fresh_one_sees(&engine).await;
            // Each event is a reason to ask once, and so is each list, for each container.
            let most = sent + 8 * engine.count(&Route::List);
            assert!(engine.inspects() <= most, "{} inspects", engine.inspects());
        });
    }
}
