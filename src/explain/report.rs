//! What `explain` prints: a table for people, one object for programs.

use std::net::Ipv6Addr;

use serde::Serialize;

use super::diagnosis::Diagnosis;
use super::published::Publication;
use super::trace::Decision;
use super::verdict::Endpoint;
use super::way::{Step, shown};
use crate::model::forward::Proto;

/// Width of the first column.
const FIRST: usize = 10;

/// Version of the JSON's shape.
const VERSION: u32 = 1;

/// The answer to one question.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) proto: Proto,
    pub(crate) from: Ipv6Addr,
    pub(crate) sent: Endpoint,
    pub(crate) device: String,
    pub(crate) publication: Publication,
    pub(crate) steps: Vec<Step>,
    /// Which of the steps ended the way.
    pub(crate) stop: Option<usize>,
    /// Which of them rewrote the destination, and to what.
    pub(crate) rewritten: Option<(usize, Endpoint)>,
    /// The rules that an answer met.
    pub(crate) back_steps: Vec<Step>,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) injected_by: &'static str,
    /// What else is to be known, one sentence each; safe to print.
    pub(crate) notes: Vec<String>,
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
struct Shape<'r> {
    v: u32,
    proto: &'static str,
    port: u16,
    addr: Ipv6Addr,
    from: Ipv6Addr,
    dev: &'r str,
    injected_by: &'static str,
    published: Vec<PublishedShape<'r>>,
    closed: &'r [String],
    way: Vec<StepShape<'r>>,
    back: Vec<StepShape<'r>>,
    notes: &'r [String],
    reachable: bool,
    code: &'static str,
    sentence: &'r str,
    #[serde(rename = "do")]
    remedy: Option<&'r str>,
}

#[derive(Debug, Serialize)]
struct PublishedShape<'r> {
    container_id: &'r str,
    container_name: &'r str,
    network: &'r str,
    container_addr: Ipv6Addr,
    container_port: u16,
    host_addr: Option<Ipv6Addr>,
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StepShape<'r> {
    hook: Option<&'static str>,
    priority: Option<i32>,
    family: Option<&'static str>,
    table: &'r str,
    chain: &'r str,
    handle: Option<u64>,
    rule: Option<&'r str>,
    comment: Option<&'r str>,
    verdict: &'static str,
    owner: Option<&'r str>,
    stopped: bool,
}

impl Report {
    /// One screen for people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |first: &str, rest: &str| {
            text.push_str(format!("{first:FIRST$} {rest}").trim_end());
            text.push('\n');
        };
        let mut heading = "published";
        for target in &self.publication.targets {
            let at = match target.host_addr {
                Some(addr) => format!("[{addr}]:"),
                None => String::new(),
            };
            let network = match target.network.is_empty() {
                true => String::new(),
                false => format!(", network {}", target.network),
            };
            let what = format!("{at}{}/{} → {}", self.sent.1, self.proto, target.port);
            line(heading, &format!("{}{network}, {what}", target.who()));
            if !target.sources.is_empty() {
                let nets: Vec<String> = target.sources.iter().map(ToString::to_string).collect();
                line("", &format!("only for {}", nets.join(", ")));
            }
            heading = "";
        }
        for reason in &self.publication.closed {
            line("closed", reason);
        }
        let to = format!("[{}]:{}", self.sent.0, self.sent.1);
        line(
            "packet",
            &format!("from {} to {to} on {}", self.from, shown(&self.device)),
        );
        let mut heading = "way";
        for (at, step) in self.steps.iter().enumerate() {
            line(heading, &self.step_line(at, step));
            heading = "";
        }
        let mut heading = "back";
        for step in &self.back_steps {
            let stopped = match step.decision {
                Decision::Drop => "   ← stopped here",
                _ => "",
            };
            line(heading, &format!("{}{stopped}", place_and_line(step)));
            heading = "";
        }
        for note in &self.notes {
            line("note", note);
        }
        if let Some(remedy) = &self.diagnosis.remedy {
            line("do", remedy);
        }
        text.push_str(&self.diagnosis.sentence);
        text.push('\n');
        text
    }

    fn step_line(&self, at: usize, step: &Step) -> String {
        let mut line = place_and_line(step);
        if let Some((_, (addr, port))) = self.rewritten.filter(|(rewriter, _)| *rewriter == at) {
            line.push_str(&format!("  → [{addr}]:{port}"));
        }
        if self.stop == Some(at) {
            line.push_str("   ← stopped here");
        }
        line
    }

    /// The same as one value to be written as JSON.
    pub(crate) fn json(&self) -> impl Serialize {
        let published = self
            .publication
            .targets
            .iter()
            .map(|target| PublishedShape {
                container_id: &target.id,
                container_name: target.name.raw(),
                network: target.network.raw(),
                container_addr: target.addr,
                container_port: target.port,
                host_addr: target.host_addr,
                sources: target.sources.iter().map(ToString::to_string).collect(),
            });
        let steps = self.steps.iter().enumerate();
        let back = self.back_steps.iter();
        Shape {
            v: VERSION,
            proto: self.proto.as_str(),
            port: self.sent.1,
            addr: self.sent.0,
            from: self.from,
            dev: &self.device,
            injected_by: self.injected_by,
            published: published.collect(),
            closed: &self.publication.closed,
            way: steps
                .map(|(at, step)| step_shape(step, self.stop == Some(at)))
                .collect(),
            back: back
                .map(|step| step_shape(step, step.decision == Decision::Drop))
                .collect(),
            notes: &self.notes,
            reachable: self.diagnosis.is_reachable,
            code: self.diagnosis.code,
            sentence: &self.diagnosis.sentence,
            remedy: self.diagnosis.remedy.as_deref(),
        }
    }
}

