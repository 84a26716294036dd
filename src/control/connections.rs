//! How many connections each published port has taken.
//!
//! [`PortConnections`] answers a question of `status --watch`: what the kernel counts now. Monitoring
//! needs counters that never fall, and the kernel's begin again at 0 whenever a rule is put in anew:
//! [`ConnectionTotals`] adds up the differences.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::rule::{HostPort, RuleId};
use crate::model::text::Untrusted;

/// A published port and its counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConnections {
    /// The port: `8080/tcp`, `[2001:db8::1]:8080/tcp`.
    pub port: String,
    /// The name of the container that it leads to, as Docker gave it.
    pub container: String,
    /// Connections since its rules were put into the kernel.
    pub connections: u64,
}

/// Most published ports with a figure of their own in monitoring. Each is a time series that Prometheus keeps for
/// weeks, and a host may publish 60,000 ports.
const MOST_SERIES: usize = 200;

/// A rule that forwards, and what the kernel counts of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedRule<'r> {
    /// Its identity.
    pub id: RuleId,
    /// When it was put into the kernel, in seconds since the epoch: at another time it is another rule,
    /// whose counter began at 0.
    pub inserted_at: u64,
    /// The port that it publishes.
    pub port: HostPort,
    /// Whom the port belongs to; `None`: not known.
    pub container: Option<&'r Untrusted>,
    /// Connections since it was put there; `None`: the kernel does not count them.
    pub connections: Option<u64>,
}

/// A rule's counter when it was last read.
#[derive(Debug, Clone, Copy)]
struct LastRead {
    inserted_at: u64,
    connections: u64,
}

/// Connections since the daemon started. No figure ever falls: a port that is closed keeps its place
/// until another one needs it, and then its series ends.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTotals {
    /// When that was, in seconds since the epoch.
    since: u64,
    last_read: BTreeMap<RuleId, LastRead>,
    /// By port, then by the container's name as it is shown.
    shown: BTreeMap<HostPort, BTreeMap<String, Shown>>,
    others: u64,
    /// Counts the readings.
    reading: u64,
}

/// A port with a figure of its own.
#[derive(Debug)]
struct Shown {
    total: u64,
    /// The last reading in which it was open.
    open_at: u64,
}

impl ConnectionTotals {
    /// None yet, of a daemon that starts at this second since the epoch.
    pub(crate) fn since(since: u64) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// Adds what came since the last reading. `rules` are all that forward now. What a rule of an earlier
    /// run has counted before the first reading does not count.
    pub(crate) fn add<'r>(&mut self, rules: impl Iterator<Item = CountedRule<'r>>) {
        self.reading += 1;
        let mut ports: BTreeMap<(HostPort, Option<&Untrusted>), u64> = BTreeMap::new();
        let mut last_read = BTreeMap::new();
        for rule in rules {
            let before = self.last_read.get(&rule.id);
            let before = before.filter(|it| it.inserted_at == rule.inserted_at);
            let now = rule.connections.or(before.map(|it| it.connections));
            let new = match (now, before) {
                (None, _) => 0,
                // It began again at 0 where it is less than before.
                (Some(now), Some(it)) => now.checked_sub(it.connections).unwrap_or(now),
                (Some(_), None) if rule.inserted_at < self.since => 0,
                (Some(now), None) => now,
            };
            if let Some(connections) = now {
                let inserted_at = rule.inserted_at;
                let read = LastRead {
                    inserted_at,
                    connections,
                };
                last_read.insert(rule.id, read);
            }
            *ports.entry((rule.port, rule.container)).or_default() += new;
        }
        self.last_read = last_read;
        // Those that have a place keep it, before any is given away.
        ports.retain(|(port, container), new| !self.add_to_shown(*port, *container, *new));
        let mut has_room = true;
        for ((port, container), new) in ports {
            // Without room for one there is none for the next.
            has_room = has_room && self.has_room();
            if !has_room {
                self.others += new;
                continue;
            }
            let shown = Shown {
                total: new,
                open_at: self.reading,
            };
            let containers = self.shown.entry(port).or_default();
            containers.insert(name(container), shown);
        }
    }

    /// Counts for a port that has a place; `false` if it has none.
    fn add_to_shown(&mut self, port: HostPort, container: Option<&Untrusted>, new: u64) -> bool {
        let containers = self.shown.get_mut(&port);
        let shown = containers.and_then(|them| them.get_mut(&name(container)));
        let Some(shown) = shown else {
            return false;
        };
        shown.total += new;
        shown.open_at = self.reading;
        true
    }

    /// Whether there is a place, which the port gives up for it that has been closed for longest.
    fn has_room(&mut self) -> bool {
        let all = self.shown.values().map(BTreeMap::len);
        if all.sum::<usize>() < MOST_SERIES {
            return true;
        }
        let each = self.shown.iter().flat_map(|(port, containers)| {
            let each = containers.iter();
            each.map(move |(name, shown)| (shown.open_at, *port, name))
        });
        let Some((open_at, port, name)) = each.min() else {
            return false;
        };
        if open_at == self.reading {
            return false;
        }
        let name = name.clone();
        if let Some(containers) = self.shown.get_mut(&port) {
            // Its total ends with its series: among the others it would look like new connections.
            containers.remove(&name);
            if containers.is_empty() {
                self.shown.remove(&port);
            }
        }
        true
    }

    /// What there is to show.
    pub(crate) fn figures(&self) -> ConnectionFigures {
        let each = self.shown.iter().flat_map(|(port, containers)| {
            let each = containers.iter();
            each.map(move |(container, shown)| (*port, container.clone(), shown.total))
        });
        ConnectionFigures {
            ports: each.collect(),
            others: self.others,
        }
    }
}

