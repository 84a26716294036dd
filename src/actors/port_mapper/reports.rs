//! What the mapper reports to `status` and to the log, and when it retries a round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{debug, error, info, warn};

use super::drift_watch::VERIFY_WINDOW;
use super::{JUST_AFTER, PortMapper};
use crate::actors::abort;
use crate::actors::messages::{FindForeign, Round};
use crate::control::board::Reporter;
use crate::control::moment::Moment;
use crate::control::resync::{LastResync, ResyncReason};
use crate::control::row::Row;
use crate::control::status::{ClosedPort, EgressFigures};
use crate::docker_nat::gate::StandbyState;
use crate::mapper::compute::Choice;
use crate::mapper::health;
use crate::mapper::skipped::{Skipped, container};
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::problem::{Problem, ProblemId};
use crate::netlink::watch::Watched;
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::host;
use crate::sys::memory;

/// After this many changed rules the mapper returns free memory to the kernel. Fewer leave some
/// megabytes, which the next change uses again.
const TRIM_THRESHOLD: usize = 1_000;

/// When it does so: after the other threads have freed what the change needed. What the journal's
/// database frees when it is rebuilt, the journal returns.
const TRIM_AFTER: Duration = Duration::from_secs(1);

impl PortMapper {
    pub(super) fn take_report(
        &mut self,
        round: &Round,
        is_docker_known: bool,
        verified: Option<ResyncReason>,
        ctx: &mut Context<Self>,
    ) {
        failpoint::panic("a report is read");
        let before = self.changes;
        self.changes += round.report.inserted + round.report.removed;
        if before < TRIM_THRESHOLD && self.changes >= TRIM_THRESHOLD {
            ctx.run_later(TRIM_AFTER, |this, _| {
                this.changes = 0;
                memory::trim();
            });
        }
        let failures = round.troubles();
        let failed = !failures.is_empty();
        if verified.is_some() {
            if self.verify_rate.0.elapsed() >= VERIFY_WINDOW {
                self.verify_rate = (Instant::now(), 0);
            }
            self.verify_rate.1 += 1;
        }
        if failed {
            self.verify = self.verify.or(verified);
            self.board.lock().figures.failed_rounds += 1;
        } else if let Some(reason) = verified {
            let mut reports = self.board.lock();
            *reports.measured.resyncs.entry(reason).or_default() += 1;
            let figures = &mut reports.figures;
            figures.resyncs += 1;
            figures.last_resync = Some(LastResync {
                at: Moment::now(),
                reason,
                repaired: round.report.drift,
            });
        }
        if is_docker_known
            && round.has_the_rules()
            && let Some(on_ready) = self.on_ready.take()
        {
            self.board.lock().set_running();
            on_ready();
            // The watch starts only now, because notifications slow down the first, large batch.
            self.watch(Watched::Rules, ctx);
            // Another program may have changed rules before the notifications began.
            self.verify = Some(ResyncReason::Ready);
            self.want(ctx);
        }
        self.settle(failures, Reporter::Firewall, ctx);
        if let Some(pause) = round.docker_nat.as_ref().and_then(|it| it.again_in) {
            self.try_again_in(pause + JUST_AFTER, ctx);
        }
    }

    /// Logs each new problem of a round once, and tries again later.
    pub(super) fn settle(
        &mut self,
        failures: Vec<String>,
        reporter: Reporter,
        ctx: &mut Context<Self>,
    ) {
        let (new, over) = self.failures.of(failures.clone());
        for failure in new {
            error!(self.log, "degraded: {failure}");
        }
        if failures.is_empty() {
            if !over.is_empty() {
                info!(self.log, "every rule is as it should be again"; "was" => over.join("; "));
            }
            self.backoff.reset();
            return;
        }
        if reporter == Reporter::Mapper {
            let mut reports = self.board.lock();
            reports.set_sentences(reporter, ProblemId::Host, failures);
        }
        if self.retry.is_none() {
            let pause = self.backoff.wait();
            debug!(self.log, "trying again"; "in_ms" => pause.as_millis() as u64);
            self.try_again_in(pause, ctx);
        }
    }

