//! The dashboard and the alerts beside what the daemon measures.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ALERTS, DASHBOARD};
use crate::control::board::Reports;
use crate::control::status::Status;
use crate::metrics::families;

/// The words of a text that are names of metrics.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| {
        ["docker_nat66_", "process_"]
            .iter()
            .any(|begin| word.starts_with(begin))
    });
    names.map(str::to_owned).collect()
}

/// The families that the daemon has, by the lines that begin each.
fn measured() -> BTreeSet<String> {
    let text = families::text(&Status::default(), &Reports::default());
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split(' ').next());
    let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
    // It has a line for each port only while there is one.
    names.insert("docker_nat66_connections_total".to_owned());
    names
}

/// The family of each name; a histogram's series have names of their own.
fn families_of(names: BTreeSet<String>, measured: &BTreeSet<String>) -> BTreeSet<String> {
    let base = |name: String| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let mut bases = suffixes.iter().filter_map(|it| name.strip_suffix(it));
        match bases.find(|base| measured.contains(*base)) {
            Some(base) => base.to_owned(),
            None => name,
        }
    };
    names.into_iter().map(base).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

fn queries(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard)
        .into_iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    queries.collect()
}

#[test]
fn every_query_names_a_metric_that_there_is_and_every_metric_is_used() {
    let (measured, dashboard) = (measured(), dashboard());
    let shown = families_of(names(&queries(&dashboard).join("\n")), &measured);
    let alerted = families_of(names(ALERTS), &measured);
    let used = &shown | &alerted;
    let unknown: Vec<_> = used.difference(&measured).collect();
    assert!(unknown.is_empty(), "not measured: {unknown:?}");
    let unused: Vec<_> = measured.difference(&used).collect();
    assert!(unused.is_empty(), "in no panel and no alert: {unused:?}");
    for query in queries(&dashboard) {
        assert!(!names(query).is_empty(), "{query}");
        assert!(query.contains("instance=~\"$instance\""), "{query}");
    }
}

/// What Grafana needs of a dashboard and would silently put right, or show at the wrong place.
#[test]
fn the_panels_have_what_grafana_needs_and_none_lies_on_another() {
    let dashboard = dashboard();
    // Grafana 10.0 has 38, 11.6 has 41; it migrates older ones and refuses none.
    assert_eq!(dashboard["schemaVersion"], 39);
    assert!(dashboard.get("id").is_none(), "of one installation");
    let all = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = all.iter().filter_map(|it| it["id"].as_u64()).collect();
    assert_eq!(ids.len(), all.len(), "ids");
    let mut taken = BTreeSet::new();
    for panel in all {
        let title = panel["title"].as_str().expect("a title");
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().expect("a place"));
        assert!(width > 0 && x + width <= 24, "{title}: beside the grid");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another at {cell:?}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let named: Vec<_> = variables.iter().map(|it| &it["name"]).collect();
    assert_eq!(named, ["datasource", "instance"]);
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        let refs: BTreeSet<_> = targets.iter().map(|it| it["refId"].as_str()).collect();
        assert!(
            refs.len() == targets.len() && !refs.contains(&None),
            "{title}"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}"
        );
        assert!(panel["options"].is_object(), "{title}");
    }
}
