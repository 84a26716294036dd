//! Which reason a forward ends for.

use std::collections::BTreeSet;

use super::*;
use crate::journal::testing::record;
use crate::mapper::forwards::{Resolved, samples};
use crate::mapper::skipped::{Reason, Skipped};
use crate::model::container::Snapshot;
use crate::model::forward::{Proto, Sources};
use crate::model::intent::Policy;

fn forward(port: u16, addr: &str, owner: Owner) -> Forward {
    Forward {
        proto: Proto::Tcp,
        host_addr: None,
        host_port: port,
        container_addr: addr.parse().expect("an address"),
        container_port: 80,
        sources: Sources::Any,
        owner,
    }
}

/// Docker shows the containers of these forwards.
fn round(forwards: Option<Vec<Forward>>, stands_by: bool) -> Cause {
    let owners = forwards.iter().flatten().map(|it| it.owner.clone());
    let mut snapshot = Snapshot::default();
    for owner in owners {
        let mut container = samples::container(&owner.container_id);
        container.endpoints[0].network = owner.network.clone();
        snapshot
            .containers
            .insert(container.id.clone(), container.into());
    }
    round_with(forwards, snapshot, Vec::new(), stands_by)
}

fn round_with(
    forwards: Option<Vec<Forward>>,
    snapshot: Snapshot,
    skipped: Vec<Skipped>,
    stands_by: bool,
) -> Cause {
    let resolved = Resolved {
        skipped,
        ..Resolved::default()
    };
    let remaining = Remaining::new(Some(snapshot.into()), resolved.into());
    let mut intent = Intent::new(Policy::default(), forwards);
    intent.known.forwards = true;
    Cause::Round {
        intent: intent.into(),
        remaining: remaining.into(),
        stands_by,
        began: BEGAN,
    }
}

/// When the rounds of the tests begin.
const BEGAN: u64 = 1_767_400_000;

fn reason(cause: &Cause, record: &Record, container: Option<&Owner>) -> EndReason {
    Reasons::new(cause, &Records::default()).of(record, container, false)
}

/// The address that the records of the tests lead to.
const HERE: &str = "fdfd:5898:4917:1::2";

#[test]
fn the_reason_follows_from_what_docker_publishes_then() {
    let record = Record {
        state: RecordState::Removing,
        ..record(80)
    };
    let own = record.owned.owners.first().expect("an owner");
    let other = || Owner::new("other", "other", "bridge");
    let cases = [
        (Cause::Unknown, EndReason::RuleGone),
        (Cause::Leaving, EndReason::DaemonLeft),
        (round(Some(vec![]), true), EndReason::DockerNat),
        (round(None, false), EndReason::Unconfirmed),
        (round(Some(vec![]), false), EndReason::ContainerEnded),
        (
            round(Some(vec![forward(81, HERE, own.clone())]), false),
            EndReason::Unpublished,
        ),
        (
            round(Some(vec![forward(80, HERE, own.clone())]), false),
            EndReason::Changed,
        ),
        (
            round(Some(vec![forward(80, "fd00::9", own.clone())]), false),
            EndReason::Moved,
        ),
        (
            round(Some(vec![forward(80, HERE, other())]), false),
            EndReason::TakenOver,
        ),
    ];
    for (cause, expected) in cases {
        assert_eq!(reason(&cause, &record, Some(own)), expected, "{cause:?}");
    }
}

#[test]
fn what_a_container_that_goes_on_has_lost_is_the_reason() {
    let record = record(80);
    let own = record.owned.owners.first().expect("an owner");
    let here: Ipv6Addr = HERE.parse().expect("an address");
    let cases: [(&str, Option<Reason>, EndReason); 6] = [
        ("joined", None, EndReason::Unpublished),
        ("none", None, EndReason::LeftNetwork),
        ("left", None, EndReason::ContainerEnded),
        (
            "joined",
            Some(Reason::NoAddress(vec![here])),
            EndReason::Setting,
        ),
        (
            "joined",
            Some(Reason::TooMany { rules: 9, most: 8 }),
            EndReason::Setting,
        ),
        (
            "joined",
            Some(Reason::AddressOf(here, "other".to_owned())),
            EndReason::TakenOver,
        ),
    ];
    for (network, why, expected) in cases {
        let mut container = samples::container(&own.container_id);
        container.endpoints[0].network = own.network.clone();
        container.endpoints[0].left = network == "left";
        if network == "none" {
            container.endpoints.clear();
        }
        let skipped = why.clone().map(|reason| Skipped {
            container_id: container.id.clone(),
            container_name: container.name.clone(),
            port: None,
            reason,
        });
        let snapshot = Snapshot {
            containers: [(container.id.clone(), container.into())].into(),
            ..Snapshot::default()
        };
        let skipped = skipped.into_iter().collect();
        let cause = round_with(Some(Vec::new()), snapshot, skipped, false);
        assert_eq!(
            reason(&cause, &record, Some(own)),
            expected,
            "{network} {why:?}"
        );
    }
}

