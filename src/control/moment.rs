//! A moment as people and machines read it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The last second whose year has four digits, as RFC 3339 demands.
const LAST: u64 = 253_402_300_799;

/// A second of the wall clock, for display only: what an event means never depends on it. JSON has it
/// as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// This second.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::from_secs(since.map_or(0, |since| since.as_secs()))
    }

    /// So many seconds after the epoch, or the last second that RFC 3339 can name.
    pub fn from_secs(secs: u64) -> Self {
        Self(secs.min(LAST))
    }

    /// Seconds after the epoch.
    pub(crate) fn as_secs(self) -> u64 {
        self.0
    }

    /// Seconds from here to `later`; 0 where it is not later, because a clock was set.
    pub(crate) fn secs_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok();
        let time = time.and_then(|secs| DateTime::from_timestamp(secs, 0));
        let text = time
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Secs, true);
        f.pad(&text)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let time = DateTime::parse_from_rfc3339(&text).map_err(D::Error::custom)?;
        match u64::try_from(time.timestamp()) {
            Ok(secs) if secs <= LAST => Ok(Self(secs)),
            _ => Err(D::Error::custom("a time before 1970 or after 9999")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_rfc_3339_in_json_and_reads_back() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_480_496_882, "2016-11-30T09:08:02Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            let moment = Moment::from_secs(secs);
            let json = serde_json::to_string(&moment).expect("a string");
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Moment>(&json).ok(), Some(moment));
        }
        let offset: Moment = serde_json::from_str("\"2016-11-30T10:08:02+01:00\"").expect("valid");
        assert_eq!(offset, Moment::from_secs(1_480_496_882));
        for odd in [
            "\"1969-12-31T23:59:59Z\"",
            "\"9999-12-31T23:59:59-10:00\"",
            "\"\"",
            "1",
        ] {
            assert!(serde_json::from_str::<Moment>(odd).is_err(), "{odd}");
        }
    }
}
