//! What was found: one finding for each thing, with its remedy, and the whole report.

use std::fmt;

use serde::Serialize;

/// What is checked, in the order of the report. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckId {
    Forwarding,
    AcceptRa,
    Address,
    DefaultRoute,
    Device,
    Netns,
    Docker,
    DockerProxySocket,
    DockerIpv6,
    Prefix,
    Tools,
    MixedRules,
    ForwardDrop,
    Firewalld,
    Ufw,
    Rpfilter,
    DockerNative,
    Kernel,
    Journal,
    Clock,
    Privilege,
    Leftovers,
}

impl CheckId {
    /// Each once, in order.
    pub(crate) const ALL: [Self; 22] = [
        Self::Forwarding,
        Self::AcceptRa,
        Self::Address,
        Self::DefaultRoute,
        Self::Device,
        Self::Netns,
        Self::Docker,
        Self::DockerProxySocket,
        Self::DockerIpv6,
        Self::Prefix,
        Self::Tools,
        Self::MixedRules,
        Self::ForwardDrop,
        Self::Firewalld,
        Self::Ufw,
        Self::Rpfilter,
        Self::DockerNative,
        Self::Kernel,
        Self::Journal,
        Self::Clock,
        Self::Privilege,
        Self::Leftovers,
    ];

    /// The name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::AcceptRa => "accept-ra",
            Self::Address => "address",
            Self::DefaultRoute => "default-route",
            Self::Device => "device",
            Self::Netns => "netns",
            Self::Docker => "docker",
            Self::DockerProxySocket => "docker-proxy-socket",
            Self::DockerIpv6 => "docker-ipv6",
            Self::Prefix => "prefix",
            Self::Tools => "tools",
            Self::MixedRules => "mixed-rules",
            Self::ForwardDrop => "forward-drop",
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
            Self::Rpfilter => "rpfilter",
            Self::DockerNative => "docker-native",
            Self::Kernel => "kernel",
            Self::Journal => "journal",
            Self::Clock => "clock",
            Self::Privilege => "privilege",
            Self::Leftovers => "leftovers",
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The outcome of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    /// Something will not work as expected, or not for ever.
    Warn,
    /// No packet gets through, or the daemon cannot do its work.
    Fail,
    /// It could not be checked.
    Skip,
}

impl Outcome {
    /// The word for it at the beginning of a line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One finding. Its texts may hold names that others have chosen; they are escaped where they are
/// shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    #[serde(serialize_with = "name")]
    pub(crate) id: CheckId,
    pub(crate) result: Outcome,
    pub(crate) found: String,
    /// A command for a shell, or a few words; `None` where nothing is to be done, or nobody knows
    /// what.
    #[serde(rename = "do")]
    pub(crate) remedy: Option<String>,
}

fn name<S: serde::Serializer>(id: &CheckId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

impl Finding {
    pub(crate) fn ok(id: CheckId, found: impl Into<String>) -> Self {
        Self::new(id, Outcome::Ok, found)
    }

    pub(crate) fn warn(id: CheckId, found: impl Into<String>) -> Self {
        Self::new(id, Outcome::Warn, found)
    }

    pub(crate) fn fail(id: CheckId, found: impl Into<String>) -> Self {
        Self::new(id, Outcome::Fail, found)
    }

    pub(crate) fn skip(id: CheckId, why: impl Into<String>) -> Self {
        Self::new(id, Outcome::Skip, why)
    }

    fn new(id: CheckId, result: Outcome, found: impl Into<String>) -> Self {
        Self {
            id,
            result,
            found: found.into(),
            remedy: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub(crate) fn with(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// Everything that was found, in the order of [`CheckId::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Version of this shape.
    v: u32,
    pub(crate) checks: Vec<Finding>,
    pub(crate) ok: usize,
    pub(crate) warn: usize,
    pub(crate) fail: usize,
    pub(crate) skipped: usize,
}

impl Report {
    /// The findings in order, without those of the ids in `ignored`.
    pub(crate) fn new(mut checks: Vec<Finding>, ignored: &[CheckId]) -> Self {
        checks.retain(|finding| !ignored.contains(&finding.id));
        checks.sort_by_key(|finding| finding.id);
        let count = |result| checks.iter().filter(|it| it.result == result).count();
        Self {
            v: 1,
            ok: count(Outcome::Ok),
            warn: count(Outcome::Warn),
            fail: count(Outcome::Fail),
            skipped: count(Outcome::Skip),
            checks,
        }
    }

    /// The findings that say that something does not work.
    pub(crate) fn fails(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().filter(|it| it.result == Outcome::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let found = vec![
            Finding::skip(CheckId::Ufw, "not permitted"),
            Finding::fail(CheckId::DockerIpv6, "network a\u{1b}[2J has IPv6 off")
                .with("mend 'a b'"),
            Finding::warn(CheckId::Clock, "late"),
            Finding::ok(CheckId::Forwarding, "on"),
        ];
        Report::new(found, &[CheckId::Clock])
    }

    #[test]
    fn the_json_has_stable_names() {
        let json = serde_json::to_string(&report()).expect("plain values");
        assert!(
            json.starts_with(r#"{"v":1,"checks":[{"id":"forwarding","result":"ok","#),
            "{json}"
        );
        assert!(
            json.contains(r#""do":"mend 'a b'"},{"id":"ufw","result":"skip""#),
            "{json}"
        );
        assert!(
            json.ends_with(r#""ok":1,"warn":0,"fail":1,"skipped":1}"#),
            "{json}"
        );
    }

    #[test]
    fn each_id_has_a_name_and_a_place_of_its_own() {
        let names: std::collections::BTreeSet<_> = CheckId::ALL.map(CheckId::as_str).into();
        assert_eq!(names.len(), CheckId::ALL.len());
        assert!(CheckId::ALL.is_sorted());
    }
}
