//! Computes what is to be open, from the options, Docker's snapshot and the host's facts.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

use ipnet::Ipv6Net;

use super::forwards::{Bounds, Resolved};
use super::parts::Parts;
use super::{holders, limit, networks};
use crate::model::change::{Known, Undecided};
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::model::intent::{Hairpin, Intent, Outgoing, Policy, RuleLimit, Unpublished};
use crate::model::published::Published;
use crate::model::shared::Shared;

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

/// Values that the user gives, or that the daemon finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<T> {
    /// The user's values, never empty.
    Fixed(Vec<T>),
    /// `auto`.
    Auto,
}

/// `--hairpin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HairpinMode {
    /// For ports that no other program serves.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Facts of the host that decide what is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The host's own addresses.
    pub host_addrs: BTreeSet<Ipv6Addr>,
    /// The interfaces of the host's IPv6 default routes. While there is no such route, those of
    /// the last ones.
    pub default_devices: Vec<Device>,
    /// Whether the host has an IPv6 default route now.
    pub routed: bool,
    /// Published ports that no docker-proxy serves.
    pub unserved: Shared<BTreeSet<(Proto, u16)>>,
    /// Whether the time in which Docker may confirm forwards of an earlier run is over
    /// (`--stale-grace`).
    pub grace_over: bool,
}

/// What the daemon knows of Docker.
#[derive(Debug, Clone, Copy)]
pub enum DockerState<'a> {
    /// Docker has not answered yet: forwards of an earlier run stay.
    NotYet,
    /// Docker has not answered in time: forwards of an earlier run go.
    Silence,
    /// Docker's last snapshot.
    Snapshot(&'a Snapshot),
}

/// What is to be open, and what it was computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// What is to be open while Docker's own NAT is off.
    pub intent: Intent,
    /// What the audit compares Docker's own NAT with; `None` before it is known.
    pub published: Option<Arc<Published>>,
    /// A number that changes whenever the published ports, or those among them that are to be open, may
    /// have.
    pub(crate) changes: u64,
    /// The snapshot's forwards and skipped ports; empty without a snapshot.
    pub resolved: Resolved,
}

impl MapperOptions {
    /// The containers' prefixes; with `auto`, none before the first snapshot.
    pub(crate) fn prefixes_of(&self, snapshot: Option<&Snapshot>) -> Vec<Ipv6Net> {
        match (&self.prefixes, snapshot) {
            (Choice::Fixed(prefixes), _) => prefixes.clone(),
            (Choice::Auto, Some(snapshot)) => networks::prefixes(snapshot),
            (Choice::Auto, None) => Vec::new(),
        }
    }

    /// Computes what is to be open now.
    pub fn compute(&self, docker: DockerState<'_>, host: &HostFacts) -> Computed {
        self.compute_from(&mut Parts::default(), docker, host)
    }

    /// The same, with what is known of the containers from the last time.
    pub(crate) fn compute_from(
        &self,
        parts: &mut Parts,
        docker: DockerState<'_>,
        host: &HostFacts,
    ) -> Computed {
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
            // With `--dev auto`, the egress is unknown until the host has a default route.
            statics: are_known && !devices.is_empty(),
            forwards: match docker {
                DockerState::NotYet => false,
                DockerState::Silence => true,
                // Without an egress interface no forward can be confirmed. The daemon waits for
                // one, but only until the grace is over: other containers may have the addresses.
                DockerState::Snapshot(_) => !devices.is_empty() || host.grace_over,
            },
        };
        let mut resolved = snapshot.map(|snapshot| {
            // The others come and go with the containers' interfaces, and are no targets anyway.
            let is_inside = |addr: &&Ipv6Addr| prefixes.iter().any(|p| p.contains(*addr));
            let bounds = Bounds {
                prefixes: prefixes.clone(),
                host_addrs: host.host_addrs.iter().filter(is_inside).copied().collect(),
            };
            parts.resolve(snapshot, &bounds)
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
            parts.refuse(limit::keep_within(limit, &policy, snapshot, resolved));
        }
        let forwards = resolved.as_ref().map(|r| r.forwards.clone());
        let undecided = match snapshot {
            // After the grace, other containers may have the addresses.
            Some(snapshot) if !host.grace_over => holders::undecided(snapshot),
            _ => Undecided::default(),
        };
        Computed {
            intent: Intent {
                known,
                undecided,
                forwards,
                ..Intent::new(policy, None)
            },
            published: snapshot.and_then(|s| parts.published(s, host.grace_over)),
            changes: parts.changes(),
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
    fn each_half_is_known_only_once_docker_and_the_host_have_shown_it() {
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
        let kinds: BTreeSet<&str> = rules.values().map(|r| &*r.rule.facts.kind).collect();
        assert_eq!(
            kinds,
            BTreeSet::from(["dnat", "guard", "jump", "masquerade"])
        );
    }

    #[test]
    fn a_port_that_nobody_serves_gets_its_hairpin() {
        let host = HostFacts {
            unserved: BTreeSet::from([(Proto::Tcp, 8080)]).into(),
            ..host()
        };
        let rules = rules(&automatic().compute(DockerState::Snapshot(&snapshot()), &host));
        let count = |kind| rules.values().filter(|r| r.rule.facts.kind == kind).count();
        // One from outside, and one for the host and the containers.
        assert_eq!((count("dnat"), count("hairpin")), (2, 1));
        assert_eq!(count("hairpin-guard"), 1);
        // All containers share these rules, and a record cannot hold that many owners.
        let mut shared = rules.values().filter(|r| r.rule.facts.kind != "dnat");
        assert!(shared.all(|r| r.owners.is_empty()));
    }

    #[test]
    fn the_label_of_sources_makes_one_rule_each_and_refuses_the_rest() {
        let mut limited = snapshot();
        let c = limited.containers.get_mut("c1").unwrap();
        let allow = "2001:db8::/32,fd99::1".to_owned();
        c.labels.insert("docker-nat66.allow".into(), allow);
        let host = HostFacts {
            unserved: BTreeSet::from([(Proto::Tcp, 8080)]).into(),
            ..host()
        };
        let rules = rules(&automatic().compute(DockerState::Snapshot(&limited), &host));
        let count = |kind| rules.values().filter(|r| r.rule.facts.kind == kind).count();
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