#[test]
fn a_rule_that_somebody_removed_is_told_from_one_that_settings_replace() {
    let mut record = record(80);
    record.state = RecordState::Applied;
    let own = record.owned.owners.first().expect("an owner");
    let cause = round(Some(vec![forward(80, HERE, own.clone())]), false);
    let mut records = Records::from([(record.id(), record.clone())]);
    let of = |records: &Records, record: &Record, is_put_in_again| {
        Reasons::new(&cause, records).of(record, Some(own), is_put_in_again)
    };
    assert_eq!(of(&records, &record, true), EndReason::RuleGone);
    assert_eq!(of(&records, &record, false), EndReason::RuleGone);
    let mut removing = record.clone();
    removing.state = RecordState::Removing;
    assert_eq!(of(&records, &removing, false), EndReason::Changed);
    // Another rule has taken its place, as at an upgrade.
    let mut next = record.clone();
    next.owned.rule = crate::model::rule::Rule::recorded(
        crate::model::rule::RuleId::from_bytes([7; 8]),
        record.owned.rule.backend,
        "".into(),
        record.owned.rule.facts.clone(),
    );
    records.insert(next.id(), next);
    assert_eq!(of(&records, &record, false), EndReason::Changed);
    // Before Docker has answered, the daemon closes nothing.
    let mut unheard = Intent::new(Policy::default(), None);
    let before = |intent: &Intent| Cause::Round {
        intent: Arc::new(intent.clone()),
        remaining: Arc::default(),
        stands_by: false,
        began: BEGAN,
    };
    assert_eq!(
        self::reason(&before(&unheard), &record, Some(own)),
        EndReason::RuleGone
    );
    unheard.known.forwards = true;
    assert_eq!(
        self::reason(&before(&unheard), &record, Some(own)),
        EndReason::Unconfirmed
    );
}

#[test]
fn a_start_tells_a_reboot_from_a_kill() {
    let boot_id = record(80).boot_id;
    let next_boot = BootId::new("another");
    let cases = [
        (RecordState::Applied, &boot_id, EndReason::RuleGone),
        (RecordState::Removing, &boot_id, EndReason::DaemonKilled),
        (RecordState::Applied, &next_boot, EndReason::Rebooted),
        (RecordState::Removing, &next_boot, EndReason::Rebooted),
    ];
    for (state, boot_id, expected) in cases {
        let boot_id = boot_id.clone();
        let cause = Cause::Recovery { boot_id };
        let record = Record {
            state,
            ..record(80)
        };
        assert_eq!(reason(&cause, &record, None), expected);
    }
}

#[test]
fn very_many_containers_are_told_apart_too() {
    let owners: Vec<Owner> = (0..40)
        .map(|n| Owner::new(format!("c{n}"), "x", "bridge"))
        .collect();
    let forwards = owners.iter().step_by(2).zip(1000..);
    let forwards = forwards.map(|(owner, port)| forward(port, HERE, owner.clone()));
    let cause = round(Some(forwards.collect()), false);
    let record = record(80);
    let records = Records::default();
    let mut reasons = Reasons::new(&cause, &records);
    for (n, owner) in owners.iter().enumerate() {
        let expected = match n % 2 {
            0 => EndReason::Unpublished,
            _ => EndReason::ContainerEnded,
        };
        assert_eq!(reasons.of(&record, Some(owner), false), expected, "{n}");
    }
}

#[test]
fn what_a_round_closes_is_closed_when_the_round_begins() {
    let (round, records) = (round(None, false), Records::default());
    let one = record(80);
    let moment = |cause: &Cause, now| Reasons::new(cause, &records).moment(&one, now);
    assert_eq!(moment(&round, BEGAN + 9), BEGAN);
    assert_eq!(moment(&round, BEGAN - 9), BEGAN - 9, "a clock set back");
    assert_eq!(moment(&Cause::Leaving, BEGAN + 9), BEGAN + 9);
}

#[test]
fn what_was_replaced_when_the_power_went_ended_then_and_not_at_the_next_boot() {
    let old = record(80);
    let text = "nat PREROUTING -i eth0 -p tcp --dport 80 -j DNAT \
                --to-destination [fdfd:5898:4917:1::3]:80 ! -s fe80::/10 -m addrtype --dst-type LOCAL";
    let rule = crate::backend::compile::rule(BackendKind::Ip6tables, text).expect("a rule of ours");
    let own = old.owned.owners.first().expect("an owner").clone();
    let cause = Cause::Recovery {
        boot_id: BootId::new("next"),
    };
    for (owner, expected) in [
        (Owner::new("other", "other", "bridge"), EndReason::TakenOver),
        (own.clone(), EndReason::Moved),
    ] {
        let mut new = old.clone();
        new.owned.rule = rule.clone();
        new.owned.owners = [owner].into_iter().collect::<BTreeSet<_>>().into();
        new.inserted_at += 5;
        let records: Records = [old.clone(), new.clone()]
            .map(|record| (record.id(), record))
            .into();
        let mut reasons = Reasons::new(&cause, &records);
        let now = old.inserted_at + 100;
        assert_eq!(reasons.of(&old, Some(&own), false), expected);
        assert_eq!(reasons.moment(&old, now), new.inserted_at);
        let last = new.owned.owners.first();
        assert_eq!(reasons.of(&new, last, false), EndReason::Rebooted);
        assert_eq!(reasons.moment(&new, now), now);
    }
}
