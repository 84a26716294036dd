//! What every backend of rules in tables must do, whatever kernel is under it.

use docker_nat66::backend::{Backend, Batch, ErrorKind, Verb};
use docker_nat66::model::forward::Proto;
use docker_nat66::model::rule::{Rule, RuleSpec};

use super::chains;
use super::rules::{contents, dnat, every_kind, insertion, listed, removal, tcp};

/// Everybody else who works on the same tables; [`docker_nat66::backend::fake::table_of`] tells
/// in which one a line stands.
pub(crate) trait Foreign {
    /// Makes a chain or appends a rule, given as a listing prints it.
    fn add(&mut self, line: &str);
    /// Deletes a chain or a rule, given likewise.
    fn delete(&mut self, line: &str);
    /// All chains of somebody's own and all rules as listed, without counters.
    fn lines(&mut self) -> Vec<String>;
    /// Empties both tables.
    fn clear(&mut self);
}

/// One promise, on empty tables.
pub(crate) type Case = fn(&mut dyn Backend, &mut dyn Foreign);

/// Runs every case, each on empty tables.
pub(crate) fn contract(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let cases: [(&str, Case); 12] = [
        ("nothing is nothing", nothing_is_nothing),
        ("what is inserted is listed", what_is_inserted_is_listed),
        ("copies are counted", copies_are_counted),
        ("copies go one by one", copies_go_one_by_one),
        ("a stale locator", a_stale_locator_voids_the_batch),
        ("foreign rules", foreign_rules_stay_as_they_are),
        (
            "changed content",
            changed_content_is_not_believed_but_removable,
        ),
        ("replacement", a_replacement_is_one_batch),
        ("a large batch", a_large_batch_is_one_batch),
        ("two backends", what_one_inserts_another_finds),
        ("deleted by others", what_others_delete_is_gone),
        (
            "printed commands",
            what_is_printed_is_the_documented_command,
        ),
    ];
    for (name, case) in cases.into_iter().chain(chains::CASES) {
        eprintln!("case: {name}");
        foreign.clear();
        // Every change follows a listing.
        assert_eq!(backend.list(), Ok(Vec::new()));
        case(backend, foreign);
    }
    foreign.clear();
}

fn nothing_is_nothing(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(backend.commit(&Batch::default()), Ok(()));
    assert_eq!(foreign.lines(), Vec::<String>::new());
}

fn what_is_inserted_is_listed(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    let mut rules = every_kind();
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

fn copies_are_counted(backend: &mut dyn Backend, _: &mut dyn Foreign) {
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

fn copies_go_one_by_one(backend: &mut dyn Backend, _: &mut dyn Foreign) {
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
    let id = tcp(1).id().comment();
    for line in [
        "-A PREROUTING -i eth0 -p tcp -m tcp --dport 1 -m addrtype --dst-type LOCAL -j DNAT --to-destination [fdfd::2]:80".to_owned(),
        format!("-A PREROUTING -m comment --comment \"x {id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"{id} \" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"\\\"{id}\\\" \\\\ it\\'s\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"\\\" -m comment --comment \\\"{id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment x -m comment --comment \"{id}\" -j ACCEPT"),
        format!("-A PREROUTING -m comment --comment \"{}\" -j ACCEPT", id.to_uppercase()),
        "-A OUTPUT -m comment --comment \"docker-nat66:\" -j ACCEPT".to_owned(),
        "-A OUTPUT -m comment --comment docker-nat66 -j ACCEPT".to_owned(),
        "-A POSTROUTING -s fdfd::/64 -o eth0 -j MASQUERADE".to_owned(),
        "-A FORWARD -i eth0 -j DROP".to_owned(),
        format!("-A INPUT -m comment --comment \"{id} x\" -j ACCEPT"),
    ] {
        foreign.add(&line);
    }
    let before = foreign.lines();
    assert_eq!(before.len(), 12);
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(backend.commit(&insertion(&every_kind())), Ok(()));
    foreign.add("-A PREROUTING -i eth9 -j ACCEPT");
    let seen = backend.list().expect("certain");
    assert_eq!(seen.len(), every_kind().len());
    let remove = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
    foreign.delete("-A PREROUTING -i eth9 -j ACCEPT");
    assert_eq!(foreign.lines(), before);
}

fn changed_content_is_not_believed_but_removable(
    backend: &mut dyn Backend,
    foreign: &mut dyn Foreign,
) {
    let id = tcp(1).id();
    foreign.add(&format!(
        "-A PREROUTING -i eth0 -p tcp -m tcp --dport 2 -m addrtype --dst-type LOCAL \
         -m comment --comment \"{}\" -j DNAT --to-destination [fdfd::9]:80",
        id.comment()
    ));
    foreign.add(&format!(
        "-A OUTPUT -d 2001:db8::/32 ! -o eth0 -p udp -m udp --sport 1:9 \
         -m comment --comment \"{}\" -j ACCEPT",
        id.comment()
    ));
    let seen = backend.list().expect("certain");
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|r| r.id == id && r.rule.is_none()));
    let remove = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(foreign.lines(), Vec::<String>::new());
}

fn a_replacement_is_one_batch(backend: &mut dyn Backend, _: &mut dyn Foreign) {
    let old = dnat(Proto::Tcp, None, 80, "fdfd::2");
    let new = dnat(Proto::Tcp, None, 80, "fdfd::3");
    assert_eq!(backend.commit(&insertion(&[old])), Ok(()));
    let replace = Batch {
        remove: backend.list().expect("certain"),
        insert: vec![new.clone()],
    };
    assert_eq!(backend.commit(&replace), Ok(()));
    assert_eq!(listed(backend), [Some(new)]);
}

fn a_large_batch_is_one_batch(backend: &mut dyn Backend, _: &mut dyn Foreign) {
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
    foreign.add("-A PREROUTING -i eth9 -j ACCEPT");
    assert_eq!(backend.commit(&insertion(&[tcp(1)])), Ok(()));
    let remove = Batch {
        remove: backend.list().expect("certain"),
        ..Batch::default()
    };
    foreign.delete("-A PREROUTING -i eth9 -j ACCEPT");
    assert_eq!(backend.commit(&remove), Ok(()));
    assert_eq!(foreign.lines(), Vec::<String>::new());
}

fn what_others_delete_is_gone(backend: &mut dyn Backend, foreign: &mut dyn Foreign) {
    assert_eq!(backend.commit(&insertion(&[tcp(1), tcp(2)])), Ok(()));
    let line = foreign.lines().remove(0);
    foreign.delete(&line);
    assert_eq!(listed(backend), [Some(tcp(2))]);
    foreign.add(&line);
    foreign.add(&line);
    assert_eq!(listed(backend), [2, 1, 1].map(|port| Some(tcp(port))));
}

fn what_is_printed_is_the_documented_command(backend: &mut dyn Backend, _: &mut dyn Foreign) {
    for rule in every_kind() {
        let (words, place) = match &rule.spec {
            RuleSpec::Masquerade { .. } => {
                (["set postrouting", "unset postrouting"], "POSTROUTING -o ")
            }
            RuleSpec::Dnat(dnat) if dnat.key.source.is_none() => {
                (["add portfwd", "del portfwd"], "")
            }
            _ => continue,
        };
        for (verb, flag, words) in [(Verb::Add, "-A", words[0]), (Verb::Del, "-D", words[1])] {
            let line = backend.describe(verb, &rule);
            let start = format!("NAT66 {words}: /sbin/ip6tables -t nat {flag} {place}");
            assert!(line.starts_with(&start), "{line}");
            assert!(line.ends_with(&rule.id().comment()), "{line}");
        }
    }
}
