//! The daemon's own nftables table, as nft lists it.
//!
//! Not in JSON: nft 1.0.6 prints nothing at all, successfully, of a table that has outlived its
//! owner.

use crate::support::lab::rules::{Published, is_ours};
use crate::support::lab::space::Place;

/// An element of one of the table's sets and maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    set: String,
    /// The parts of the key, and of what a map makes of it.
    key: Vec<String>,
    data: Vec<String>,
    comment: String,
}

/// Every element, sorted; none where there is no table.
pub(crate) fn all(place: Place<'_>) -> Vec<Element> {
    let listed = place.output(&["nft", "-s", "list", "table", "ip6", "docker_nat66"]);
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        assert!(said.contains("No such file or directory"), "{said}");
        return Vec::new();
    }
    parse(&String::from_utf8_lossy(&listed.stdout))
}

pub(crate) fn parse(listing: &str) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut set = "";
    let mut rest = listing;
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        let line = line.trim();
        if let Some(name) = line.strip_prefix("set ").or(line.strip_prefix("map ")) {
            set = name.trim_end_matches(" {");
        }
        if let Some(first) = line.strip_prefix("elements = {") {
            let (more, after) = match first.split_once('}') {
                Some((all, _)) => (all.to_owned(), after),
                None => {
                    let (more, after) = after.split_once('}').expect("an end");
                    (format!("{first}{more}"), after)
                }
            };
            rest = after;
            elements.extend(more.split(',').map(|text| Element::read(set, text)));
        }
    }
    elements.sort();
    elements
}

/// The parts of a concatenation.
fn parts(text: &str) -> Vec<String> {
    let parts = text.split(" . ");
    let plain = |part: &str| part.trim().trim_matches('"').to_owned();
    parts.map(plain).filter(|part| !part.is_empty()).collect()
}

impl Element {
    /// `KEY counter comment "COMMENT" : DATA`, of which only the key must be there.
    fn read(set: &str, text: &str) -> Self {
        let (key, data) = text.split_once(" : ").unwrap_or((text, ""));
        let (key, comment) = key.split_once(" comment ").unwrap_or((key, ""));
        Self {
            set: set.to_owned(),
            key: parts(key.trim_end().trim_end_matches(" counter")),
            data: parts(data),
            comment: comment.trim().trim_matches('"').to_owned(),
        }
    }

    /// In the words of nft, with the comment as ip6tables would show it.
    pub(crate) fn line(&self) -> String {
        let Self {
            set,
            key,
            data,
            comment,
        } = self;
        let (key, data) = (key.join(" . "), data.join(" . "));
        format!("element {set} {key} : {data} --comment {comment}")
    }
}

/// The daemon's own elements of one set.
fn ours<'e>(elements: &'e [Element], set: &str) -> impl Iterator<Item = &'e Element> {
    let of_set = move |e: &&Element| e.set == set && is_ours(&e.line());
    elements.iter().filter(of_set)
}

fn keys(elements: &[Element], set: &str) -> Vec<String> {
    ours(elements, set).map(|e| e.key.join(" . ")).collect()
}

/// `DEV PREFIX` of each pair whose packets are masqueraded.
pub(crate) fn masquerades(elements: &[Element]) -> Vec<String> {
    let prefixes = keys(elements, "prefixes");
    let devices = keys(elements, "egress").into_iter();
    devices
        .flat_map(|dev| prefixes.iter().map(move |prefix| format!("{dev} {prefix}")))
        .collect()
}

/// The forwards for what arrives from outside: one for each interface that they are meant for.
pub(crate) fn published(elements: &[Element]) -> Vec<Published> {
    let mut rules = Vec::new();
    let maps = [
        "forwards",
        "forwards_host",
        "forwards_from",
        "forwards_from_host",
    ];
    for element in maps.iter().flat_map(|map| ours(elements, map)) {
        let mut key = element.key.iter();
        if element.set.starts_with("forwards_from") {
            // The sources, of which nothing is said of ip6tables' rules either.
            key.next();
        }
        let addr = match element.set.ends_with("_host") {
            true => key.next().expect("an address"),
            false => "*",
        };
        let [proto, port] = key.as_slice() else {
            panic!("{element:?}")
        };
        let [target, inside] = &element.data[..] else {
            panic!("{element:?}")
        };
        for dev in keys(elements, "egress") {
            rules.push(Published::new(
                format!("{dev} {proto} {addr} {port}"),
                format!("[{target}]:{inside}"),
            ));
        }
    }
    rules
}
