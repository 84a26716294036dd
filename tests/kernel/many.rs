//! Which backend `auto` takes after a run with very many published ports.

use crate::running::{container, engine};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::shell::sh;

/// One more than `auto` leaves to ip6tables.
const PORTS: u16 = 2_001;

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn after_very_many_ports_auto_takes_nftables_unless_something_drops_what_we_forward() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(&[]);
        let auto = ["--backend", "auto"];
        let mut many = container(2, 20_000);
        for port in 1..PORTS {
            many = many.publish(20_000 + port, 1_000 + port);
        }
        engine.put(many);
        let ports = usize::from(PORTS);
        let by = |backend: &str| {
            let backend = backend.to_owned();
            move |daemon: &mut Daemon<'_>| {
                daemon.until(&format!("all ports by {backend}"), |status| {
                    status.backend == backend && status.forwards == ports
                });
            }
        };
        let (ip6tables, nftables) = (by("ip6tables"), by("nftables"));
        // Nothing is known of how many there will be.
        let mut daemon = Daemon::ready(&scene, &engine, &auto);
        ip6tables(&mut daemon);
        daemon.kill();
        sh("ip6tables -P FORWARD DROP");
        let mut daemon = Daemon::ready(&scene, &engine, &auto);
        ip6tables(&mut daemon);
        daemon.says("ip6tables is kept for very many ports");
        daemon.kill();
        sh("ip6tables -P FORWARD ACCEPT");
        let mut daemon = Daemon::ready(&scene, &engine, &auto);
        nftables(&mut daemon);
        daemon.waits("no rule of ip6tables", |scene| {
            scene
                .traces()
                .iter()
                .all(|line| !line.contains("DOCKER-NAT66"))
        });
        daemon.leaves();
        assert_eq!(scene.traces(), Vec::<String>::new());
    });
}