/// A container's name as it is shown: safe, and not too long.
fn name(container: Option<&Untrusted>) -> String {
    container.map_or_else(String::new, ToString::to_string)
}

/// Connections since the daemon started, for monitoring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConnectionFigures {
    /// Of each port that has a place: the port, the container's name as it is shown, and the connections.
    pub ports: Vec<(HostPort, String, u64)>,
    /// Of all others together.
    pub others: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forward::Proto;

    /// When the daemon started.
    const SINCE: u64 = 100;

    fn port(port: u16) -> HostPort {
        let (proto, addr) = (Proto::Tcp, None);
        HostPort { proto, addr, port }
    }

    fn rule(number: u16, container: &Untrusted, connections: u64) -> CountedRule<'_> {
        let mut id = [0; 8];
        id[..2].copy_from_slice(&number.to_be_bytes());
        CountedRule {
            id: RuleId::from_bytes(id),
            inserted_at: SINCE,
            port: port(number),
            container: Some(container),
            connections: Some(connections),
        }
    }

    fn shown(totals: &ConnectionTotals) -> Vec<(u16, String, u64)> {
        let ports = totals.figures().ports.into_iter();
        ports.map(|(p, name, n)| (p.port, name, n)).collect()
    }

    #[test]
    fn a_counter_of_the_kernel_that_begins_again_takes_nothing_away() {
        let (a, b) = ("a".into(), "b".into());
        let mut totals = ConnectionTotals::since(SINCE);
        let earlier = CountedRule {
            inserted_at: SINCE - 1,
            ..rule(81, &a, 50)
        };
        let moved = CountedRule {
            inserted_at: SINCE + 9,
            ..rule(80, &a, 8)
        };
        let uncounted = CountedRule {
            connections: None,
            ..rule(80, &a, 0)
        };
        // What is read, and what ports 80 and 81 have then.
        let readings = [
            (vec![rule(80, &a, 3), earlier], [3, 0]),
            (vec![rule(80, &a, 5), earlier], [5, 0]),
            // Began again, and has counted 2 since.
            (vec![rule(80, &a, 2), earlier], [7, 0]),
            // Put in anew: all 8 are new, although 8 is more than 2.
            (vec![moved, earlier], [15, 0]),
            (vec![moved, rule(81, &a, 1)], [15, 1]),
            (vec![uncounted], [15, 1]),
            (vec![], [15, 1]),
        ];
        for (rules, [http, other]) in readings {
            totals.add(rules.into_iter());
            let expected = [(80, "a".to_owned(), http), (81, "a".to_owned(), other)];
            assert_eq!(shown(&totals), expected);
        }
        // Another container has the port, and its counter goes on.
        totals.add([rule(80, &a, 4)].into_iter());
        totals.add([rule(80, &b, 6)].into_iter());
        let name = |name: &str| name.to_owned();
        let expected = [(80, name("a"), 19), (80, name("b"), 2), (81, name("a"), 1)];
        assert_eq!(shown(&totals), expected);
    }

    #[test]
    fn all_rules_of_a_port_make_one_figure() {
        let web = "web".into();
        let mut totals = ConnectionTotals::since(SINCE);
        let other_way = CountedRule {
            port: port(80),
            ..rule(1, &web, 2)
        };
        totals.add([rule(80, &web, 3), other_way].into_iter());
        assert_eq!(shown(&totals), [(80, "web".to_owned(), 5)]);
    }

    #[test]
    fn at_most_so_many_are_shown_and_none_that_is_open_is_lost() {
        let web = "web".into();
        let mut totals = ConnectionTotals::since(SINCE);
        let most = u16::try_from(MOST_SERIES).expect("small");
        let sum = |totals: &ConnectionTotals| {
            let shown = shown(totals);
            assert_eq!(shown.len(), MOST_SERIES);
            shown.iter().map(|(.., n)| n).sum::<u64>() + totals.figures().others
        };
        let all: Vec<_> = (1..=most + 50).map(|n| rule(n, &web, 2)).collect();
        totals.add(all.into_iter());
        assert_eq!((sum(&totals), totals.figures().others), (500, 100));
        // The first 30 close, and their 60 go with them; as many of the others have a place now, and begin
        // there at what is new.
        let left: Vec<_> = (31..=most + 50).map(|n| rule(n, &web, 3)).collect();
        totals.add(left.into_iter());
        let figures = totals.figures();
        assert_eq!((sum(&totals), figures.others), (720 - 60, 100 + 20));
        assert_eq!(shown(&totals)[0], (31, "web".to_owned(), 3));
    }

    #[test]
    fn a_name_cannot_steer_a_terminal() {
        let name = "a\u{1b}[2J\n".into();
        let mut totals = ConnectionTotals::since(SINCE);
        totals.add([rule(1, &name, 1)].into_iter());
        assert_eq!(shown(&totals), [(1, r"a\u{1b}[2J\n".to_owned(), 1)]);
    }
}
