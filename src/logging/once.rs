//! What has been logged already, so that it is logged again only after it has changed. Pure.

use std::collections::BTreeSet;

/// Texts that have been logged since the last [`LogOnce::clear`].
#[derive(Debug)]
pub(crate) struct LogOnce {
    logged: BTreeSet<String>,
    most: usize,
}

impl LogOnce {
    /// Nothing has been logged yet. At most `most` texts are remembered; no further one counts as
    /// new.
    pub(crate) fn up_to(most: usize) -> Self {
        let logged = BTreeSet::new();
        Self { logged, most }
    }

    /// Whether this text is to be logged. It is not new the next time.
    pub(crate) fn is_new(&mut self, text: &str) -> bool {
        let is_new = self.logged.len() < self.most && !self.logged.contains(text);
        if is_new {
            self.logged.insert(text.to_owned());
        }
        is_new
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.logged.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.logged.clear();
    }
}

/// The last of the reports that replace each other, of which only the changes are logged.
#[derive(Debug)]
pub(crate) struct LogChanges<T>(BTreeSet<T>);

impl<T> Default for LogChanges<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> LogChanges<T> {
    /// Takes the next report. Returns what is new in it, and what it no longer says.
    pub(crate) fn of(&mut self, report: impl IntoIterator<Item = T>) -> (Vec<&T>, Vec<T>) {
        let before = std::mem::replace(&mut self.0, report.into_iter().collect());
        let new = self.0.iter().filter(|entry| !before.contains(entry));
        let new = new.collect();
        let over = before.into_iter().filter(|entry| !self.0.contains(entry));
        (new, over.collect())
    }

    /// The last report, without repetitions.
    pub(crate) fn last(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_new_once_until_all_is_cleared() {
        let mut once = LogOnce::up_to(8);
        assert!(once.is_empty());
        assert!(once.is_new("a") && once.is_new("b"));
        assert!(!once.is_new("a") && !once.is_empty());
        once.clear();
        assert!(once.is_empty() && once.is_new("a"));
    }

    #[test]
    fn texts_that_never_repeat_are_logged_up_to_the_limit_and_fill_no_memory() {
        let mut once = LogOnce::up_to(3);
        let new = (0..100).filter(|n| once.is_new(&n.to_string())).count();
        assert_eq!((new, once.logged.len()), (3, 3));
        assert!(!once.is_new("0"));
    }

    #[test]
    fn of_a_report_only_what_differs_from_the_last_is_logged() {
        let mut changes = LogChanges::default();
        assert_eq!(changes.of(["b", "a", "a"]), (vec![&"a", &"b"], vec![]));
        assert!(changes.last().eq(&["a", "b"]));
        assert_eq!(changes.of(["a", "b"]), (vec![], vec![]));
        assert_eq!(changes.of(["b", "c"]), (vec![&"c"], vec!["a"]));
        assert_eq!(changes.of([]), (vec![], vec!["b", "c"]));
        // What was over and comes back is new.
        assert_eq!(changes.of(["a"]), (vec![&"a"], vec![]));
    }
}
