//! What was open: for whom, at which address, from when to when, and why it ended.
//!
//! A forward that is open is a record of the journal. When the record goes, or its container gives it
//! up, an entry of the history takes its place, in the same change of the database and with the same
//! flush: after a crash at any point a forward is either still recorded or in the history, once. An
//! entry is a [`closing::Closing`]: the ports of one container that were opened together and closed
//! together. [`cause`] finds out why.
//!
//! Entries are numbered, and each is sealed with the hash of the one before ([`chain`]), so that one
//! that is altered, taken out or put in shows when they are read ([`past`]). Who can write to the
//! journal can put all of it back to an earlier state, or seal another history from a place on: that
//! shows only beside a seal that was kept elsewhere, such as in the log.

pub mod cause;
pub mod chain;
pub mod closing;
pub mod past;
