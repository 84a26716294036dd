//! From where the way ended to one sentence that names the culprit, and the command that would mend
//! it. Pure.

use std::net::Ipv6Addr;

use rustix::io::Errno;

use super::container::Fault;
use super::facts::EndingFacts;
use super::knock::Knock;
use super::legacy::Logged;
use super::owner::{Clues, owner};
use super::place::{Hook, untraced_behind};
use super::published::{PortTarget, Publication};
use super::remedy;
use super::trace::ChainName;
use super::verdict::{Ending, Endpoint};
use super::way::{TraceStep, shown};
use crate::backend::shell::word;
use crate::model::device::sysctl_key;
use crate::model::forward::Proto;
use crate::netlink::interface::Link;
use crate::netlink::route::Route;

/// All that is known when it comes to the sentence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'c> {
    pub(crate) proto: Proto,
    pub(crate) from: Ipv6Addr,
    /// What was asked: the host's address and the published port.
    pub(crate) sent: Endpoint,
    pub(crate) link: &'c Link,
    pub(crate) ending: &'c Ending,
    /// The rule or policy that ended the way.
    pub(crate) stop: Option<&'c TraceStep>,
    /// The rule that rewrote the destination.
    pub(crate) rewriter: Option<&'c TraceStep>,
    /// A rule that keeps connection tracking, and so all rewriting, away.
    pub(crate) untracked: Option<&'c TraceStep>,
    pub(crate) facts: &'c EndingFacts,
    pub(crate) publication: &'c Publication,
    /// The rule or policy of a legacy table that ended the way, and the rule as its tool prints it.
    pub(crate) legacy: Option<&'c (Logged, Option<String>)>,
    /// What is wrong in the container, where the packet arrives there.
    pub(crate) fault: Option<&'c Fault>,
    /// What came of the way back, where it was tried.
    pub(crate) back: Option<&'c BackSeen<'c>>,
    /// What came of a knock, where there was one.
    pub(crate) knock: Option<Knock>,
}

/// What came of the way back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BackSeen<'c> {
    /// Nobody on the bridge says that he has the address.
    NoNeighbour,
    /// Where the answer's way ended, and at which rule or policy.
    Answer(&'c Ending, Option<&'c TraceStep>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// Whether a client's packet arrives where the port is served.
    pub(crate) is_reachable: bool,
    /// A short name of the kind of answer; stable.
    pub(crate) code: &'static str,
    /// One sentence.
    pub(crate) sentence: String,
    /// A command for a shell, or a few words.
    pub(crate) remedy: Option<String>,
}

impl Diagnosis {
    pub(super) fn closed(code: &'static str, sentence: String) -> Self {
        Self {
            is_reachable: false,
            code,
            sentence,
            remedy: None,
        }
    }

    pub(super) fn or_do(self, remedy: impl Into<String>) -> Self {
        self.or_maybe(Some(remedy.into()))
    }

    /// With a remedy, where there is one.
    pub(super) fn or_maybe(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }
}

/// Turns IPv6 on at an interface.
fn enable(interface: &str) -> Option<String> {
    let key = sysctl_key(interface);
    let setting = word(&format!("net.ipv6.conf.{key}.disable_ipv6=0"))?;
    Some(format!("sysctl -w {setting}"))
}

