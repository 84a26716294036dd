//! The sentences for a packet that came somewhere: to the host itself, or out of it again. Pure.

use super::container::Fault;
use super::diagnosis::{BackSeen, Case, Diagnosis};
use super::place::untraced_behind;
use super::probe_chains::Knocked;
use super::remedy;
use super::verdict::{Ending, Endpoint};
use super::way::shown;
use crate::netlink::route::Route;

impl Case<'_> {
    pub(super) fn came_to_the_host(&self, to: Endpoint) -> Diagnosis {
        let what = self.what();
        if to != self.sent {
            let by = self.rewriter_words();
            let port = to.1;
            let sentence = format!("{what} is redirected to the host's own port {port} by {by}.");
            let diagnosis = Diagnosis::closed("redirected", sentence);
            return match self.rewriter.and_then(remedy::of_rule) {
                Some(remedy) => diagnosis.or_do(remedy),
                None => diagnosis,
            };
        }
        self.not_forwarded()
    }

    /// It came to the host's own port: nothing has rewritten it.
    fn not_forwarded(&self) -> Diagnosis {
        let what = self.what();
        if let Some(listener) = &self.facts.listener {
            let name = match &listener.process {
                Some(process) if !process.name.is_empty() => shown(&process.name),
                _ => "a process that cannot be seen".to_owned(),
            };
            let why = self.publication.closed.first();
            let why = why.map_or_else(
                || "no rule forwards it".to_owned(),
                |reason| format!("no rule forwards it ({reason})"),
            );
            // dockerd holds the ports that have no proxy, and never accepts.
            let is_deaf = name == "dockerd";
            let sentence = match is_deaf {
                true => format!(
                    "{what} comes to the host itself, where dockerd holds the port and never \
                     answers: {why}."
                ),
                false => format!("{what} is answered on the host itself by {name}: {why}."),
            };
            return Diagnosis {
                is_reachable: !is_deaf,
                code: if is_deaf {
                    "held-by-dockerd"
                } else {
                    "answered-by-host"
                },
                sentence,
                remedy: None,
            };
        }
        if let Some(step) = self.untracked {
            let sentence = format!(
                "{what} is not forwarded, because a rule in {}, {}, keeps connection tracking away \
                 from it.",
                step.chain_words(),
                step.owner.words()
            );
            let diagnosis = Diagnosis::closed("untracked", sentence);
            return match remedy::of_rule(step) {
                Some(remedy) => diagnosis.or_do(remedy),
                None => diagnosis,
            };
        }
        let nobody = match self.facts.listens_elsewhere {
            false => "and nothing listens on the host",
            true => {
                "and what listens on that port of the host does so at another address or over IPv4 only"
            }
        };
        if let [reason, ..] = &self.publication.closed[..] {
            let sentence = format!("{what} is not forwarded: {reason}; {nobody}.");
            return Diagnosis::closed("not-published", sentence);
        }
        let sentence = match (self.publication.by_daemon, self.publication.by_docker) {
            (true, _) => format!(
                "{what} is not forwarded although docker-nat66 has a rule for it: no such rule \
                 matches a packet to {} on interface {}, {nobody}.",
                self.sent.0,
                self.device()
            ),
            (false, true) => format!(
                "{what} is not forwarded although Docker's own IPv6 NAT is on: it has no rule for \
                 this port, {nobody}."
            ),
            (false, false) if self.publication.targets.is_empty() => {
                format!("{what} comes to the host itself: no rule forwards it, {nobody}.")
            }
            (false, false) => format!(
                "{what} is published, and no rule forwards it over IPv6: neither docker-nat66 nor \
                 Docker's own IPv6 NAT is at work, {nobody}."
            ),
        };
        Diagnosis::closed("not-forwarded", sentence)
    }

    fn rewriter_words(&self) -> String {
        match self.rewriter {
            Some(step) => format!("{}, {}", step.chain_words(), step.owner.words()),
            None if !self.facts.legacy.is_empty() => {
                "a rule of ip6tables-legacy, which leaves no trace".to_owned()
            }
            None => "something that leaves no trace".to_owned(),
        }
    }

    pub(super) fn left(&self, to: Endpoint, out: Option<u32>) -> Diagnosis {
        let (what, device) = (self.what(), self.device());
        let (addr, port) = to;
        let by = match &self.facts.out {
            Some(link) => format!(" by {}", shown(&link.name)),
            None => String::new(),
        };
        let is_back = out == Some(self.link.index);
        if to == self.sent {
            let sentence = match self.facts.is_local {
                false => format!("{addr} is no address of this host: {what} only passes through."),
                true => format!("{what} leaves the host{by} unchanged; why is unknown."),
            };
            return Diagnosis::closed("not-here", sentence)
                .or_do("give an address of this host after the port");
        }
        let expects = !self.publication.targets.is_empty();
        let target = self.target(to);
        if expects && target.is_none() {
            let by = self.rewriter_words();
            let expected = self.publication.targets[0].who();
            let sentence =
                format!("{what} goes to [{addr}]:{port} and not to {expected}: so says {by}.");
            let diagnosis = Diagnosis::closed("wrong-target", sentence);
            return match self.rewriter.and_then(remedy::of_rule) {
                Some(remedy) => diagnosis.or_do(remedy),
                None => diagnosis,
            };
        }
        if is_back {
            let sentence = format!(
                "{what} is forwarded to [{addr}]:{port} and leaves by {device} again: the bridge of \
                 that address is down, its route is lost, or the address is not on this host."
            );
            return Diagnosis::closed("goes-back", sentence)
                .or_do(format!("look at `ip -6 route get {addr}` and `ip link`"));
        }
        let who = match target {
            Some(target) if !target.id.is_empty() => {
                format!("{} at [{addr}]:{port}", target.who())
            }
            _ => format!("[{addr}]:{port}"),
        };
        let no_answer = self.no_answer(&who, to);
        if let Some(diagnosis) = no_answer.or_else(|| self.no_reply(&who)) {
            return diagnosis;
        }
        let answers = match self.knock {
            Some(_) => ", which answers",
            None => "",
        };
        let unasked = match (target, self.publication.is_complete) {
            (Some(_), _) | (None, true) => "",
            (None, false) => " (Docker could not be asked whose it is)",
        };
        Diagnosis {
            is_reachable: true,
            code: "reachable",
            sentence: format!("{what} reaches {who}{by}{answers}{unasked}."),
            remedy: None,
        }
    }

    /// It arrives, and no answer can come: because of the container, or of the way back.
    fn no_answer(&self, who: &str, (addr, port): Endpoint) -> Option<Diagnosis> {
        let (what, proto) = (self.what(), self.proto);
        let closed =
            |code, why: String| Diagnosis::closed(code, format!("{what} arrives at {who}, {why}."));
        let listen = "make the program in the container listen on [::]";
        let diagnosis = match self.fault {
            Some(Fault::NoAddress) => closed(
                "no-address",
                format!("but no interface of the container has the address {addr}"),
            ),
            Some(Fault::Tentative) => closed(
                "tentative",
                format!("whose address {addr} is not usable yet (duplicate address detection)"),
            ),
            Some(Fault::Duplicate) => closed(
                "duplicate-address",
                format!("whose address {addr} another interface on the bridge has, too"),
            ),
            Some(Fault::NothingListens) => closed(
                "nothing-listens",
                format!("where nothing listens on port {port}/{proto}"),
            ),
            Some(Fault::OnlyV4) => closed(
                "ipv4-only",
                format!("where port {port}/{proto} is listened to over IPv4 only"),
            )
            .or_do(listen),
            Some(Fault::OnlyAt(at)) => closed(
                "other-address-only",
                format!("where port {port}/{proto} is listened to at {at} only"),
            )
            .or_do(listen),
            Some(Fault::NoRoute) => closed(
                "no-route-in-container",
                format!("which has no route back to {}", self.from),
            ),
            None => match self.facts.way_back {
                Some(Route::None(_)) => closed(
                    "no-route-back",
                    format!("but the host has no route back to {}", self.from),
                )
                .or_do(format!("look at `ip -6 route get {}`", self.from)),
                _ => return self.no_way_back(who),
            },
        };
        Some(diagnosis)
    }

    /// A knock was not answered as by somebody who listens.
    fn no_reply(&self, who: &str) -> Option<Diagnosis> {
        let (code, how) = match self.knock?.answer {
            Some(Knocked::Open) => return None,
            Some(Knocked::Refused) => (
                "refused",
                "which refuses it: nothing listens there, or a rule in the container rejects it",
            ),
            Some(Knocked::Error) => (
                "refused",
                "which answers with an error of ICMPv6: a rule in the container rejects it",
            ),
            None => (
                "silent",
                "and no answer comes from there: a rule in the container drops it, or the program \
                 takes no more connections",
            ),
        };
        let sentence = format!("{} arrives at {who}, {how}.", self.what());
        Some(Diagnosis::closed(code, sentence))
    }

    /// Its answer would be lost.
    fn no_way_back(&self, who: &str) -> Option<Diagnosis> {
        let what = self.what();
        let (ending, stop) = match self.back? {
            BackSeen::NoNeighbour => {
                let sentence = format!(
                    "{what} is forwarded to {who}, and nobody there says that the address is his \
                     (neighbour discovery): the container is gone, or not on this bridge."
                );
                return Some(Diagnosis::closed("no-neighbour", sentence));
            }
            BackSeen::Answer(ending, stop) => (ending, stop),
        };
        let lost = |how: String| {
            let sentence = format!("{what} reaches {who}, and its answer is {how}.");
            Diagnosis::closed("answer-lost", sentence)
        };
        Some(match (ending, stop) {
            (Ending::Out(..), _) => return None,
            (_, Some(stop)) => {
                let policy = match stop.spot.handle {
                    None => "the policy of ",
                    Some(_) => "",
                };
                let (chain, owner) = (stop.chain_words(), stop.owner.words());
                let sentence = format!(
                    "{what} reaches {who}, and its answer is dropped by {policy}{chain}, {owner}."
                );
                let closed = Diagnosis::closed("answer-dropped", sentence);
                match remedy::of_stop(stop, self.proto, self.to(), self.from) {
                    Some(remedy) => closed.or_do(remedy),
                    None => closed,
                }
            }
            (Ending::Vanished(place), None) => lost(format!(
                "lost in hook {} behind priority {} (perhaps by {})",
                place.hook,
                place.priority,
                untraced_behind(*place)
            )),
            (Ending::Unrouted, None) => {
                lost(format!("lost where the kernel routes it to {}", self.from))
            }
            (Ending::Host(_), None) => lost("taken by the host itself".to_owned()),
            _ => lost("lost before any rule sees it".to_owned()),
        })
    }
}
