//! A request that is under way.

use std::future::Future;
use std::pin::Pin;

use super::container::Inspected;
use super::error::EngineError;
use super::view::Question;

/// A request to the Engine.
pub(super) type Request<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send>>;

/// A question about a container.
pub(super) type Inspect = Pin<Box<dyn Future<Output = (Question, Inspection)> + Send>>;

/// The answer to that; `None`: there is no such container.
pub(super) type Inspection = Result<Option<Inspected>, EngineError>;

/// The answer to a request, if one is under way; it is not any more then.
pub(super) async fn pending_or<T>(request: &mut Option<Request<T>>) -> Result<T, EngineError> {
    match request {
        Some(under_way) => {
            let answer = under_way.await;
            *request = None;
            answer
        }
        None => std::future::pending().await,
    }
}
