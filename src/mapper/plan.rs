//! From settings, a snapshot and what the host shows, to what should be in the kernel.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::forwards::{Bounds, Resolved, resolve};
use super::published::published;
use super::rules::{Hairpin, Layout, Outgoing, Unpublished, desired};
use super::{holders, limit, networks};
use crate::model::change::{Desired, Known, Undecided};
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::model::rule::BackendKind;

/// Settings that bear on the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whose rules they are.
    pub backend: BackendKind,
    /// `--dev`.
    pub devices: Choice<Device>,
    /// `--prefix`.
    pub prefixes: Choice<Ipv6Net>,
    /// `--unpublished`.
    pub unpublished: Unpublished,
    /// `--outgoing`.
    pub outgoing: Outgoing,
    /// `--hairpin`.
    pub hairpin: HairpinMode,
}

/// Values given, or to be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<T> {
    /// As given, never empty.
    Fixed(Vec<T>),
    /// `auto`.
    Auto,
}

/// `--hairpin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HairpinMode {
    /// Where nobody else serves the port.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What the host shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its own addresses.
    pub host_addrs: BTreeSet<Ipv6Addr>,
    /// The interfaces of its IPv6 default routes, those of the last time that there was one.
    pub default_devices: Vec<Device>,
    /// Whether there is one now.
    pub routed: bool,
    /// Published ports that no docker-proxy serves.
    pub unserved: BTreeSet<(Proto, u16)>,
    /// Whether forwards of an earlier run have stayed unconfirmed for as long as they may.
    pub grace_over: bool,
}

/// What Docker has said.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// Nothing yet: forwards of an earlier run stay.
    NotYet,
    /// Nothing, for too long: forwards of an earlier run go.
    Silence,
    /// This.
    Snapshot(&'a Snapshot),
}

/// What should be in the kernel, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What should be in the kernel.
    pub desired: Desired,
    /// What the snapshot gave; empty without one.
    pub resolved: Resolved,
}

impl Plan {
    /// The containers' prefixes, as far as they are known.
    pub(super) fn prefixes_of(&self, snapshot: Option<&Snapshot>) -> Vec<Ipv6Net> {
        match (&self.prefixes, snapshot) {
            (Choice::Fixed(prefixes), _) => prefixes.clone(),
            (Choice::Auto, Some(snapshot)) => networks::prefixes(snapshot),
            (Choice::Auto, None) => Vec::new(),
        }
    }

