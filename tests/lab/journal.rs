//! The journal as `dump` shows it, beside the kernel.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::lab::Lab;
use crate::support::lab::daemon;
use crate::support::lab::rules;
use crate::support::wait::{SOON, eventually, same};

/// Waits until the journal and the kernel have exactly the same rules, each applied and each once;
/// returns the rules' ids.
#[track_caller]
pub(crate) fn agrees(lab: &Lab) -> Vec<String> {
    eventually(SOON, "the journal to be the kernel", || {
        let kernel = rules::ours(lab.host());
        let mut ids: Vec<String> = kernel.iter().map(|rule| rules::id(rule)).collect();
        ids.sort();
        let applied = ids.iter().map(|id| (id.clone(), "applied".to_owned()));
        let journal: Vec<(String, String)> = records(lab)?.into_iter().collect();
        same(journal, applied.collect()).map_err(|e| format!("{e:#?}"))?;
        Ok::<_, String>(ids)
    })
}

/// The states of all records by id.
fn records(lab: &Lab) -> Result<BTreeMap<String, String>, String> {
    let output = daemon::command(lab, &["dump", "--json"]);
    if !output.status.success() {
        return Err(format!("{output:?}"));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = text.lines().map(|line| {
        let row: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        Ok((field(&row, "id"), field(&row, "state")))
    });
    rows.collect()
}
