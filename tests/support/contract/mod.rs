//! What every backend must do, whatever kernel is under it.
//!
//! Backends differ in what their kernel can hold and show: each case says what it needs ([`Needs`]),
//! and the kernel under a backend, real or fake, says what it has ([`Kit`]).

pub(crate) mod chains;
pub(crate) mod kit;
pub(crate) mod rules;

use docker_nat66::backend::{Backend, Batch, ErrorKind, Verb};
use docker_nat66::model::rule::Rule;

use self::rules::{contents, insertion, listed, removal};

/// What a backend is tested with.
pub(crate) struct Kit {
    /// A forward of this TCP port.
    pub(crate) tcp: fn(u16) -> Rule,
    /// The same port, forwarded to another container.
    pub(crate) elsewhere: fn(u16) -> Rule,
    /// One of every kind.
    pub(crate) every_kind: fn() -> Vec<Rule>,
    /// Lines of others that look like ours, given the comment of `tcp(1)`.
    pub(crate) lookalikes: fn(&str) -> Vec<String>,
    /// Lines that carry that comment in a place of ours, and are not `tcp(1)`.
    pub(crate) altered: fn(&str) -> Vec<String>,
    /// A line of somebody else's.
    pub(crate) stranger: &'static str,
    /// How the command begins that inserts or removes a forward.
    pub(crate) command: fn(Verb) -> &'static str,
    /// Whether an exact copy of a rule can stand beside it.
    pub(crate) copies: bool,
    /// Whether others can change what is ours.
    pub(crate) edits: bool,
}

/// What a case takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing but a backend.
    Nothing,
    /// A kernel that holds copies.
    Copies,
    /// Others who change what is ours.
    Edits,
}

/// Everybody else who works on the same tables.
pub(crate) trait Foreign {
    /// What the backend is tested with.
    fn kit(&self) -> Kit;
    /// Adds what a line of [`Foreign::lines`] or [`Kit`] says.
    fn add(&mut self, line: &str);
    /// Deletes it.
    fn delete(&mut self, line: &str);
    /// All that stands there, ours too, without counters.
    fn lines(&mut self) -> Vec<String>;
    /// Empties everything that may be emptied.
    fn clear(&mut self);
}

/// One promise, on empty tables.
pub(crate) type Case = fn(&mut dyn Backend, &mut dyn Foreign);

/// Runs every case that the backend can be put to, each on empty tables; then `more`.
pub(crate) fn contract(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
    more: &[(&str, Case)],
) {
    let cases: [(&str, Needs, Case); 13] = [
        ("nothing is nothing", Needs::Nothing, nothing_is_nothing),
        (
            "what is inserted is listed",
            Needs::Nothing,
            what_is_inserted_is_listed,
        ),
        ("copies are counted", Needs::Copies, copies_are_counted),
        ("copies go one by one", Needs::Copies, copies_go_one_by_one),
        (
            "a stale locator",
            Needs::Nothing,
            a_stale_locator_voids_the_batch,
        ),
        (
            "foreign rules",
            Needs::Nothing,
            foreign_rules_stay_as_they_are,
        ),
        (
            "changed content",
            Needs::Edits,
            changed_content_is_not_believed_but_removable,
        ),
        ("replacement", Needs::Nothing, a_replacement_is_one_batch),
        ("a large batch", Needs::Nothing, a_large_batch_is_one_batch),
        (
            "two backends",
            Needs::Nothing,
            what_one_inserts_another_finds,
        ),
        (
            "deleted by others",
            Needs::Edits,
            what_others_delete_is_gone,
        ),
        ("copied by others", Needs::Copies, what_others_copy_is_seen),
        (
            "printed commands",
            Needs::Nothing,
            what_is_printed_is_the_documented_command,
        ),
    ];
    let kit = foreign.kit();
    let possible = |needs: &Needs| match needs {
        Needs::Nothing => true,
        Needs::Copies => kit.copies,
        Needs::Edits => kit.edits,
    };
    let shared = cases.into_iter().filter(|(_, needs, _)| possible(needs));
    let shared = shared.map(|(name, _, case)| (name, case));
    for (name, case) in shared.chain(more.iter().copied()) {
        eprintln!("case: {name}");
        start_afresh(backend, foreign);
        case(backend, foreign);
    }
    start_afresh(backend, foreign);
}

/// Every change follows a listing.
fn start_afresh(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    foreign.clear();
    let left = removal(backend, |_| true);
    assert_eq!(backend.commit(&left), Ok(()));
    assert_eq!(backend.list(), Ok(Vec::new()));
}

fn nothing_is_nothing(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(backend.commit(&Batch::default()), Ok(()));
    assert_eq!(foreign.lines(), Vec::<String>::new());
}

fn what_is_inserted_is_listed(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let mut rules = (foreign.kit().every_kind)();
    assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
    let seen = backend.list().expect("certain");
    let named = |seen: &docker_nat66::backend::ObservedRule| {
        seen.rule.as_ref().is_some_and(|rule| rule.id() == seen.id)
    };
    assert!(seen.iter().all(named), "{seen:?}");
    rules.sort();
    let expected: Vec<_> = rules.into_iter().map(Some).collect();
    assert_eq!(contents(backend), expected);
    let remove = removal(backend, |_| true);
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(foreign.lines(), Vec::<String>::new());
}

fn copies_are_counted(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let tcp = foreign.kit().tcp;
    let rules = [tcp(1), tcp(2), tcp(1)];
    assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
    assert_eq!(backend.commit(&insertion(&[tcp(1)])), Ok(()));
    let ids: Vec<_> = backend
        .list()
        .expect("certain")
        .into_iter()
        .map(|r| r.id)
        .collect();
    assert_eq!(ids, [1, 2, 1, 1].map(|port| tcp(port).id()));
}