    /// What should be in the kernel now.
    pub fn make(&self, heard: Heard<'_>, around: &Surroundings) -> Planned {
        let snapshot = match heard {
            Heard::Snapshot(snapshot) => Some(snapshot),
            Heard::NotYet | Heard::Silence => None,
        };
        let devices = match &self.devices {
            Choice::Fixed(devices) => devices.clone(),
            Choice::Auto => around.default_devices.clone(),
        };
        let prefixes = self.prefixes_of(snapshot);
        let are_known = self.prefixes != Choice::Auto || snapshot.is_some();
        let known = Known {
            // A host without a default route (yet) does not tell where its egress is.
            statics: are_known && !devices.is_empty(),
            forwards: match heard {
                Heard::NotYet => false,
                Heard::Silence => true,
                // Without an interface none can be confirmed; that is waited for, too, but
                // not for ever: their addresses may belong to others by now.
                Heard::Snapshot(_) => !devices.is_empty() || around.grace_over,
            },
        };
        let mut resolved = snapshot.map(|snapshot| {
            let bounds = Bounds {
                prefixes: prefixes.clone(),
                host_addrs: around.host_addrs.clone(),
            };
            resolve(snapshot, &bounds)
        });
        let layout = Layout {
            backend: self.backend,
            devices,
            unpublished: self.unpublished,
            outgoing: self.outgoing,
            hairpin: match self.hairpin {
                HairpinMode::Auto => Hairpin::Only(around.unserved.clone()),
                HairpinMode::On => Hairpin::On,
                HairpinMode::Off => Hairpin::Off,
            },
            snat: snapshot.map_or_else(Vec::new, |s| networks::sources(s, &prefixes)),
            prefixes,
        };
        if let (Some(snapshot), Some(resolved)) = (snapshot, &mut resolved) {
            limit::keep_within(&layout, snapshot, resolved);
        }
        let forwards = resolved.as_ref().map(|r| r.forwards.as_slice());
        let desired = desired(&layout, forwards);
        let undecided = match snapshot {
            // Then Docker has had its time, and their addresses may belong to others by now.
            Some(snapshot) if !around.grace_over => holders::undecided(snapshot),
            _ => Undecided::default(),
        };
        Planned {
            desired: Desired {
                known,
                undecided,
                published: snapshot.and_then(|s| published(s, around.grace_over)),
                ..desired
            },
            resolved: resolved.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::samples::snapshot;

    fn automatic() -> Plan {
        Plan {
            backend: BackendKind::Ip6tables,
            devices: Choice::Auto,
            prefixes: Choice::Auto,
            unpublished: Unpublished::Accept,
            outgoing: Outgoing::Accept,
            hairpin: HairpinMode::Auto,
        }
    }

    fn around() -> Surroundings {
        Surroundings {
            default_devices: vec!["eth0".parse().unwrap()],
            ..Surroundings::default()
        }
    }

    #[test]
    fn nothing_is_judged_before_there_is_something_to_judge_by() {
        let plan = automatic();
        let before = plan.make(Heard::NotYet, &around()).desired;
        assert_eq!(
            before.known,
            Known {
                statics: false,
                forwards: false
            }
        );
        assert!(before.rules.is_empty());
        let silence = plan.make(Heard::Silence, &around()).desired;
        assert_eq!(
            silence.known,
            Known {
                statics: false,
                forwards: true
            }
        );
        for grace_over in [false, true] {
            let no_route = Surroundings {
                grace_over,
                ..Surroundings::default()
            };
            let planned = plan.make(Heard::Snapshot(&snapshot()), &no_route);
            let known = Known {
                statics: false,
                forwards: grace_over,
            };
            assert_eq!(planned.desired.known, known);
        }
    }

    #[test]
    fn networks_and_routes_give_prefixes_and_devices() {
        let planned = automatic().make(Heard::Snapshot(&snapshot()), &around());
        assert_eq!(planned.desired.known, Known::EVERYTHING);
        assert_eq!(planned.resolved.forwards.len(), 1);
        let kinds: BTreeSet<&str> = planned
            .desired
            .rules
            .values()
            .map(|r| r.rule.spec.kind())
            .collect();
        assert_eq!(
            kinds,
            BTreeSet::from(["dnat", "guard", "jump", "masquerade"])
        );
    }

    #[test]
    fn a_port_that_nobody_serves_gets_its_hairpin() {
        let around = Surroundings {
            unserved: BTreeSet::from([(Proto::Tcp, 8080)]),
            ..around()
        };
        let rules = automatic()
            .make(Heard::Snapshot(&snapshot()), &around)
            .desired
            .rules;
        let count = |kind| {
            rules
                .values()
                .filter(|r| r.rule.spec.kind() == kind)
                .count()
        };
        assert_eq!((count("dnat"), count("hairpin")), (3, 1));
        assert_eq!(count("hairpin-guard"), 1);
        // A hundred containers share them, and no record holds so many owners.
        let mut shared = rules.values().filter(|r| r.rule.spec.kind() != "dnat");
        assert!(shared.all(|r| r.owners.is_empty()));
    }

    #[test]
    fn the_label_of_sources_makes_one_rule_each_and_refuses_the_rest() {
        let mut limited = snapshot();
        let c = limited.containers.get_mut("c1").unwrap();
        let allow = "2001:db8::/32,fd99::1".to_owned();
        c.labels.insert("docker-nat66.allow".into(), allow);
        let around = Surroundings {
            unserved: BTreeSet::from([(Proto::Tcp, 8080)]),
            ..around()
        };
        let rules = automatic()
            .make(Heard::Snapshot(&limited), &around)
            .desired
            .rules;
        let count = |kind| {
            rules
                .values()
                .filter(|r| r.rule.spec.kind() == kind)
                .count()
        };
        assert_eq!(
            (
                count("dnat"),
                count("refuse"),
                count("jump"),
                count("hairpin")
            ),
            (2, 1, 2, 0)
        );
    }
}