impl Case<'_> {
    /// The port, as the user names it.
    pub(super) fn what(&self) -> String {
        format!("{}/{}", self.sent.1, self.proto)
    }

    /// The interface at which the packet arrives, safe to print.
    pub(super) fn device(&self) -> String {
        shown(&self.link.name)
    }

    /// The container to which the port leads, if the packet has its address.
    pub(super) fn target(&self, to: Endpoint) -> Option<&PortTarget> {
        let mut targets = self.publication.targets.iter();
        targets.find(|target| (target.addr, target.port) == to)
    }

    /// The answer.
    pub(crate) fn diagnose(&self) -> Diagnosis {
        match self.ending {
            Ending::Dropped(_) => self.dropped(),
            Ending::Queued(_, number) => self.taken(
                "queued",
                &format!("given to a program by NFQUEUE {number}, which did not give it back"),
            ),
            Ending::Stolen(_) => self.taken("stolen", "taken out of the way"),
            Ending::Odd(_, code) => {
                self.taken("unknown-verdict", &format!("ended with the verdict {code}"))
            }
            Ending::Unseen => self.unseen(),
            Ending::NotReceived => self.not_received(),
            Ending::Vanished(_) => self.vanished(),
            Ending::Unrouted => self.unrouted(),
            Ending::Host(to) => self.came_to_the_host(to.unwrap_or(self.sent)),
            Ending::Out(to, out) => self.left(to.unwrap_or(self.sent), *out),
        }
    }

    fn dropped(&self) -> Diagnosis {
        let what = self.what();
        let Some(stop) = self.stop else {
            return Diagnosis::closed("dropped", format!("{what} is dropped by a rule."));
        };
        let rejects = stop.words.as_ref().is_some_and(|w| w.facts.rejects());
        let verb = match rejects {
            true => "rejected",
            false => "dropped",
        };
        let (chain, owner) = (stop.chain_words(), stop.owner.words());
        let by = match stop.spot.handle {
            None => format!("the policy of {chain}"),
            Some(_) => chain,
        };
        let sentence = format!("{what} is {verb} by {by}, {owner}.");
        let diagnosis = Diagnosis::closed(verb, self.with_dockers_reason(sentence));
        match remedy::of_stop(stop, self.proto, self.to(), self.from) {
            Some(remedy) => diagnosis.or_do(remedy),
            None => diagnosis,
        }
    }

    /// Where the packet was to go, as far as that is known.
    pub(super) fn to(&self) -> Option<Endpoint> {
        let target = self.publication.targets.first();
        target.map(|target| (target.addr, target.port))
    }

    /// Docker's reason comes first where it says that nothing is open.
    fn with_dockers_reason(&self, sentence: String) -> String {
        match (&self.publication.closed[..], &self.publication.targets[..]) {
            ([reason, ..], []) => format!("{reason}; besides, {sentence}"),
            _ => sentence,
        }
    }

    fn taken(&self, code: &'static str, how: &str) -> Diagnosis {
        let (what, mut by) = (self.what(), String::new());
        if let Some(stop) = self.stop {
            by = format!(" by {}, {}", stop.chain_words(), stop.owner.words());
        }
        Diagnosis::closed(
            code,
            format!("{what} is {how}{by}: what becomes of it then is unknown."),
        )
    }

    fn unseen(&self) -> Diagnosis {
        let (what, device) = (self.what(), self.device());
        if !self.link.is_up {
            return self.device_is_down();
        }
        let sentence = format!(
            "{what} is taken on interface {device} before any rule of nf_tables sees it: by an XDP \
             program or a tc filter."
        );
        let looked_at = word(&self.link.name).map(|device| {
            format!("look at `ip link show {device}` and `tc filter show dev {device} ingress`")
        });
        Diagnosis::closed("before-netfilter", sentence).or_maybe(looked_at)
    }

    fn device_is_down(&self) -> Diagnosis {
        let (what, device) = (self.what(), self.device());
        let sentence = format!("{what} cannot arrive: interface {device} is down.");
        let up = word(&self.link.name).map(|device| format!("ip link set {device} up"));
        Diagnosis::closed("device-down", sentence).or_maybe(up)
    }

    fn not_received(&self) -> Diagnosis {
        let (what, device) = (self.what(), self.device());
        if !self.link.is_up {
            return self.device_is_down();
        }
        if self.facts.disabled.contains(&self.link.name) {
            return self.ipv6_is_off(&self.link.name);
        }
        let sentence = format!(
            "{what} arrives on interface {device} and is gone before prerouting; what takes it is \
             unknown (a tc filter, or the kernel's checks of the header)."
        );
        Diagnosis::closed("not-received", sentence)
    }

    fn ipv6_is_off(&self, interface: &str) -> Diagnosis {
        let (what, name) = (self.what(), shown(interface));
        let sentence = format!("{what} is dropped because IPv6 is off on interface {name}.");
        Diagnosis::closed("ipv6-disabled", sentence).or_maybe(enable(interface))
    }

    fn vanished(&self) -> Diagnosis {
        let Ending::Vanished(place) = self.ending else {
            return Diagnosis::closed("vanished", format!("{} vanishes.", self.what()));
        };
        let (what, hook) = (self.what(), place.hook);
        let conntrack = (hook, place.priority) == (Hook::Prerouting, -299);
        if conntrack
            && let Some((count, max)) = self.facts.conntrack
            && count >= max
        {
            let sentence = format!(
                "{what} is dropped because connection tracking is full: {count} of {max} entries."
            );
            return Diagnosis::closed("conntrack-full", sentence).or_do(format!(
                "sysctl -w net.netfilter.nf_conntrack_max={}",
                max.saturating_mul(2)
            ));
        }
        if let Some((logged, line)) = self.legacy {
            return self.dropped_by_legacy(logged, line.as_deref());
        }
        let behind = untraced_behind(*place);
        let legacy = ["raw", "mangle", "nat", "filter", "security"]
            .into_iter()
            .find(|table| behind.contains(&format!("the {table} table")))
            .filter(|table| self.facts.legacy.iter().any(|used| used == table));
        match legacy {
            Some(table) => {
                let sentence = format!(
                    "{what} is dropped in hook {hook} by the table {table} of ip6tables-legacy, \
                     written by a human or a program that leaves no name."
                );
                Diagnosis::closed("dropped-by-legacy", sentence)
                    .or_do(format!("look at `ip6tables-legacy -t {table} -vnL`"))
            }
            None => {
                let sentence = format!(
                    "{what} vanishes in hook {hook} behind priority {}, and no rule of nf_tables \
                     says so; what takes it is unknown (perhaps {behind}).",
                    place.priority
                );
                Diagnosis::closed("vanished", sentence)
            }
        }
    }

    fn dropped_by_legacy(&self, logged: &Logged, line: Option<&str>) -> Diagnosis {
        let chain = ChainName {
            // `NFPROTO_IPV6`.
            family: 10,
            table: logged.table.clone(),
            chain: logged.chain.clone(),
        };
        let owner = owner(&chain, &Clues::default()).words();
        let (table, chain) = (shown(&logged.table), shown(&logged.chain));
        let which = match logged.is_policy() {
            true => "the policy".to_owned(),
            false => format!("rule {}", logged.number),
        };
        let rule = line.map_or_else(String::new, |line| format!(" ({})", shown(line)));
        let sentence = format!(
            "{} is dropped by {which} of chain {chain} in the table {table} of \
             ip6tables-legacy{rule}, {owner}.",
            self.what()
        );
        let closed = Diagnosis::closed("dropped-by-legacy", sentence);
        match remedy::of_legacy(logged, line) {
            Some(remedy) => closed.or_do(remedy),
            None => closed,
        }
    }

    fn unrouted(&self) -> Diagnosis {
        let (what, facts) = (self.what(), self.facts);
        if facts.forwarding == Some(false) && !facts.force_forwarding {
            let sentence = format!(
                "{what} is dropped because the kernel forwards no IPv6 packets \
                 (net.ipv6.conf.all.forwarding = 0)."
            );
            return Diagnosis::closed("forwarding", sentence)
                .or_do("sysctl -w net.ipv6.conf.all.forwarding=1");
        }
        if let Some(off) = facts.disabled.iter().find(|name| **name != self.link.name) {
            return self.ipv6_is_off(off);
        }
        let to = self.to().map_or(self.sent.0, |to| to.0);
        match facts.route {
            Some(Route::None(errno)) => {
                let why = match errno {
                    Errno::ACCESS | Errno::HOSTUNREACH | Errno::INVAL => "a route refuses it",
                    _ => "there is no route",
                };
                let sentence = format!("{what} is dropped because {why} to {to}.");
                Diagnosis::closed("no-route", sentence)
                    .or_do(format!("look at `ip -6 route get {to}`"))
            }
            _ if self.from.is_unicast_link_local() => {
                let sentence = format!(
                    "{what} is dropped because the source {} is link-local, and such packets are \
                     not forwarded.",
                    self.from
                );
                Diagnosis::closed("link-local-source", sentence)
            }
            _ => Diagnosis::closed(
                "unrouted",
                format!("{what} is dropped where the kernel routes; why is unknown."),
            ),
        }
    }
}

/// The step at which the way ended, among those shown.
pub(crate) fn stop_of<'s>(steps: &'s [TraceStep], ending: &Ending) -> Option<&'s TraceStep> {
    let spot = match ending {
        Ending::Dropped(spot)
        | Ending::Queued(spot, _)
        | Ending::Stolen(spot)
        | Ending::Odd(spot, _) => spot,
        _ => return None,
    };
    steps.iter().rev().find(|step| step.spot == *spot)
}

#[cfg(test)]
mod tests;