    /// Schedules a round after a pause. One that begins earlier replaces it.
    pub(super) fn try_again_in(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        let due = Instant::now() + pause;
        match self.retry.take() {
            Some((sooner, at)) if at <= due => return self.retry = Some((sooner, at)),
            Some((later, _)) => drop(ctx.cancel_future(later)),
            None => {}
        }
        let retry = ctx.run_later(pause, |this, ctx| {
            this.retry = None;
            this.want(ctx);
        });
        self.retry = Some((retry, due));
    }

    /// Reports the containers that Docker has not answered about, and those whose answer cannot be
    /// read. An unanswered container becomes a problem only after the stale grace, when its forwards
    /// of an earlier run are removed.
    pub(super) fn report_unanswered(&self) {
        let none = Snapshot::default();
        let snapshot = self.snapshot.as_deref().unwrap_or(&none);
        let names: Vec<String> = snapshot
            .unanswered
            .iter()
            .map(|(id, name)| container(id, name))
            .collect();
        let unread = snapshot.unreadable.iter().map(|(id, why)| {
            let known = snapshot.containers.get(id).map(|c| &c.name);
            let name = known.or_else(|| snapshot.unanswered.get(id)).cloned();
            let name = container(id, &name.unwrap_or_default());
            let what = format!("what Docker says of {name} cannot be read: {why}");
            Problem::new(ProblemId::Unreadable, what)
        });
        let late = self.host.grace_over;
        let waiting = snapshot.unanswered.iter();
        let waiting = waiting.filter(|(id, _)| late && !snapshot.unreadable.contains_key(*id));
        let unanswered = waiting.map(|(id, name)| {
            let name = container(id, name);
            let what =
                format!("Docker does not say what {name} publishes: unknown ports stay closed");
            Problem::new(ProblemId::Unanswered, what)
        });
        let odd = snapshot.odd.iter();
        let odd = odd.map(|row| Problem::new(ProblemId::Unreadable, row.to_string()));
        let problems = unread.chain(odd).chain(unanswered).collect();
        let mut reports = self.board.lock();
        reports.set_problems(Reporter::Mapper, problems);
        reports.figures.unanswered = names;
    }

    /// Has the writer read the rules of other programs, and reports what they do to packets; not
    /// before the daemon is ready.
    pub(super) fn ask_foreign(&mut self, ctx: &mut Context<Self>) {
        if self.on_ready.is_some() || self.asks_foreign || self.stopping {
            return;
        }
        self.asks_foreign = true;
        let request = self.writer.send(FindForeign {
            devices: health::egress(&self.options, &self.host).to_vec(),
            prefixes: self.options.prefixes_of(self.snapshot.as_deref()),
        });
        ctx.spawn(request.into_actor(self).map(|found, this, _| {
            this.asks_foreign = false;
            match found {
                Ok(Some(found)) => {
                    this.foreign = found;
                    this.report_health();
                }
                // The last findings may still hold.
                Ok(None) => {}
                Err(_) => abort(&this.log, "the firewall writer is gone"),
            }
        }));
    }

