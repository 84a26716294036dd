//! The name of our table, its sets and maps, and the kind of rule that an element of each is. Pure.

use crate::backend::kind::{
    DNAT_INSIDE, DNAT_OUTSIDE, FORWARD, HAIRPIN, Kind, POSTROUTING, REFUSE, SNAT, of_settings,
};
use crate::netlink::nf_tables::set::{CONCAT, INTERVAL, MAP};

/// The name of our table, in the family ip6.
pub const TABLE: &str = "docker_nat66";

/// What keys and targets are made of. In a key the name also says what the rule means by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// The name of an egress interface.
    Interface,
    /// A prefix of the containers.
    Prefix,
    /// Source addresses that alone are meant.
    Source,
    /// One of the host's addresses.
    HostAddr,
    /// An IPv6 address that a packet gets.
    Addr,
    /// The number of a transport protocol.
    Proto,
    /// A port.
    Port,
}

impl Field {
    /// Length in bytes.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Interface | Self::Prefix | Self::Source | Self::HostAddr | Self::Addr => 16,
            Self::Proto => 1,
            Self::Port => 2,
        }
    }

    /// Its type's number in nft (`enum datatypes`, include/datatype.h), which the kernel keeps
    /// for it.
    fn datatype(self) -> u32 {
        match self {
            Self::Interface => 41,
            Self::Prefix | Self::Source | Self::HostAddr | Self::Addr => 8,
            Self::Proto => 12,
            Self::Port => 13,
        }
    }

    /// Whether it is a range of addresses.
    pub(super) fn is_range(self) -> bool {
        matches!(self, Self::Prefix | Self::Source)
    }
}

/// Bits for one field in the number of a concatenated type (`TYPE_BITS`, include/datatype.h).
const TYPE_BITS: u32 = 6;

/// The number of a concatenated type; 0 without fields.
pub(super) fn datatype(fields: &[Field]) -> u32 {
    let add = |sum: u32, field: &Field| (sum << TYPE_BITS) | field.datatype();
    fields.iter().fold(0, add)
}

/// Length of a concatenation: fields begin at multiples of four. A single one is not padded.
pub(super) fn length(fields: &[Field]) -> usize {
    match fields {
        [field] => field.length(),
        fields => fields.iter().map(|f| f.length().next_multiple_of(4)).sum(),
    }
}

/// What distinguishes a set or map from the others.
struct SetSpec {
    name: &'static str,
    /// The kind of rule that an element is.
    kind: &'static Kind,
    key: &'static [Field],
    /// What a key leads to; empty for a set.
    data: &'static [Field],
}

fn set(name: &'static str, kind: &'static Kind, key: &'static [Field]) -> SetSpec {
    map(name, kind, key, &[])
}

fn map(
    name: &'static str,
    kind: &'static Kind,
    key: &'static [Field],
    data: &'static [Field],
) -> SetSpec {
    SetSpec {
        name,
        kind,
        key,
        data,
    }
}

/// An egress interface.
pub(crate) const EGRESS: Kind = of_settings("egress", 0, &POSTROUTING);

/// A prefix of the containers: masqueraded, not to be spoofed, and where the host's published ports
/// are asked for from inside.
pub(crate) const PREFIX: Kind = of_settings("prefix", 1, &POSTROUTING);

/// A prefix whose unpublished ports are not reachable.
pub(crate) const GUARDED: Kind = of_settings("guarded", 2, &FORWARD);

/// A set or map of our table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::backend) enum Set {
    Egress,
    Prefixes,
    Guarded,
    Hairpin,
    Refused,
    RefusedHost,
    Sources,
    Forwards,
    ForwardsHost,
    ForwardsFrom,
    ForwardsFromHost,
    ForwardsInside,
    ForwardsInsideHost,
}

impl Set {
    /// All of them, in the order of the listing.
    pub(in crate::backend) const ALL: [Self; 13] = [
        Self::Egress,
        Self::Prefixes,
        Self::Guarded,
        Self::Hairpin,
        Self::Refused,
        Self::RefusedHost,
        Self::Sources,
        Self::Forwards,
        Self::ForwardsHost,
        Self::ForwardsFrom,
        Self::ForwardsFromHost,
        Self::ForwardsInside,
        Self::ForwardsInsideHost,
    ];

