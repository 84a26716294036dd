//! `check`: what the host must have, with a remedy for what is missing.

use super::Canvas;
use super::lines::{SHELL, broken};
use crate::check::Report;
use crate::model::text::escape;

/// The screen. What comes from others is escaped.
pub(in crate::cli) fn screen(report: &Report, canvas: &Canvas) -> String {
    let safe = |text: &str| escape(text.chars());
    let widths = report.checks.iter().map(|it| it.id.as_str().len());
    let widest = widths.max().unwrap_or_default();
    let mut text = String::new();
    for finding in &report.checks {
        let (result, id) = (finding.result.as_str(), finding.id);
        let head = format!("{result:<4}  {id:<widest$}  ");
        text.push_str(&broken(&head, &safe(&finding.found), "", canvas.width));
        if let Some(remedy) = &finding.remedy {
            let head = format!("{:4}  {:<widest$}  ", "", "do");
            text.push_str(&broken(&head, &safe(remedy), SHELL, canvas.width));
        }
    }
    let Report {
        ok,
        warn,
        fail,
        skipped,
        ..
    } = report;
    text.push_str(&format!(
        "{ok} ok, {warn} warn, {fail} fail, {skipped} skipped\n"
    ));
    text
}
