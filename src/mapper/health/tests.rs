//! Every problem with its id.

use super::*;
use crate::mapper::compute::HairpinMode;
use crate::mapper::forwards::samples::snapshot;
use crate::mapper::forwards::{Bounds, resolve};
use crate::model::intent::{Outgoing, Unpublished};

/// A host on which everything is right.
struct Scene {
    options: MapperOptions,
    host: HostFacts,
    conditions: Conditions,
    snapshot: Snapshot,
    standing_by: bool,
}

fn here() -> InterfaceState {
    InterfaceState::Here {
        disable_ipv6: false,
        force_forwarding: false,
        bridge: None,
        networks: vec!["2001:db8::/64".parse().unwrap()],
    }
}

fn device(name: &str) -> Device {
    name.parse().unwrap()
}

impl Scene {
    fn sound() -> Self {
        let mut snapshot = snapshot();
        let network = snapshot.networks.get_mut("n").unwrap();
        network.bridge = Some(device("docker0"));
        Self {
            options: MapperOptions {
                devices: Choice::Fixed(vec![device("eth0")]),
                prefixes: Choice::Fixed(vec!["fd00::/64".parse().unwrap()]),
                unpublished: Unpublished::Accept,
                outgoing: Outgoing::Accept,
                hairpin: HairpinMode::Off,
                limit: None,
            },
            host: HostFacts {
                default_devices: vec![device("eth0")],
                routed: true,
                host_addrs: ["fd00::1".parse().unwrap()].into(),
                ..HostFacts::default()
            },
            conditions: Conditions {
                forwarding: Some(true),
                interfaces: [(device("eth0"), here()), (device("docker0"), here())].into(),
            },
            snapshot,
            standing_by: false,
        }
    }

    fn ids(&self) -> Vec<&'static str> {
        let bounds = Bounds {
            prefixes: self.options.prefixes_of(Some(&self.snapshot)),
            ..Bounds::default()
        };
        let resolved = resolve(&self.snapshot, &bounds);
        let docker = Some((&self.snapshot, &resolved));
        let found = problems(
            &self.options,
            &self.host,
            &self.conditions,
            docker,
            self.standing_by,
        );
        let ids = found.iter().map(|problem| problem.id.as_str());
        ids.collect()
    }

    /// The egress interface's state.
    fn eth0(&mut self, change: impl FnOnce(&mut InterfaceState)) {
        let interfaces = &mut self.conditions.interfaces;
        change(interfaces.get_mut(&device("eth0")).unwrap());
    }
}

