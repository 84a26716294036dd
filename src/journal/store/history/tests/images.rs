//! The image of a container, in records and in the history.

use super::*;

/// Records and entries without images are what a release before version 3 of records has written.
#[test]
fn an_upgrade_ends_nothing_and_what_ends_after_it_has_its_image() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.because(Cause::Unknown, 100);
    open_and_close(&mut store, 1..=1);
    store.intend(&applied(2..=2)).expect("writes");
    drop(store);
    let mut store = open(dir.path()).store;
    store.because(Cause::Unknown, 200);
    let mut taken = applied(2..=2);
    let owner = taken[0].owned.owners.pop_first().expect("one owner");
    taken[0].owned.owners.insert(owner.of_image("nginx:1.27"));
    store.intend(&taken).expect("writes");
    assert_eq!(ended(&all(&store)).len(), 1);
    // A crash: the record alone is left.
    drop(store);
    let mut store = open(dir.path()).store;
    store.because(Cause::Unknown, 300);
    store.forget(&ids(2..=2)).expect("forgets");
    assert_eq!(ended(&all(&store)).len(), 2);
    let closings = Past::read(&all(&store)).closings.into_iter();
    let images = closings.map(|(_, it)| it.container.expect("one").image.raw().to_owned());
    assert_eq!(images.collect::<Vec<_>>(), ["", "nginx:1.27"]);
}
