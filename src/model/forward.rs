//! A published port, resolved to a container's IPv6 address.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::Ipv6Net;

use super::text::Untrusted;

/// Transport protocols that Docker publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
    /// SCTP, IP protocol 132.
    Sctp,
}

impl Proto {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The name that Docker, ip6tables and nft share.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The protocol's number (IANA Protocol Numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of this number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|proto| proto.number() == number)
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is none of `tcp`, `udp`, `sctp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownProto;

impl fmt::Display for UnknownProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown protocol, expected tcp, udp or sctp")
    }
}

impl std::error::Error for UnknownProto {}

impl FromStr for Proto {
    type Err = UnknownProto;

    fn from_str(text: &str) -> Result<Self, UnknownProto> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or(UnknownProto)
    }
}

/// The journal cuts the names of containers, images and networks at this many bytes. Docker sets no limit, and a
/// single long name must not make a whole batch unwritable. Only readers need the names; ownership goes
/// by id.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// A container that needs a rule. A rule may have several owners, and goes with the last one. Clones
/// share their content: each of a container's rules holds it in several places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<OwnerContent>);

/// Which container an owner is. The image does not count in comparisons: Docker shows the same
/// container with another one once its tag has moved, and in a list otherwise than in an inspect.
#[derive(Debug, Clone)]
pub struct OwnerContent {
    /// The container's full id as Docker gives it.
    pub container_id: String,
    /// The container's name without the leading slash.
    pub container_name: Untrusted,
    /// The Docker network that holds the container's address.
    pub network: Untrusted,
    /// The container's image as Docker showed it when the rule was recorded; empty: not known.
    pub image: Untrusted,
}

impl OwnerContent {
    /// What counts in comparisons.
    fn identity(&self) -> (&str, &Untrusted, &Untrusted) {
        (&self.container_id, &self.container_name, &self.network)
    }
}

impl PartialEq for OwnerContent {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for OwnerContent {}

impl PartialOrd for OwnerContent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OwnerContent {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for OwnerContent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Owner {
    /// The container of this id and name, by its address in this network.
    pub fn new(
        container_id: impl Into<String>,
        container_name: impl Into<Untrusted>,
        network: impl Into<Untrusted>,
    ) -> Self {
        Self(Arc::new(OwnerContent {
            container_id: container_id.into(),
            container_name: container_name.into(),
            network: network.into(),
            image: Untrusted::default(),
        }))
    }

    /// The same container, with its image.
    pub fn of_image(mut self, image: impl Into<Untrusted>) -> Self {
        Arc::make_mut(&mut self.0).image = image.into();
        self
    }

    /// Whether the image of one of these is not known, and is among `others`, which are equal.
    pub(crate) fn lack_image_of(these: &BTreeSet<Self>, others: &BTreeSet<Self>) -> bool {
        let mut pairs = these.iter().zip(others);
        pairs.any(|(this, other)| this.image.is_empty() && !other.image.is_empty())
    }
}

impl Deref for Owner {
    type Target = OwnerContent;

    fn deref(&self) -> &OwnerContent {
        &self.0
    }
}

/// One published port, resolved to a container's IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forward {
    /// Transport protocol.
    pub proto: Proto,
    /// The host's address that the port is bound to; `None` for any local address.
    pub host_addr: Option<Ipv6Addr>,
    /// The published port on the host, never 0.
    pub host_port: u16,
    /// The container's address.
    pub container_addr: Ipv6Addr,
    /// The port inside the container, never 0.
    pub container_port: u16,
    /// Who may use it.
    pub sources: Sources,
    /// The container it belongs to.
    pub owner: Owner,
}

/// Who may use a forward.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sources {
    /// Everybody.
    Any,
    /// Only these, never empty.
    Only(BTreeSet<Ipv6Net>),
}