    /// Reports what keeps packets from getting through the host.
    pub(super) fn report_health(&mut self) {
        self.report_egress();
        let Self { options, host, .. } = self;
        let resolved = &*self.resolved;
        let snapshot = self.snapshot.as_deref();
        let (egress, bridges) = (health::egress(options, host), health::bridges(snapshot));
        let standing_by = self.board.lock().figures.standby_state() == Some(StandbyState::On);
        let mut problems = match host::conditions(egress, &bridges) {
            Ok(conditions) => {
                let docker = snapshot.map(|snapshot| (snapshot, resolved));
                health::problems(options, host, &conditions, docker, standing_by)
            }
            Err(error) => {
                // The last findings may still hold.
                let mut problems = self.board.lock().problems_of(Reporter::Host);
                let added_below = [
                    ProblemId::Host,
                    ProblemId::Unreadable,
                    ProblemId::TooMany,
                    ProblemId::ForwardDrop,
                    ProblemId::PrefixPartial,
                ];
                problems.retain(|p| !added_below.contains(&p.id));
                let what = format!("the host cannot be read: {}", chain(&error));
                problems.push(Problem::new(ProblemId::Host, what));
                problems
            }
        };
        let unread = resolved.skipped.iter().filter(|s| s.reason.is_unreadable());
        problems.extend(unread.map(|s| Problem::new(ProblemId::Unreadable, s.to_string())));
        let closed = |s: &&Skipped| s.reason.is_too_many() && !standing_by;
        let many = resolved.skipped.iter().filter(closed);
        problems.extend(many.map(|s| {
            let problem = Problem::new(ProblemId::TooMany, s.to_string());
            problem.with_remedy("restart with --backend nftables")
        }));
        if !standing_by {
            problems.extend(self.foreign.drops.iter().cloned());
            if let (true, Some(snapshot)) = (self.foreign.strict_way_back, snapshot) {
                problems.extend(health::prefix_partial(options, snapshot, resolved));
            }
        }
        let texts = problems.iter().map(|p| (p.to_string(), p.remedy.clone()));
        let (new, over) = self.problems.of(texts);
        for (problem, remedy) in new {
            error!(self.log, "degraded: {problem}"; "do" => remedy.as_deref());
        }
        for (problem, _) in over {
            info!(self.log, "no longer: {problem}");
        }
        self.board.lock().set_problems(Reporter::Host, problems);
    }

    /// Reports the egress interfaces and the containers' prefixes.
    fn report_egress(&self) {
        // An interface whose addresses cannot be read is shown without any; the host's problems say why.
        let all = host::interface_addresses().unwrap_or_default();
        let figures = |dev: &Device| EgressFigures {
            dev: dev.to_string(),
            addresses: all
                .iter()
                .filter(|a| a.interface == dev.as_str() && a.is_global && !a.is_duplicate)
                .map(|a| a.addr)
                .collect(),
        };
        let devices = health::egress(&self.options, &self.host).iter();
        let egress = devices.map(figures).collect();
        let prefixes = self.options.prefixes_of(self.snapshot.as_deref());
        let auto = [
            ("dev", self.options.devices == Choice::Auto),
            ("prefix", self.options.prefixes == Choice::Auto),
        ];
        let auto = auto.into_iter().filter(|(_, is_auto)| *is_auto);
        let mut reports = self.board.lock();
        reports.figures.auto = auto.map(|(option, _)| option.to_owned()).collect();
        reports.figures.egress = egress;
        reports.figures.prefixes = prefixes.iter().map(ToString::to_string).collect();
    }

    /// Logs each reason once, for as long as it holds.
    pub(super) fn report_skipped(&mut self, skipped: &[Skipped]) {
        let texts = skipped
            .iter()
            .map(|skip| (skip.to_string(), skip.reason.is_unexpected()));
        let (new, _) = self.skipped.of(texts);
        for (text, is_unexpected) in new {
            if *is_unexpected {
                warn!(self.log, "not forwarded: {text}");
            } else {
                debug!(self.log, "not forwarded: {text}");
            }
        }
        let malformed = |skip: &&Skipped| skip.reason.is_malformed_label();
        let closed = skipped.iter().map(|skip| (skip.to_string(), closed(skip)));
        let closed: BTreeMap<String, ClosedPort> = closed.collect();
        let mut words = BTreeMap::new();
        for skip in skipped {
            *words.entry(skip.reason.word()).or_default() += 1;
        }
        let mut reports = self.board.lock();
        reports.measured.closed = words;
        reports.figures.skipped = self.skipped.last().map(|(text, _)| text.clone()).collect();
        reports.figures.closed = closed.into_values().collect();
        reports.malformed = skipped
            .iter()
            .filter(malformed)
            .map(Row::of_skipped)
            .collect();
    }
}

/// A closed port as `status` shows it.
fn closed(skipped: &Skipped) -> ClosedPort {
    ClosedPort {
        container_id: skipped.container_id.clone(),
        container_name: skipped.container_name.raw().to_owned(),
        proto: skipped.port.map(|(proto, _)| proto.to_string()),
        port: skipped.port.map(|(_, port)| port),
        reason: skipped.reason.to_string(),
        brief: skipped.reason.brief(),
        unexpected: skipped.reason.is_unexpected(),
    }
}
