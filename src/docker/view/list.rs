//! What a list of the running containers says: which containers it confirms, which have gone, and
//! about which the Engine has to be asked. Pure, like all of the view.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::{Meanwhile, View};
use crate::docker::container::ListRow;
use crate::model::container::Container;
use crate::model::text::Untrusted;

impl View {
    /// The list of containers is about to be asked for. The networks are wanted with it.
    pub fn list_begun(&mut self) {
        self.meanwhile = Some(Meanwhile::default());
        self.networks.want_all();
    }

    /// The list was not answered.
    pub(crate) fn list_failed(&mut self) {
        self.meanwhile = None;
    }

    /// The list was answered.
    pub fn listed(&mut self, rows: Vec<ListRow>) {
        let meanwhile = self.meanwhile.take().unwrap_or_default();
        let listed: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
        let stays = |id: &str| listed.contains(id) || meanwhile.touched.contains(id);
        let shared = shared_addresses(&rows);
        let mut names: BTreeMap<String, Untrusted> = BTreeMap::new();
        // A container that is not listed, and had no event since, does not run.
        let shown = &self.shown;
        let ids = shown.containers.keys().chain(shown.unanswered.keys());
        let ids = ids.chain(shown.unreadable.keys());
        let ids = ids.chain(self.questions.open.keys());
        let gone: Vec<String> = ids.filter(|id| !stays(id)).cloned().collect();
        for id in gone {
            self.drop_container(&id);
        }
        for row in rows {
            if !self.listed {
                let name = row.container.as_ref().map(|c| c.name.clone());
                names.insert(row.id.clone(), name.unwrap_or_default());
            }
            self.take_row(row, &meanwhile, &shared);
        }
        self.dead.retain(stays);
        self.changed = true;
        if !self.listed {
            self.listed = true;
            self.open_rows(&names);
        }
    }

    /// The same list had rows that name no container.
    pub(crate) fn rows_were_odd(&mut self, odd: Vec<Untrusted>) {
        if self.shown.odd != odd {
            Arc::make_mut(&mut self.shown).odd = odd;
            self.changed = true;
        }
    }

    /// After the first list: a container that is asked about is unanswered, unless all of what it
    /// publishes was known before.
    fn open_rows(&mut self, names: &BTreeMap<String, Untrusted>) {
        let Self {
            questions, shown, ..
        } = self;
        let shown = Arc::make_mut(shown);
        let known = |id: &String| {
            let container = shown.containers.get(id);
            container.is_some_and(|c| !c.needs_answer())
        };
        let unknown = questions.open.keys().filter(|id| !known(id));
        let name = |id: &String| names.get(id).cloned().unwrap_or_default();
        shown.unanswered = unknown.map(|id| (id.clone(), name(id))).collect();
    }

    fn take_row(&mut self, row: ListRow, meanwhile: &Meanwhile, shared: &BTreeSet<Ipv6Addr>) {
        let ListRow { id, container } = row;
        match self.dead.is_in_teardown(&id) {
            // Its start will be an event.
            Some(true) => return,
            // It died before the stream was lost, or too long ago to be in its teardown still:
            // its start may have been missed.
            Some(false) => return self.questions.want_unless_open(&id),
            None => {}
        }
        if meanwhile.touched.contains(&id) {
            // A known one was asked about at the event. Of an unknown one only an inspect shows
            // whether the row was written before the event.
            if !self.shown.containers.contains_key(&id) {
                self.questions.want_unless_open(&id);
            }
            return;
        }
        let shares = |c: &Container| addresses(c).any(|addr| shared.contains(&addr));
        let Some(mut container) = container.filter(|c| !shares(c)) else {
            return self.questions.want_unless_open(&id);
        };
        if let Some(known) = self.shown.containers.get(&id) {
            container.complete_from(known);
            container.start = known.start;
            // A list may show what is being torn down: until the answer, it has left.
            if self.questions.is_open(&id) {
                container.leave_as(known);
            }
        }
        for endpoint in &mut container.endpoints {
            endpoint.left |= endpoint
                .mac
                .is_some_and(|mac| meanwhile.seen.contains(&mac));
        }
        if container.needs_answer() {
            self.questions.want_unless_open(&id);
        } else {
            self.settle(&id);
        }
        self.name_networks(&container);
        self.release_claims(&id);
        // One that is as before stays the same in memory, so that nobody has to compare its ports.
        let known = self.shown.containers.get(&id);
        if known.is_none_or(|known| **known != container) {
            let containers = &mut Arc::make_mut(&mut self.shown).containers;
            containers.insert(id, container.into());
        }
    }
}

/// The addresses that more than one row shows.
fn shared_addresses(rows: &[ListRow]) -> BTreeSet<Ipv6Addr> {
    let mut seen = BTreeSet::new();
    let all = rows.iter().filter_map(|row| row.container.as_ref());
    all.flat_map(addresses)
        .filter(|addr| !seen.insert(*addr))
        .collect()
}

fn addresses(container: &Container) -> impl Iterator<Item = Ipv6Addr> + '_ {
    container.endpoints.iter().filter_map(|e| e.address)
}
