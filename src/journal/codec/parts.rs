//! What the bodies of all versions have in common. Frozen: never add or move a field or a variant.

use std::borrow::Cow;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::journal::record;
use crate::model::device::Device;
use crate::model::forward::{self, MAX_NAME_BYTES, Proto};
use crate::model::rule::{self, BackendKind};
use crate::model::text::Untrusted;

#[derive(Serialize, Deserialize)]
pub(super) enum RecordedState {
    Intended,
    Applied,
    Removing,
}

impl From<record::RecordState> for RecordedState {
    fn from(state: record::RecordState) -> Self {
        match state {
            record::RecordState::Intended => Self::Intended,
            record::RecordState::Applied => Self::Applied,
            record::RecordState::Removing => Self::Removing,
        }
    }
}

impl From<RecordedState> for record::RecordState {
    fn from(state: RecordedState) -> Self {
        match state {
            RecordedState::Intended => Self::Intended,
            RecordedState::Applied => Self::Applied,
            RecordedState::Removing => Self::Removing,
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Backend {
    Ip6tables,
    Nftables,
}

impl From<BackendKind> for Backend {
    fn from(kind: BackendKind) -> Self {
        match kind {
            BackendKind::Ip6tables => Self::Ip6tables,
            BackendKind::Nftables => Self::Nftables,
        }
    }
}

impl From<Backend> for BackendKind {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Ip6tables => Self::Ip6tables,
            Backend::Nftables => Self::Nftables,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Owner<'a> {
    container_id: Cow<'a, str>,
    container_name: Cow<'a, str>,
    network: Cow<'a, str>,
}

impl<'a> From<&'a forward::Owner> for Owner<'a> {
    fn from(owner: &'a forward::Owner) -> Self {
        Self {
            container_id: owner.container_id.as_str().into(),
            container_name: cut(&owner.container_name),
            network: cut(&owner.network),
        }
    }
}

impl From<Owner<'_>> for forward::Owner {
    fn from(owner: Owner<'_>) -> Self {
        Self::new(
            owner.container_id.into_owned(),
            Untrusted::new(owner.container_name),
            Untrusted::new(owner.network),
        )
    }
}

/// A name as the journal keeps it.
pub(super) fn cut(name: &Untrusted) -> Cow<'_, str> {
    let name = name.raw();
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].into()
}

/// Address and length.
#[derive(Serialize, Deserialize)]
pub(super) struct Prefix([u8; 16], u8);

impl From<Ipv6Net> for Prefix {
    fn from(net: Ipv6Net) -> Self {
        Self(net.addr().octets(), net.prefix_len())
    }
}

impl TryFrom<Prefix> for Ipv6Net {
    type Error = String;

    fn try_from(Prefix(addr, len): Prefix) -> Result<Self, String> {
        Ipv6Net::new(addr.into(), len).map_err(|_| format!("a prefix has a length of {len}"))
    }
}

/// A port on the host.
#[derive(Serialize, Deserialize)]
pub(super) struct HostPort {
    proto: Protocol,
    addr: Option<[u8; 16]>,
    port: u16,
}

#[derive(Serialize, Deserialize)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl From<rule::HostPort> for HostPort {
    fn from(at: rule::HostPort) -> Self {
        Self {
            proto: match at.proto {
                Proto::Tcp => Protocol::Tcp,
                Proto::Udp => Protocol::Udp,
                Proto::Sctp => Protocol::Sctp,
            },
            addr: at.addr.map(|addr| addr.octets()),
            port: at.port,
        }
    }
}

impl TryFrom<HostPort> for rule::HostPort {
    type Error = String;

    fn try_from(at: HostPort) -> Result<Self, String> {
        Ok(Self {
            proto: match at.proto {
                Protocol::Tcp => Proto::Tcp,
                Protocol::Udp => Proto::Udp,
                Protocol::Sctp => Proto::Sctp,
            },
            addr: at.addr.map(Into::into),
            port: nonzero(at.port)?,
        })
    }
}

/// A port that is none is damage.
pub(super) fn nonzero(port: u16) -> Result<u16, String> {
    match port {
        0 => Err("a port is 0".to_owned()),
        port => Ok(port),
    }
}

/// A name that no device can have is damage.
pub(super) fn device(name: &str) -> Result<Device, String> {
    name.parse()
        .map_err(|error| format!("device {name:?}: {error}"))
}
