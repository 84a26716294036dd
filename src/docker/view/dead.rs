//! Containers that died and may still be listed: Docker lists one as running until its teardown is
//! over. Pure, like all of the view.
//!
//! Time is counted in eras: one begins with every answered ping, much later than a teardown takes.

use std::collections::{BTreeMap, VecDeque};

/// Most containers remembered as dead. A teardown takes under a second; to push one out,
/// this many others must die within it.
pub(super) const MAX_DEAD: usize = 4096;

/// Eras after which a container that died and is listed all the same is no longer taken to be in
/// its teardown. One may begin right after the death.
pub(super) const ERAS_OF_TEARDOWN: u64 = 2;

/// The containers that died.
#[derive(Debug)]
pub(super) struct Dead {
    /// The era of each death.
    pub(super) eras: BTreeMap<String, u64>,
    /// The oldest first.
    pub(super) order: VecDeque<String>,
    now: u64,
}

impl Default for Dead {
    fn default() -> Self {
        Self {
            eras: BTreeMap::new(),
            order: VecDeque::new(),
            // So that there is an era before all others, for earlier deaths.
            now: ERAS_OF_TEARDOWN,
        }
    }
}

impl Dead {
    /// Another era begins.
    pub(super) fn grow_old(&mut self) {
        self.now += 1;
    }

    /// The teardowns of all that died so far are over.
    pub(super) fn end_teardowns(&mut self) {
        self.now += ERAS_OF_TEARDOWN;
    }

    /// It died just now.
    pub(super) fn remember(&mut self, id: &str) {
        self.insert(id, self.now);
    }

    /// It died so long ago that its teardown is over.
    pub(super) fn remember_earlier(&mut self, id: &str) {
        self.insert(id, self.now - ERAS_OF_TEARDOWN);
    }

    fn insert(&mut self, id: &str, era: u64) {
        if self.eras.insert(id.to_owned(), era).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_DEAD
            && let Some(oldest) = self.order.pop_front()
        {
            self.eras.remove(&oldest);
        }
    }

    /// It runs again.
    pub(super) fn forget(&mut self, id: &str) {
        if self.eras.remove(id).is_some() {
            self.order.retain(|dead| dead != id);
        }
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.eras.retain(|id, _| stays(id));
        self.order.retain(|id| self.eras.contains_key(id));
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.eras.contains_key(id)
    }

    /// Whether one that died may still be in its teardown; `None` for any other.
    pub(super) fn is_in_teardown(&self, id: &str) -> Option<bool> {
        let era = self.eras.get(id)?;
        Some(self.now - era < ERAS_OF_TEARDOWN)
    }
}