    #[rustfmt::skip]
    fn spec(self) -> SetSpec {
        use Field::{Addr, HostAddr, Interface, Port, Prefix, Proto, Source};
        const CONTAINER: &[Field] = &[Addr, Port];
        match self {
            Self::Egress => set("egress", &EGRESS, &[Interface]),
            Self::Prefixes => set("prefixes", &PREFIX, &[Prefix]),
            Self::Guarded => set("guarded", &GUARDED, &[Prefix]),
            Self::Hairpin => set("hairpin", &HAIRPIN, &[Prefix, Prefix]),
            Self::Refused => set("refused", &REFUSE, &[Proto, Port]),
            Self::RefusedHost => set("refused_host", &REFUSE, &[HostAddr, Proto, Port]),
            Self::Sources => map("sources", &SNAT, &[Prefix], &[Addr]),
            Self::Forwards => map("forwards", &DNAT_OUTSIDE, &[Proto, Port], CONTAINER),
            Self::ForwardsHost => map("forwards_host", &DNAT_OUTSIDE, &[HostAddr, Proto, Port], CONTAINER),
            Self::ForwardsFrom => map("forwards_from", &DNAT_OUTSIDE, &[Source, Proto, Port], CONTAINER),
            Self::ForwardsFromHost => map("forwards_from_host", &DNAT_OUTSIDE, &[Source, HostAddr, Proto, Port], CONTAINER),
            Self::ForwardsInside => map("forwards_inside", &DNAT_INSIDE, &[Proto, Port], CONTAINER),
            Self::ForwardsInsideHost => map("forwards_inside_host", &DNAT_INSIDE, &[HostAddr, Proto, Port], CONTAINER),
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.spec().name
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// The kind of rule that its elements are.
    pub(in crate::backend) fn kind(self) -> &'static Kind {
        self.spec().kind
    }

    /// What its keys are.
    pub(super) fn key(self) -> &'static [Field] {
        self.spec().key
    }

    /// What a key leads to; empty for a set.
    pub(super) fn data(self) -> &'static [Field] {
        self.spec().data
    }

    /// Whether its keys are ranges.
    pub(super) fn is_interval(self) -> bool {
        self.key().iter().any(|field| field.is_range())
    }

    /// Whether the kernel keeps its ranges as one element for the first address and another
    /// for the one behind the last (nft_set_rbtree), and not as one with both ends
    /// (nft_set_pipapo).
    pub(super) fn has_two_elements_each(self) -> bool {
        self.is_interval() && self.key().len() == 1
    }

    /// Whether there is one for each published port: these are counted, and given a size, by
    /// which a bulk of insertions is twice as fast.
    pub(super) fn is_per_port(self) -> bool {
        self.key().contains(&Field::Port)
    }

    /// `NFTA_SET_FLAGS`.
    pub(super) fn flags(self) -> u32 {
        let concat = self.is_interval() && self.key().len() > 1;
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        flag(self.is_interval(), INTERVAL)
            | flag(!self.data().is_empty(), MAP)
            | flag(concat, CONCAT)
    }

    /// What nft notes of the type, to print it: TLVs of the byte orders of key and data
    /// (`NFTNL_UDATA_SET_KEYBYTEORDER`, `…_DATABYTEORDER`; 1 the machine's, 2 big-endian).
    pub(super) fn userdata(self) -> Vec<u8> {
        let order = |what: u8, fields: &[Field]| {
            let order: u32 = match fields {
                [] => return Vec::new(),
                [Field::Interface] => 1,
                [_] => 2,
                _ => 0,
            };
            [&[what, 4][..], &order.to_ne_bytes()].concat()
        };
        [order(0, self.key()), order(1, self.data())].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nft 1.0.6 sends it.
    #[test]
    fn types_and_flags_are_those_that_nft_sends() {
        let of = |set: Set| (set.flags(), datatype(set.key()), length(set.key()));
        assert_eq!(of(Set::Egress), (0, 0x29, 16));
        assert_eq!(of(Set::Prefixes), (0x4, 0x8, 16));
        assert_eq!(of(Set::Hairpin), (0x84, 0x208, 32));
        assert_eq!(of(Set::RefusedHost), (0, 0x830d, 24));
        assert_eq!(of(Set::Sources), (0xc, 0x8, 16));
        assert_eq!(of(Set::Forwards), (0x8, 0x30d, 8));
        assert_eq!(of(Set::ForwardsFromHost), (0x8c, 0x0020_830d, 40));
        let data = |set: Set| (datatype(set.data()), length(set.data()));
        assert_eq!(data(Set::Forwards), (0x20d, 20));
        assert_eq!(data(Set::Sources), (0x8, 16));
    }
}