/// A change, the problem that follows, and the problem while Docker's own NAT serves the ports.
type Case = (&'static str, fn(&mut Scene), &'static [&'static str]);

#[test]
fn each_condition_has_its_id() {
    let cases: &[Case] = &[
        ("all is right", |_| {}, &[]),
        (
            "forwarding off",
            |s| s.conditions.forwarding = Some(false),
            &["forwarding"],
        ),
        (
            "no IPv6 at all",
            |s| s.conditions.forwarding = None,
            &["ipv6-disabled"],
        ),
        (
            "no device",
            |s| s.eth0(|eth0| *eth0 = InterfaceState::Missing),
            &["no-device"],
        ),
        (
            "an altname",
            |s| s.eth0(|eth0| *eth0 = InterfaceState::AnotherNameOf("enp3s0".into())),
            &["no-device"],
        ),
        (
            "IPv6 off on it",
            |s| {
                s.eth0(|eth0| match eth0 {
                    InterfaceState::Here { disable_ipv6, .. } => *disable_ipv6 = true,
                    _ => unreachable!(),
                });
            },
            &["ipv6-disabled"],
        ),
        (
            "a port of a bridge",
            |s| {
                s.eth0(|eth0| match eth0 {
                    InterfaceState::Here { bridge, .. } => *bridge = Some("br0".into()),
                    _ => unreachable!(),
                });
            },
            &["bridge-port"],
        ),
        (
            "no default route",
            |s| {
                s.options.devices = Choice::Auto;
                s.host.routed = false;
            },
            &["no-egress"],
        ),
        (
            "no default route, and nobody asks for one",
            |s| s.host.routed = false,
            &[],
        ),
        (
            "a prefix elsewhere",
            |s| s.options.prefixes = Choice::Fixed(vec!["fd01::/64".parse().unwrap()]),
            &["no-prefix-match"],
        ),
        (
            "a prefix around the LAN",
            |s| {
                let wide = ["fd00::/64", "2001:db8::/32"].map(|p| p.parse().unwrap());
                s.options.prefixes = Choice::Fixed(wide.to_vec());
            },
            &["prefix-overlap"],
        ),
        (
            "a prefix inside the LAN",
            |s| {
                let inside = ["fd00::/64", "2001:db8::1:0/112"].map(|p| p.parse().unwrap());
                s.options.prefixes = Choice::Fixed(inside.to_vec());
            },
            &[],
        ),
        (
            "no bridge",
            |s| {
                s.host.host_addrs.clear();
                let docker0 = device("docker0");
                s.conditions
                    .interfaces
                    .insert(docker0, InterfaceState::Missing);
            },
            &["wrong-netns"],
        ),
        (
            "a bridge of another name, with the gateway's address",
            |s| {
                let docker0 = device("docker0");
                s.conditions
                    .interfaces
                    .insert(docker0, InterfaceState::Missing);
            },
            &[],
        ),
    ];
    for (what, change, ids) in cases {
        let mut scene = Scene::sound();
        change(&mut scene);
        assert_eq!(scene.ids(), *ids, "{what}");
        scene.standing_by = true;
        let of_the_host = |id: &&&str| ["forwarding", "ipv6-disabled"].contains(*id);
        let is_off = scene.conditions.forwarding != Some(true);
        let ids = ids.iter().filter(|id| is_off && of_the_host(id));
        assert!(scene.ids().iter().eq(ids), "{what}, standing by");
    }
}

#[test]
fn forwarding_that_is_forced_on_every_interface_is_enough() {
    let mut scene = Scene::sound();
    scene.conditions.forwarding = Some(false);
    for interface in scene.conditions.interfaces.values_mut() {
        match interface {
            InterfaceState::Here {
                force_forwarding, ..
            } => *force_forwarding = true,
            _ => unreachable!(),
        }
    }
    assert!(scene.ids().is_empty());
    // The containers' answers arrive on the bridge.
    let docker0 = device("docker0");
    scene.conditions.interfaces.insert(docker0, here());
    assert_eq!(scene.ids(), ["forwarding"]);
}

#[test]
fn a_container_that_answers_by_a_network_outside_the_prefixes_is_named() {
    // The other network's name, whether it is internal, its gateway priority, what is given, and
    // whether the answers are lost.
    let cases = [
        ("a", false, 0, &["fd00::/64"][..], true),
        ("z", false, 0, &["fd00::/64"], false),
        ("z", false, 1, &["fd00::/64"], true),
        ("a", true, 0, &["fd00::/64"], false),
        ("a", false, 0, &["fd00::/64", "fd01::/64"], false),
    ];
    for (name, internal, priority, given, lost) in cases {
        let mut scene = Scene::sound();
        let mut other = scene.snapshot.networks["n"].clone();
        (other.id, other.name, other.internal) = ("m".to_owned(), name.into(), internal);
        other.subnets = vec!["fd01::/64".parse().unwrap()];
        scene.snapshot.networks.insert("m".to_owned(), other);
        let container = scene.snapshot.containers.get_mut("c1").unwrap();
        let mut endpoint = container.endpoints[0].clone();
        endpoint.network = name.into();
        endpoint.network_id = "m".to_owned();
        endpoint.address = Some("fd01::2".parse().unwrap());
        endpoint.gw_priority = priority;
        container.endpoints.push(endpoint);
        let prefixes: Vec<Ipv6Net> = given.iter().map(|text| text.parse().unwrap()).collect();
        scene.options.prefixes = Choice::Fixed(prefixes.clone());
        let bounds = Bounds {
            prefixes,
            ..Bounds::default()
        };
        let resolved = resolve(&scene.snapshot, &bounds);
        let found = prefix_partial(&scene.options, &scene.snapshot, &resolved);
        let remedies: Vec<_> = found.iter().map(|it| it.remedy.as_deref()).collect();
        let expected = Some("restart with --prefix fd00::/64,fd01::/64");
        assert_eq!(
            remedies,
            vec![expected; usize::from(lost)],
            "{name} {priority} {given:?}"
        );
    }
}
