//! One snapshot of what Docker says now, for a command that asks and ends.

use super::client::Engine;
use super::container::Inspected;
use super::error::EngineError;
use crate::model::container::Snapshot;

/// Asks for the running containers, for what the list leaves open about each, and for the networks.
/// A container that stops meanwhile is left out.
///
/// # Errors
/// The Engine does not answer one of the questions. Nothing was retried.
pub(crate) async fn snapshot(engine: &Engine) -> Result<Snapshot, EngineError> {
    let listed = engine.list().await?;
    let mut snapshot = Snapshot {
        odd: listed.odd,
        ..Snapshot::default()
    };
    for row in listed.rows {
        let container = match row.container.filter(|listed| !listed.needs_answer()) {
            Some(container) => container,
            None => match engine.inspect(&row.id).await? {
                Some(Inspected::Running(container)) => *container,
                Some(Inspected::NotRunning) | None => continue,
            },
        };
        snapshot.containers.insert(row.id, container);
    }
    for network in engine.networks().await?.rows {
        snapshot.networks.insert(network.id.clone(), network);
    }
    Ok(snapshot)
}