fn copies_go_one_by_one(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let tcp = foreign.kit().tcp;
    let rules = [tcp(1), tcp(2), tcp(1), tcp(1)];
    assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
    let copies = |backend: &mut dyn Backend| {
        let mut seen = backend.list().expect("certain");
        seen.retain(|r| r.id == tcp(1).id());
        seen
    };
    let mut surplus = copies(backend);
    surplus.truncate(2);
    let remove = Batch {
        remove: surplus,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(copies(backend).len(), 1);
    assert_eq!(listed(backend).len(), 2);
}

fn a_stale_locator_voids_the_batch(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let tcp = foreign.kit().tcp;
    assert_eq!(backend.commit(&insertion(&[tcp(1), tcp(2)])), Ok(()));
    let seen = backend.list().expect("certain");
    let twice = Batch {
        remove: vec![seen[0].clone(), seen[1].clone(), seen[0].clone()],
        insert: vec![tcp(3)],
    };
    let before = foreign.lines();
    let error = backend.commit(&twice).expect_err("one copy only");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert_eq!(foreign.lines(), before);
}

fn foreign_rules_stay_as_they_are(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let kit = foreign.kit();
    let every_kind = (kit.every_kind)();
    for line in (kit.lookalikes)(&(kit.tcp)(1).id().comment()) {
        foreign.add(&line);
    }
    let before = foreign.lines();
    assert!(before.len() > 10, "{before:?}");
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(backend.commit(&insertion(&every_kind)), Ok(()));
    foreign.add(kit.stranger);
    let seen = backend.list().expect("certain");
    assert_eq!(seen.len(), every_kind.len());
    let remove = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
    foreign.delete(kit.stranger);
    assert_eq!(foreign.lines(), before);
}

fn changed_content_is_not_believed_but_removable(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    let kit = foreign.kit();
    let (own, id) = ((kit.tcp)(9), (kit.tcp)(1).id());
    assert_eq!(
        backend.commit(&insertion(std::slice::from_ref(&own))),
        Ok(())
    );
    for line in (kit.altered)(&id.comment()) {
        foreign.add(&line);
    }
    let mut seen = backend.list().expect("certain");
    assert_eq!(seen.len(), 3);
    seen.retain(|r| r.id != own.id());
    assert!(seen.iter().all(|r| r.id == id && r.rule.is_none()));
    let remove = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(listed(backend), [Some(own)]);
}

fn a_replacement_is_one_batch(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let kit = foreign.kit();
    let (old, new) = ((kit.tcp)(80), (kit.elsewhere)(80));
    assert_eq!(backend.commit(&insertion(&[old])), Ok(()));
    let replace = Batch {
        remove: backend.list().expect("certain"),
        insert: vec![new.clone()],
    };
    assert_eq!(backend.commit(&replace), Ok(()));
    assert_eq!(listed(backend), [Some(new)]);
}

fn a_large_batch_is_one_batch(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let tcp = foreign.kit().tcp;
    let rules: Vec<Rule> = (1..=500).map(tcp).collect();
    assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
    let seen = backend.list().expect("certain");
    assert!(
        seen.iter()
            .map(|r| r.rule.as_ref())
            .eq(rules.iter().map(Some))
    );
    let remove = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(backend.list(), Ok(Vec::new()));
}

/// A locator outlives the listing: the rule is found again by content, wherever it stands now.
fn what_one_inserts_another_finds(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let kit = foreign.kit();
    foreign.add(kit.stranger);
    assert_eq!(backend.commit(&insertion(&[(kit.tcp)(1)])), Ok(()));
    let remove = Batch {
        remove: backend.list().expect("certain"),
        ..Batch::default()
    };
    foreign.delete(kit.stranger);
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(foreign.lines(), Vec::<String>::new());
}

fn what_others_delete_is_gone(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let tcp = foreign.kit().tcp;
    assert_eq!(backend.commit(&insertion(&[tcp(1), tcp(2)])), Ok(()));
    let id = tcp(1).id().comment();
    let mut lines = foreign.lines().into_iter();
    let line = lines.find(|line| line.contains(&id)).expect("it is there");
    foreign.delete(&line);
    assert_eq!(listed(backend), [Some(tcp(2))]);
    foreign.add(&line);
    assert_eq!(contents(backend), [1, 2].map(|port| Some(tcp(port))));
}

fn what_others_copy_is_seen(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let tcp = foreign.kit().tcp;
    assert_eq!(backend.commit(&insertion(&[tcp(1), tcp(2)])), Ok(()));
    let line = foreign.lines().remove(0);
    foreign.delete(&line);
    foreign.add(&line);
    foreign.add(&line);
    assert_eq!(listed(backend), [2, 1, 1].map(|port| Some(tcp(port))));
}

fn what_is_printed_is_the_documented_command(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let kit = foreign.kit();
    for rule in (kit.every_kind)() {
        let words = match &*rule.facts.kind {
            "masquerade" | "prefix" | "egress" | "snat" | "hairpin" => {
                ["set postrouting", "unset postrouting"]
            }
            "dnat" => ["add portfwd", "del portfwd"],
            "guard" | "guarded" => ["set forward", "unset forward"],
            "refuse" => ["add refuse", "del refuse"],
            // Of which there are two kinds.
            _ => continue,
        };
        for (verb, words) in [(Verb::Add, words[0]), (Verb::Del, words[1])] {
            let line = backend.describe(verb, &rule);
            assert!(line.starts_with(&format!("NAT66 {words}: ")), "{line}");
            let (_, command) = line.split_once(": ").expect("a command");
            if rule.dnat().is_some() {
                assert!(command.starts_with((kit.command)(verb)), "{line}");
            }
        }
    }
}