fn step_shape(step: &Step, stopped: bool) -> StepShape<'_> {
    let words = step.words.as_ref();
    StepShape {
        hook: step.place.map(|place| place.hook.as_str()),
        priority: step.place.map(|place| place.priority),
        family: super::words::family(step.spot.chain.family),
        table: &step.spot.chain.table,
        chain: &step.spot.chain.chain,
        handle: step.spot.handle,
        rule: words.map(|words| words.text.as_str()),
        comment: words.and_then(|words| words.facts.comment.as_deref()),
        verdict: match &step.decision {
            Decision::Continue => "continue",
            Decision::To(_) => "jump",
            Decision::Return => "return",
            Decision::Accept => "accept",
            Decision::Drop => "drop",
            Decision::Queue(_) => "queue",
            Decision::Stolen => "stolen",
            Decision::Other(_) => "other",
        },
        owner: step.owner.name(),
        stopped,
    }
}

fn place_and_line(step: &Step) -> String {
    let place = match step.place {
        Some(place) => format!("{:<11} {:>5}", place.hook, place.priority),
        None => format!("{:<17}", ""),
    };
    format!("{place}  {}", step.line())
}

#[cfg(test)]
mod tests {
    use super::super::owner::Owner;
    use super::super::place::{Hook, Place};
    use super::super::published::Target;
    use super::super::ruleset::RuleFacts;
    use super::super::trace::ChainName;
    use super::super::verdict::Spot;
    use super::super::words::{Language, RuleWords};
    use super::*;
    use crate::model::text::{Untrusted, must_be_escaped};

    /// What wants to clear a terminal, forge a line and turn the reading direction.
    const HOSTILE: &str = "a\u{1b}[2J\nreachable\u{202e}";

    fn step(handle: Option<u64>) -> Step {
        Step {
            place: Some(Place {
                hook: Hook::Forward,
                priority: 0,
            }),
            spot: Spot {
                chain: ChainName {
                    family: 1,
                    table: HOSTILE.to_owned(),
                    chain: HOSTILE.to_owned(),
                },
                handle,
            },
            decision: Decision::Drop,
            words: handle.map(|handle| RuleWords {
                text: format!("tcp dport 80 drop comment \"{HOSTILE}\""),
                language: Language::Nft,
                position: 1,
                facts: RuleFacts {
                    handle,
                    comment: Some(HOSTILE.to_owned()),
                    expressions: Vec::new(),
                },
            }),
            owner: Owner::Unknown,
            tool: None,
        }
    }

    #[test]
    fn what_others_have_named_steers_no_terminal_and_forges_no_line() {
        let addr = "2001:db8::1".parse().expect("an address");
        let name = || Untrusted::new(HOSTILE);
        let target = Target {
            addr,
            port: 80,
            host_addr: None,
            id: HOSTILE.to_owned(),
            name: name(),
            network: name(),
            sources: Vec::new(),
        };
        let steps = vec![step(Some(7)), step(None)];
        let report = Report {
            proto: Proto::Tcp,
            from: addr,
            sent: (addr, 8080),
            device: HOSTILE.to_owned(),
            publication: Publication {
                targets: vec![target],
                ..Publication::default()
            },
            stop: Some(1),
            rewritten: None,
            back_steps: steps.clone(),
            diagnosis: Diagnosis::closed("dropped", steps[0].chain_words()),
            steps,
            injected_by: "bpf",
            notes: Vec::new(),
        };
        let text = report.text();
        // One line each: published, packet, two of the way, two of the way back, and the sentence.
        assert_eq!(text.lines().count(), 7, "{text}");
        let bad = |c: char| c != '\n' && c != '\\' && must_be_escaped(c);
        assert!(!text.contains(bad), "{text:?}");
        let shown = "a\\u{1b}[2J\\nreachable\\u{202e}";
        for line in text.lines() {
            assert!(line.contains(shown), "{line}");
        }
    }
}
