//! Hash tables that have been large.

use std::collections::HashMap;
use std::hash::Hash;

/// A table with room for fewer entries than this keeps it.
const SMALL: usize = 1024;

/// Returns the room of a table that uses less than a quarter of it: one that has held 60,000 entries
/// would keep megabytes for good.
pub(crate) fn fit<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SMALL.max(4 * table.len()) {
        table.shrink_to(2 * table.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_little_room_and_all_its_entries() {
        let mut table: HashMap<u32, u32> = (0..60_000).map(|n| (n, n)).collect();
        for left in [40_000, 20_000, 3_000, 10, 0] {
            table.retain(|n, _| *n < left);
            fit(&mut table);
            assert!(table.capacity() <= SMALL.max(4 * table.len()), "{left}");
            assert!((0..left).all(|n| table.get(&n) == Some(&n)), "{left}");
        }
        let mut small: HashMap<u32, u32> = HashMap::with_capacity(500);
        let room = small.capacity();
        fit(&mut small);
        assert_eq!(small.capacity(), room);
    }
}
