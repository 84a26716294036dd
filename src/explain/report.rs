//! The answer of `explain`, and the object that programs get.

use std::net::Ipv6Addr;

use serde::Serialize;

use super::diagnosis::Diagnosis;
use super::published::Publication;
use super::trace::Decision;
use super::verdict::Endpoint;
use super::way::TraceStep;
use crate::model::forward::Proto;

/// Version of the JSON's shape.
const VERSION: u32 = 1;

/// The answer to one question.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) proto: Proto,
    pub(crate) from: Ipv6Addr,
    pub(crate) sent: Endpoint,
    pub(crate) device: String,
    pub(crate) publication: Publication,
    pub(crate) steps: Vec<TraceStep>,
    /// Which of the steps ended the way.
    pub(crate) stop: Option<usize>,
    /// Which of them rewrote the destination, and to what.
    pub(crate) rewritten: Option<(usize, Endpoint)>,
    /// The rules that an answer met.
    pub(crate) back_steps: Vec<TraceStep>,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) injected_by: &'static str,
    /// What else is to be known, one sentence each; safe to print.
    pub(crate) notes: Vec<String>,
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
struct ReportJson<'r> {
    v: u32,
    proto: &'static str,
    port: u16,
    addr: Ipv6Addr,
    from: Ipv6Addr,
    dev: &'r str,
    injected_by: &'static str,
    published: Vec<PublishedJson<'r>>,
    closed: &'r [String],
    way: Vec<StepJson<'r>>,
    back: Vec<StepJson<'r>>,
    notes: &'r [String],
    reachable: bool,
    code: &'static str,
    sentence: &'r str,
    #[serde(rename = "do")]
    remedy: Option<&'r str>,
}

#[derive(Debug, Serialize)]
struct PublishedJson<'r> {
    container_id: &'r str,
    container_name: &'r str,
    network: &'r str,
    container_addr: Ipv6Addr,
    container_port: u16,
    host_addr: Option<Ipv6Addr>,
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StepJson<'r> {
    hook: Option<&'static str>,
    priority: Option<i32>,
    family: Option<&'static str>,
    table: &'r str,
    chain: &'r str,
    handle: Option<u64>,
    rule: Option<&'r str>,
    comment: Option<&'r str>,
    verdict: &'static str,
    owner: Option<&'r str>,
    stopped: bool,
}

impl Report {
    /// It as one value to be written as JSON.
    pub(crate) fn json(&self) -> impl Serialize {
        let published = self.publication.targets.iter().map(|target| PublishedJson {
            container_id: &target.id,
            container_name: target.name.raw(),
            network: target.network.raw(),
            container_addr: target.addr,
            container_port: target.port,
            host_addr: target.host_addr,
            sources: target.sources.iter().map(ToString::to_string).collect(),
        });
        let steps = self.steps.iter().enumerate();
        let back = self.back_steps.iter();
        ReportJson {
            v: VERSION,
            proto: self.proto.as_str(),
            port: self.sent.1,
            addr: self.sent.0,
            from: self.from,
            dev: &self.device,
            injected_by: self.injected_by,
            published: published.collect(),
            closed: &self.publication.closed,
            way: steps
                .map(|(at, step)| step_json(step, self.stop == Some(at)))
                .collect(),
            back: back.map(|step| step_json(step, step.drops())).collect(),
            notes: &self.notes,
            reachable: self.diagnosis.is_reachable,
            code: self.diagnosis.code,
            sentence: &self.diagnosis.sentence,
            remedy: self.diagnosis.remedy.as_deref(),
        }
    }
}

fn step_json(step: &TraceStep, stopped: bool) -> StepJson<'_> {
    let words = step.words.as_ref();
    StepJson {
        hook: step.place.map(|place| place.hook.as_str()),
        priority: step.place.map(|place| place.priority),
        family: super::words::family(step.spot.chain.family),
        table: &step.spot.chain.table,
        chain: &step.spot.chain.chain,
        handle: step.spot.handle,
        rule: words.map(|words| words.text.as_str()),
        comment: words.and_then(|words| words.facts.comment.as_deref()),
        verdict: match &step.decision {
            Decision::Continue => "continue",
            Decision::To(_) => "jump",
            Decision::Return => "return",
            Decision::Accept => "accept",
            Decision::Drop => "drop",
            Decision::Queue(_) => "queue",
            Decision::Stolen => "stolen",
            Decision::Other(_) => "other",
        },
        owner: step.owner.name(),
        stopped,
    }
}

#[cfg(test)]
pub(crate) mod samples;
