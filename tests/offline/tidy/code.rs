//! Reads Rust as far as the walls need it: what is code, its words, and the paths in it.

/// Blanks comments, and what stands between the quotes of strings and characters.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = code.chars().next_back().unwrap_or(' ');
        let in_word = before.is_alphanumeric() || before == '_';
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest).filter(|_| !in_word || before == 'b') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 2..];
            hashes + 2 + body.find(&end).map_or(body.len(), |at| at + end.len())
        } else if c == '"' {
            1 + closing(&rest[1..], '"')
        } else if c == '\'' && is_character(rest) {
            1 + closing(&rest[1..], '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let (blank, after) = rest.split_at(length);
        code.extend(blank.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = after;
    }
    code
}

/// How many hashes a raw string here begins with, if one does.
fn raw_string(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// A quote begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!(
        (chars.next(), chars.next()),
        (Some('\\'), _) | (Some(_), Some('\''))
    )
}

/// Bytes up to and with the closing quote.
fn closing(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Words and single signs, `::` as one.
pub(crate) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Every path in the code, groups of `use` taken apart: `std::fmt`, `crate::model::rule`. Their
/// last segment may be missing where a group ends in `self` or `*`.
pub(crate) fn paths(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut groups: Vec<String> = Vec::new();
    let mut path = String::new();
    for token in tokens {
        match token {
            "::" => path.push_str("::"),
            "{" if path.ends_with("::") => groups.push(std::mem::take(&mut path)),
            _ => {
                let is_word = token.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                if is_word && path.ends_with("::") {
                    path.push_str(token);
                    continue;
                }
                if !path.is_empty() {
                    paths.push(format!("{}{path}", groups.concat()));
                }
                path.clear();
                if is_word {
                    path.push_str(token);
                } else if token == "}" {
                    groups.pop();
                } else if token == ";" {
                    groups.clear();
                }
            }
        }
    }
    paths.retain(|path| path.contains("::"));
    paths
}

/// The code without the items that are only compiled for tests or fuzzing.
pub(crate) fn production(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(") {
        let end = at + rest[at..].find(']').map_or(0, |end| end + 1);
        let condition = &rest[at..end];
        let is_test = tokens(condition).contains(&"test") && !condition.contains("not(test");
        if is_test {
            kept.push_str(&rest[..at]);
            rest = &rest[end + item(&rest[end..])..];
        } else {
            kept.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    kept + rest
}

/// The length of the item that stands here: up to its semicolon or its last brace.
fn item(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn what_is_only_for_tests_is_no_production() {
    let code = "#[cfg(any(test, fuzzing))]\npub use a::{b};\nfn c() { d }\n\
        #[cfg(not(test))]\nfn e() {}\n#[cfg(test)]\nmod f { fn g() {} }\nfn h() {}";
    let words = production(code);
    let words = tokens(&words);
    let left: Vec<_> = ["b", "d", "e", "g", "h"]
        .into_iter()
        .filter(|w| words.contains(w))
        .collect();
    assert_eq!(left, ["d", "e", "h"]);
}

#[test]
fn the_reader_of_code_sees_what_is_code() {
    let text = "a(\"sled \\\" x\"); // sled\nlet c = '\"'; fn f<'a>() { r#\"sled\"\"# ; sled::x }";
    let code = code_of(text);
    assert_eq!(tokens(&code).iter().filter(|t| **t == "sled").count(), 1);
    assert_eq!(code.lines().count(), 2);
    let code = "use std::{collections::{BTreeMap, BTreeSet}, fs}; use a::B; fn x() { C::d() }";
    let expected = [
        "std::collections::BTreeMap",
        "std::collections::BTreeSet",
        "std::fs",
        "a::B",
        "C::d",
    ];
    assert_eq!(paths(code), expected);
}
