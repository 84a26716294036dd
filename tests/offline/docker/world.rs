//! A recorded Engine's answers without the Engine, and what follows from them.

use std::collections::BTreeMap;

use docker_nat66::docker::container;
use docker_nat66::docker::network;
use docker_nat66::docker::view::{Answer, View};
use docker_nat66::mapper::forwards::{Bounds, Resolved, resolve};
use docker_nat66::model::forward::Forward;
use serde_json::{Value, json};

use super::*;
use fake_engine::fixture;

/// Every address that a container of the recordings has.
pub(super) fn everywhere(snapshot: &Snapshot) -> Resolved {
    let bounds = Bounds {
        prefixes: vec!["fc00::/7".parse().expect("a prefix")],
        ..Bounds::default()
    };
    resolve(snapshot, &bounds)
}

/// `tcp :8080 [fdfd::2]:80`
pub(super) fn text(forward: &Forward) -> String {
    let host = forward.host_addr.map(|a| a.to_string()).unwrap_or_default();
    let (proto, port) = (forward.proto, forward.host_port);
    let (addr, inside) = (forward.container_addr, forward.container_port);
    format!("{proto} {host}:{port} [{addr}]:{inside}")
}

/// An Engine's answers, and the view of one who asks it.
pub(super) struct World {
    pub(super) list: Vec<Value>,
    pub(super) inspects: BTreeMap<String, Value>,
    pub(super) networks: Vec<Value>,
    pub(super) view: View,
    /// Questions asked so far.
    pub(super) asked: usize,
}

impl World {
    pub(super) fn recorded(dir: &str) -> Self {
        let parse = |file: &str| -> Vec<Value> {
            serde_json::from_str(&fixture::read(dir, file)).expect("a list")
        };
        let files = std::fs::read_dir(fixture::dir(dir)).expect("a directory");
        let names = files.map(|f| {
            f.expect("an entry")
                .file_name()
                .into_string()
                .expect("plain")
        });
        let inspects = names
            .filter(|name| name.starts_with("inspect-"))
            .map(|name| -> Value {
                serde_json::from_str(&fixture::read(dir, &name)).expect("it is JSON")
            })
            .filter(|body| body["State"]["Running"] == true)
            .map(|body| (body["Id"].as_str().expect("an id").to_owned(), body));
        Self {
            list: parse("list.json"),
            inspects: inspects.collect(),
            networks: parse("networks.json"),
            view: View::default(),
            asked: 0,
        }
    }

    pub(super) fn row(&mut self, name: &str) -> &mut Value {
        let mut rows = self.list.iter_mut();
        rows.find(|row| row["Names"][0] == format!("/{name}"))
            .expect("listed")
    }

    pub(super) fn inspect(&mut self, id: &str) -> &mut Value {
        self.inspects.get_mut(id).expect("there")
    }

    /// Lists, without asking what the list leaves open.
    pub(super) fn list(&mut self) {
        let rows = container::list(&json!(self.list).to_string()).expect("a list");
        let networks = network::list(&json!(self.networks).to_string()).expect("a list");
        self.view.list_begun();
        self.view.networks_begun();
        self.view.networks_listed(networks.rows);
        self.view.listed(rows.rows);
    }

    /// Asks what is open, and gives what is shown then.
    pub(super) fn ask(&mut self) -> Arc<Snapshot> {
        while let Some(question) = self.view.next_question() {
            self.asked += 1;
            let body = self.inspects[&question.id].to_string();
            let answer = match container::inspect(&question.id, &body) {
                Ok(inspected) => Answer::Inspected(inspected),
                Err(_) => Answer::Unreadable("odd".into()),
            };
            self.view.answered(&question, answer);
        }
        self.view.take_news().expect("a list makes news")
    }

    pub(super) fn listed(&mut self) -> Arc<Snapshot> {
        self.list();
        self.ask()
    }
}
