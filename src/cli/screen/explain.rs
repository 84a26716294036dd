//! `explain`: the way of a packet, and what ended it.

use super::Canvas;
use super::lines::{SHELL, broken};
use crate::explain::report::Report;
use crate::explain::way::TraceStep;
use crate::model::text::escape;

/// Marks the rule that ended the way.
const STOPPED: &str = "   ← stopped here";

/// The screen.
pub(in crate::cli) fn screen(report: &Report, canvas: &Canvas) -> String {
    let mut text = String::new();
    let mut line = |head: &str, rest: &str, joint: &str| {
        text.push_str(&broken(head, rest, joint, canvas.width));
    };
    let first = |heading: &str| format!("{heading:10} ");
    let mut heading = "published";
    for target in &report.publication.targets {
        let at = match target.host_addr {
            Some(addr) => format!("[{addr}]:"),
            None => String::new(),
        };
        let network = match target.network.is_empty() {
            true => String::new(),
            false => format!(", network {}", target.network),
        };
        let port = format!("{at}{}/{} → {}", report.sent.1, report.proto, target.port);
        let what = format!("{}{network}, {port}", target.who());
        line(&first(heading), &what, "");
        if !target.sources.is_empty() {
            let nets: Vec<String> = target.sources.iter().map(ToString::to_string).collect();
            line(&first(""), &format!("only for {}", nets.join(", ")), "");
        }
        heading = "";
    }
    for reason in &report.publication.closed {
        line(&first("closed"), reason, "");
    }
    let device = escape(report.device.chars());
    let (from, (addr, port)) = (report.from, report.sent);
    let packet = format!("from {from} to [{addr}]:{port} on {device}");
    line(&first("packet"), &packet, "");
    let mut heading = "way";
    for (at, step) in report.steps.iter().enumerate() {
        line(
            &(first(heading) + &place(step)),
            &on_the_way(report, at),
            "",
        );
        heading = "";
    }
    let mut heading = "back";
    for step in &report.back_steps {
        let stopped = if step.drops() { STOPPED } else { "" };
        let what = format!("{}{stopped}", step.line());
        line(&(first(heading) + &place(step)), &what, "");
        heading = "";
    }
    for note in &report.notes {
        line(&first("note"), note, "");
    }
    if let Some(remedy) = &report.diagnosis.remedy {
        line(&first("do"), remedy, SHELL);
    }
    line("", &report.diagnosis.sentence, "");
    text
}

/// Where a rule stands: the hook and the priority of its base chain.
fn place(step: &TraceStep) -> String {
    match step.place {
        Some(place) => format!("{:<11} {:>5}  ", place.hook, place.priority),
        None => format!("{:<19}", ""),
    }
}

fn on_the_way(report: &Report, at: usize) -> String {
    let mut line = report.steps[at].line();
    if let Some((_, (addr, port))) = report.rewritten.filter(|(rewriter, _)| *rewriter == at) {
        line.push_str(&format!("  → [{addr}]:{port}"));
    }
    if report.stop == Some(at) {
        line.push_str(STOPPED);
    }
    line
}
