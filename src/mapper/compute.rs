//! From options, what Docker has said and what the host shows, to what is to be open.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::forwards::{Bounds, Resolved, resolve};
use super::published::published;
use super::{holders, limit, networks};
use crate::model::change::{Known, Undecided};
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::model::intent::{Hairpin, Intent, Outgoing, Policy, RuleLimit, Unpublished};
use crate::model::published::Published;

/// The command line's options that decide what is open.
#[derive(Debug, Clone)]
pub struct MapperOptions {
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
    /// How many rules the backend can hold; `None`: as many as there are ports.
    pub limit: Option<RuleLimit>,
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
pub struct HostFacts {
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
pub enum DockerState<'a> {
    /// Nothing yet: forwards of an earlier run stay.
    NotYet,
    /// Nothing, for too long: forwards of an earlier run go.
    Silence,
    /// This.
    Snapshot(&'a Snapshot),
}

/// What is to be open, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// What is to be open while Docker's own NAT is off.
    pub intent: Intent,
    /// What Docker's own NAT is compared with; `None` before it is known.
    pub published: Option<Published>,
    /// What the snapshot gave; empty without one.
    pub resolved: Resolved,
}

impl MapperOptions {
    /// The containers' prefixes, as far as they are known.
    pub(super) fn prefixes_of(&self, snapshot: Option<&Snapshot>) -> Vec<Ipv6Net> {
        match (&self.prefixes, snapshot) {
            (Choice::Fixed(prefixes), _) => prefixes.clone(),
            (Choice::Auto, Some(snapshot)) => networks::prefixes(snapshot),
            (Choice::Auto, None) => Vec::new(),
        }
    }

    /// What is to be open now.
    pub fn compute(&self, docker: DockerState<'_>, host: &HostFacts) -> Computed {
        let snapshot = match docker {
            DockerState::Snapshot(snapshot) => Some(snapshot),
            DockerState::NotYet | DockerState::Silence => None,
        };
        let devices = match &self.devices {
            Choice::Fixed(devices) => devices.clone(),
            Choice::Auto => host.default_devices.clone(),
        };
        let prefixes = self.prefixes_of(snapshot);
        let are_known = self.prefixes != Choice::Auto || snapshot.is_some();
        let known = Known {
            // A host without a default route (yet) does not tell where its egress is.
            statics: are_known && !devices.is_empty(),
            forwards: match docker {
                DockerState::NotYet => false,
                DockerState::Silence => true,
                // Without an interface none can be confirmed; that is waited for, too, but
                // not for ever: their addresses may belong to others by now.
                DockerState::Snapshot(_) => !devices.is_empty() || host.grace_over,
            },
        };
        let mut resolved = snapshot.map(|snapshot| {
            let bounds = Bounds {
                prefixes: prefixes.clone(),
                host_addrs: host.host_addrs.clone(),
            };
            resolve(snapshot, &bounds)
        });
        let policy = Policy {
            devices,
            unpublished: self.unpublished,
            outgoing: self.outgoing,
            hairpin: match self.hairpin {
                HairpinMode::Auto => Hairpin::Only(host.unserved.clone()),
                HairpinMode::On => Hairpin::On,
                HairpinMode::Off => Hairpin::Off,
            },
            snat: snapshot.map_or_else(Vec::new, |s| networks::sources(s, &prefixes)),
            prefixes,
        };
        if let (Some(limit), Some(snapshot), Some(resolved)) = (self.limit, snapshot, &mut resolved)
        {
            limit::keep_within(limit, &policy, snapshot, resolved);
        }
        let forwards = resolved.as_ref().map(|r| r.forwards.clone());
        let undecided = match snapshot {
            // Then Docker has had its time, and their addresses may belong to others by now.
            Some(snapshot) if !host.grace_over => holders::undecided(snapshot),
            _ => Undecided::default(),
        };
        Computed {
            intent: Intent {
                known,
                undecided,
                ..Intent::new(policy, forwards)
            },
            published: snapshot.and_then(|s| published(s, host.grace_over)),
            resolved: resolved.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::backend::compile::desired;
    use crate::mapper::forwards::samples::snapshot;
    use crate::model::rule::{BackendKind, OwnedRule, RuleId};

    fn automatic() -> MapperOptions {
        MapperOptions {
            devices: Choice::Auto,
            prefixes: Choice::Auto,
            unpublished: Unpublished::Accept,
            outgoing: Outgoing::Accept,
            hairpin: HairpinMode::Auto,
            limit: None,
        }
    }

    fn rules(planned: &Computed) -> BTreeMap<RuleId, OwnedRule> {
        desired(BackendKind::Ip6tables, &planned.intent).rules
    }

    fn host() -> HostFacts {
        HostFacts {
            default_devices: vec!["eth0".parse().unwrap()],
            ..HostFacts::default()
        }
    }

    #[test]
    fn nothing_is_judged_before_there_is_something_to_judge_by() {
        let plan = automatic();
        let before = plan.compute(DockerState::NotYet, &host()).intent;
        assert_eq!(
            before.known,
            Known {
                statics: false,
                forwards: false
            }
        );
        assert!(before.policy.prefixes.is_empty() && before.forwards.is_none());
        let silence = plan.compute(DockerState::Silence, &host()).intent;
        assert_eq!(
            silence.known,
            Known {
                statics: false,
                forwards: true
            }
        );
        for grace_over in [false, true] {
            let no_route = HostFacts {
                grace_over,
                ..HostFacts::default()
            };
            let planned = plan.compute(DockerState::Snapshot(&snapshot()), &no_route);
            let known = Known {
                statics: false,
                forwards: grace_over,
            };
            assert_eq!(planned.intent.known, known);
        }
    }

    #[test]
    fn networks_and_routes_give_prefixes_and_devices() {
        let planned = automatic().compute(DockerState::Snapshot(&snapshot()), &host());
        assert_eq!(planned.intent.known, Known::EVERYTHING);
        assert_eq!(planned.resolved.forwards.len(), 1);
        let rules = rules(&planned);
        let kinds: BTreeSet<&str> = rules.values().map(|r| r.rule.spec.kind()).collect();
        assert_eq!(
            kinds,
            BTreeSet::from(["dnat", "guard", "jump", "masquerade"])
        );
    }

    #[test]
    fn a_port_that_nobody_serves_gets_its_hairpin() {
        let host = HostFacts {
            unserved: BTreeSet::from([(Proto::Tcp, 8080)]),
            ..host()
        };
        let rules = rules(&automatic().compute(DockerState::Snapshot(&snapshot()), &host));
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
        let host = HostFacts {
            unserved: BTreeSet::from([(Proto::Tcp, 8080)]),
            ..host()
        };
        let rules = rules(&automatic().compute(DockerState::Snapshot(&limited), &host));
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
