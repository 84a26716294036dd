//! Forwards, container by container.

use std::ops::Index;

use super::forward::Forward;
use super::shared::Shared;

/// The forwards of several containers, in groups that clones share. A comparison of two of them can
/// skip the groups that both hold.
#[derive(Debug, Clone, Default)]
pub struct Forwards(Vec<Group>);

/// Forwards that are compiled together. The mapper makes one group of each container, sorted;
/// [`Forwards`] holds no empty one.
pub(crate) type Group = Shared<Vec<Forward>>;

impl Forwards {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|group| group.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, group by group.
    pub fn iter(&self) -> impl Iterator<Item = &Forward> {
        self.0.iter().flat_map(|group| group.iter())
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.0
    }

    /// Adds a group, unless it is empty.
    pub(crate) fn push(&mut self, group: Group) {
        if !group.is_empty() {
            self.0.push(group);
        }
    }

    /// Sorts the groups by their first forwards.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by(|one, other| one.first().cmp(&other.first()));
    }

    /// The first of all.
    pub fn first(&self) -> Option<&Forward> {
        self.iter().next()
    }

    /// Keeps those of which `stays` holds.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Forward) -> bool) {
        self.0.retain_mut(|group| {
            let staying = group.iter().filter(|forward| stays(forward)).count();
            if 0 < staying && staying < group.len() {
                group.retain(&stays);
            }
            staying > 0
        });
    }
}

impl<'f> IntoIterator for &'f Forwards {
    type Item = &'f Forward;
    type IntoIter = Box<dyn Iterator<Item = &'f Forward> + 'f>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl From<Vec<Forward>> for Forwards {
    fn from(forwards: Vec<Forward>) -> Self {
        let mut all = Self::default();
        all.push(forwards.into());
        all
    }
}

/// They are equal if they hold the same forwards in the same order, however they are grouped.
impl PartialEq for Forwards {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Forwards {}

impl<const N: usize> PartialEq<[Forward; N]> for Forwards {
    fn eq(&self, other: &[Forward; N]) -> bool {
        self.iter().eq(other)
    }
}

impl Index<usize> for Forwards {
    type Output = Forward;

    /// # Panics
    /// There are not so many.
    fn index(&self, at: usize) -> &Forward {
        let mut from = self.iter().skip(at);
        from.next()
            .unwrap_or_else(|| panic!("there is no forward {at}"))
    }
}
