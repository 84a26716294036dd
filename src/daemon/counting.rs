//! Reading the connection counters for monitoring, as rarely as a scrape needs it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::Addr;
use slog::{Logger, debug};
use tokio::time::timeout;

use crate::actors::firewall_writer::FirewallWriter;
use crate::actors::messages::CountConnections;

/// How long a scrape waits for a reading: the writer may be at a change, or the forwards very many. After
/// that it shows what was read before, and the next one shows the new figures.
const PATIENCE: Duration = Duration::from_millis(40);

/// Shortest pause between two readings, however many scrape.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The pause is so many times as long as the last reading took: changes of rules wait for at most one
/// hundredth of the time.
const PAUSES: u32 = 100;

/// Has the writer read the counters.
#[derive(Clone)]
pub(super) struct Counting {
    writer: Addr<FirewallWriter>,
    /// Whether anybody wants them.
    is_on: bool,
    log: Logger,
    next: Rc<Cell<Next>>,
}

/// When the counters may be read again.
#[derive(Clone, Copy)]
enum Next {
    From(Instant),
    /// Once the reading that goes on is over.
    Later,
}

impl Counting {
    pub(super) fn new(writer: Addr<FirewallWriter>, is_on: bool, log: Logger) -> Self {
        let next = Rc::new(Cell::new(Next::From(Instant::now())));
        Self {
            writer,
            is_on,
            log,
            next,
        }
    }

    /// Reads the counters, unless that is too soon.
    pub(super) async fn refresh(&self) {
        let may_read = match self.next.get() {
            Next::From(from) => self.is_on && Instant::now() >= from,
            Next::Later => false,
        };
        if !may_read {
            return;
        }
        self.next.set(Next::Later);
        let this = self.clone();
        // It goes on where the scrape gives up.
        let reading = actix_rt::spawn(async move {
            let begun = Instant::now();
            let read = this.writer.send(CountConnections).await;
            let read = read.unwrap_or_else(|_| Err("the firewall writer has stopped".to_owned()));
            let took = read.unwrap_or_else(|why| {
                debug!(this.log, "connections were not counted"; "reason" => why);
                // A tool that runs into its time limit keeps the writer busy, too.
                begun.elapsed()
            });
            let pause = (took * PAUSES).max(SHORTEST_PAUSE);
            this.next.set(Next::From(Instant::now() + pause));
        });
        let _ = timeout(PATIENCE, reading).await;
    }
}
