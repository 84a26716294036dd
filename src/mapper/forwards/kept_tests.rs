//! What is kept of containers from one snapshot to the next.

use proptest::prelude::*;

use super::{any_snapshot, bounds};
use crate::mapper::parts::Parts;

proptest! {
    #[test]
    fn what_is_kept_of_containers_makes_no_difference(
        snapshots in prop::collection::vec(any_snapshot(), 1..6)
    ) {
        let mut parts = Parts::default();
        for snapshot in &snapshots {
            let kept = parts.resolve(snapshot, &bounds());
            let mut fresh = Parts::default();
            prop_assert_eq!(&kept, &fresh.resolve(snapshot, &bounds()));
            let published = fresh.published(snapshot, true);
            prop_assert_eq!(parts.published(snapshot, true), published);
            // Looked at once more, nothing has changed.
            let changes = parts.changes();
            prop_assert_eq!(&kept, &parts.resolve(snapshot, &bounds()));
            prop_assert_eq!(parts.changes(), changes);
        }
    }
}
