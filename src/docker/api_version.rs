//! The versions of the Engine's API, and the range of them that this daemon speaks.

use std::fmt;
use std::str::FromStr;

/// The oldest API that is spoken: Engine 19.03, the first whose `network` events and inspect
/// answers have all that is used here.
pub(super) const OLDEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 40,
};

/// The newest API that is spoken: Engine 29.3, what bollard 0.21 was made for.
pub(super) const NEWEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 53,
};

/// A version of the Engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Counts up, with every minor release of the Engine.
    pub minor: u32,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self {
            major: major.parse().map_err(|_| ())?,
            minor: minor.parse().map_err(|_| ())?,
        })
    }
}
