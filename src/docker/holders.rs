//! The requests under way that ask networks who has which address on them.

use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::client::Engine;
use super::error::EngineError;
use super::view::View;

/// Networks that are asked at once. The Engine answers in about 1 ms.
const MAX_UNDER_WAY: usize = 4;

/// What a network answers.
pub(super) type Held = Result<Vec<(Ipv6Addr, String)>, EngineError>;

/// At most [`MAX_UNDER_WAY`] questions. Dropping it drops them.
#[derive(Default)]
pub(super) struct NetworkQuestions(FuturesUnordered<Question>);

type Question = Pin<Box<dyn Future<Output = (String, Held)> + Send>>;

impl NetworkQuestions {
    /// Asks what the view wants to know, as far as there is room.
    pub(super) fn ask(&mut self, view: &mut View, engine: &Engine) {
        while self.0.len() < MAX_UNDER_WAY
            && let Some(network) = view.next_network()
        {
            let engine = engine.clone();
            self.0.push(Box::pin(async move {
                let held = engine.holders(&network).await;
                (network, held)
            }));
        }
    }

    /// The next network to answer, and what; `None` while none is asked. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<(String, Held)> {
        self.0.next().await
    }
}
