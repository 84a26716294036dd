//! Desired and applied rules, and the ordered difference between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::forward::Owner;
use super::rule::{BackendKind, HostPort, OwnedRule, Rule, RuleId, RuleKey};
use super::shared::Shared;

/// What should be in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Static rules and DNAT rules by identity.
    pub rules: BTreeMap<RuleId, OwnedRule>,
    /// How far `rules` is complete. What it does not speak of is neither confirmed nor stale,
    /// and stays.
    pub known: Known,
    /// Whose rules are neither confirmed nor stale although all others are decided about.
    pub undecided: Undecided,
    /// Whether those of the rules that are not applied are to come; `false`: those that are applied
    /// stay, and no other comes.
    pub may_insert: bool,
}

/// The containers that Docker has named and not answered about yet. Their rules of an earlier
/// run stay, unless they contradict what is known of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undecided {
    /// Their full ids.
    pub containers: BTreeSet<String>,
    /// Which addresses are known to belong to whom, by full id.
    pub holders: BTreeMap<Ipv6Addr, String>,
    /// Addresses that their containers have left. Another container may have them now.
    pub left: BTreeSet<Ipv6Addr>,
}

impl Undecided {
    /// Whether a rule that is applied, but not desired, is to stay for now.
    fn keeps(&self, held: &OwnedRule, desired: &BTreeSet<HostPort>) -> bool {
        if self.containers.is_empty() || held.rule.is_static() {
            return false;
        }
        let mut owners = held.owners.iter();
        let is_undecided = |owner: &Owner| self.containers.contains(&owner.container_id);
        // One whose record is lost may be anybody's.
        if !(held.owners.is_empty() || owners.any(is_undecided)) {
            return false;
        }
        let Some((port, target)) = held.rule.dnat() else {
            return true;
        };
        let is_free = match self.holders.get(&target.addr) {
            Some(holder) => held.owners.iter().any(|o| o.container_id == *holder),
            None => !self.left.contains(&target.addr),
        };
        is_free && !desired.contains(&port)
    }
}

/// How much a [`Desired`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Whether every static rule that is not among the rules is to go. Where the prefixes follow
    /// from Docker's networks, not before Docker has answered.
    pub statics: bool,
    /// Whether every other rule that is not among the rules is to go: once Docker has
    /// answered.
    pub forwards: bool,
}

impl Known {
    /// All there is to know.
    pub(crate) const EVERYTHING: Self = Self {
        statics: true,
        forwards: true,
    };

    /// Whether a rule that is applied, but not desired, is to go.
    fn decides(self, rule: &Rule) -> bool {
        if rule.is_static() {
            self.statics
        } else {
            self.forwards
        }
    }
}

impl Desired {
    /// Nothing at all: what a daemon wants when it leaves.
    pub fn nothing() -> Self {
        Self {
            rules: BTreeMap::new(),
            known: Known::EVERYTHING,
            undecided: Undecided::default(),
            may_insert: true,
        }
    }

    /// Whether every rule that is not among the rules is to go.
    pub(crate) fn is_complete(&self) -> bool {
        self.known == Known::EVERYTHING && self.undecided.containers.is_empty()
    }

    /// Whether no port is to be forwarded, whatever else is not known yet.
    pub(crate) fn forwards_nothing(&self) -> bool {
        self.known.forwards && self.undecided.containers.is_empty() && !self.has_forwards()
    }

    /// Whether any of the rules forwards a port.
    pub(crate) fn has_forwards(&self) -> bool {
        let mut rules = self.rules.values();
        rules.any(|owned| owned.rule.dnat().is_some())
    }

    /// The rules that are to be in the kernel, where these are applied.
    fn wanted<'d>(
        &'d self,
        applied: &'d BTreeMap<RuleId, OwnedRule>,
    ) -> impl Iterator<Item = (&'d RuleId, &'d OwnedRule)> {
        let rules = self.rules.iter();
        rules.filter(|(id, _)| self.may_insert || applied.contains_key(id))
    }
}

/// One rule takes the place of another with the same key, in one atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The applied rule that goes.
    pub old: RuleId,
    /// The rule that comes.
    pub new: OwnedRule,
}

/// What leads from applied to desired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Pure removals, in the reverse order of insertion. They never wait for the disk.
    pub remove: Vec<RuleId>,
    /// Insertions, in the order of [`Rule`].
    pub insert: Vec<OwnedRule>,
    /// Rules that take the place of others, most often with another target.
    pub replace: Vec<Replacement>,
    /// Rules that stay in the kernel and change their owners in the journal.
    pub reown: Vec<OwnedRule>,
}

impl ChangeSet {
    /// The difference desired − applied.
    pub fn between(desired: &Desired, applied: &BTreeMap<RuleId, OwnedRule>) -> Self {
        let mut change = Self::default();
        let ports: BTreeSet<HostPort> = match desired.undecided.containers.is_empty() {
            true => BTreeSet::new(),
            false => {
                let wanted = desired.wanted(applied);
                let dnat = wanted.filter_map(|(_, owned)| owned.rule.dnat());
                dnat.map(|(port, _)| port).collect()
            }
        };
        let mut leaving: BTreeMap<(BackendKind, RuleKey<'_>), Vec<RuleId>> = BTreeMap::new();
        for (id, held) in applied {
            let stays = desired.rules.contains_key(id)
                || !desired.known.decides(&held.rule)
                || desired.undecided.keeps(held, &ports);
            if !stays {
                leaving.entry(place(&held.rule)).or_default().push(*id);
            }
        }
        for (id, wanted) in desired.wanted(applied) {
            match applied.get(id) {
                Some(held) if is_up_to_date(&held.owners, &wanted.owners) => {}
                Some(_) => change.reown.push(wanted.clone()),
                None => match leaving.get_mut(&place(&wanted.rule)).and_then(Vec::pop) {
                    Some(old) => change.replace.push(Replacement {
                        old,
                        new: wanted.clone(),
                    }),
                    None => change.insert.push(wanted.clone()),
                },
            }
        }
        change.remove = leaving.into_values().flatten().collect();
        change.remove.sort_by_key(|id| Reverse(&applied[id].rule));
        change.insert.sort_by(|a, b| a.rule.cmp(&b.rule));
        change.replace.sort_by(|a, b| a.new.rule.cmp(&b.new.rule));
        change
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.insert.is_empty()
            && self.replace.is_empty()
            && self.reown.is_empty()
    }
}

/// Whether a record has these owners, with their images. One of an earlier release has no images.
fn is_up_to_date(held: &Shared<BTreeSet<Owner>>, wanted: &Shared<BTreeSet<Owner>>) -> bool {
    held.is_same(wanted) || (held == wanted && !Owner::lack_image_of(held, wanted))
}

/// The place that a rule takes.
fn place(rule: &Rule) -> (BackendKind, RuleKey<'_>) {
    (rule.backend, rule.facts.key())
}

#[cfg(test)]
mod tests {
    use super::super::forward::Proto;
    use super::super::rule::{Basis, ContainerPort, RuleFacts};
    use super::*;

    /// A forward as this release makes it, or as an earlier one did.
    fn forward(is_new: bool) -> OwnedRule {
        let facts = RuleFacts {
            rank: 9,
            kind: "dnat".into(),
            purpose: "outside".into(),
            basis: Basis::Forward,
            dev: Some("eth0".parse().expect("a name")),
            prefix: None,
            port: Some(HostPort {
                proto: Proto::Tcp,
                addr: None,
                port: 80,
            }),
            source: None,
            target: Some(ContainerPort {
                addr: "fdfd::2".parse().expect("an address"),
                port: 8080,
            }),
        };
        let backend = BackendKind::Ip6tables;
        let rule = match is_new {
            true => Rule::new(backend, "80 to 8080", facts),
            false => Rule::recorded(RuleId::from_bytes([1; 8]), backend, "".into(), facts),
        };
        OwnedRule {
            rule,
            owners: BTreeSet::new().into(),
        }
    }

    fn by_id(owned: OwnedRule) -> BTreeMap<RuleId, OwnedRule> {
        [(owned.rule.id(), owned)].into()
    }

    #[test]
    fn where_nothing_may_be_inserted_what_is_applied_stays_and_what_is_unwanted_goes() {
        let (here, other) = (forward(true), forward(false));
        let mut desired = Desired {
            rules: by_id(here.clone()),
            may_insert: false,
            ..Desired::nothing()
        };
        let change = |desired: &Desired, applied| ChangeSet::between(desired, &applied);
        assert_eq!(change(&desired, BTreeMap::new()), ChangeSet::default());
        assert_eq!(change(&desired, by_id(here.clone())), ChangeSet::default());
        // Not replaced: the new rule does not come, and the old one is not wanted.
        let removal = ChangeSet {
            remove: vec![other.rule.id()],
            ..ChangeSet::default()
        };
        assert_eq!(change(&desired, by_id(other)), removal);
        desired.may_insert = true;
        assert_eq!(change(&desired, BTreeMap::new()).insert, [here]);
    }

    #[test]
    fn an_upgrade_replaces_what_an_earlier_release_has_left_without_a_gap() {
        let (old, new) = (forward(false), forward(true));
        let desired = Desired {
            rules: by_id(new.clone()),
            ..Desired::nothing()
        };
        let change = ChangeSet::between(&desired, &by_id(old.clone()));
        let replace = vec![Replacement {
            old: old.rule.id(),
            new,
        }];
        let expected = ChangeSet {
            replace,
            ..ChangeSet::default()
        };
        assert_eq!(change, expected);
    }

    #[test]
    fn a_record_without_the_image_is_written_anew_and_no_other() {
        let of_image = |image: &str| {
            let mut forward = forward(true);
            let owner = Owner::new("c1", "web", "bridge").of_image(image);
            forward.owners = BTreeSet::from([owner]).into();
            forward
        };
        let cases = [
            ("", "nginx", 1),
            ("nginx", "nginx", 0),
            ("nginx", "", 0),
            ("nginx", "sha256:5c5c", 0),
        ];
        for (held, wanted, reowned) in cases {
            let desired = Desired {
                rules: by_id(of_image(wanted)),
                ..Desired::nothing()
            };
            let mut change = ChangeSet::between(&desired, &by_id(of_image(held)));
            assert_eq!(change.reown.len(), reowned, "{held:?} to {wanted:?}");
            change.reown.clear();
            assert!(change.is_empty(), "{change:?}");
        }
    }
}
