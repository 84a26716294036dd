//! The name of our table, and its sets and maps. Pure.

use crate::netlink::nf_tables::set::{CONCAT, INTERVAL, MAP};

/// The name of our table, in the family ip6.
pub const TABLE: &str = "docker_nat66";

/// What keys and targets are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// The name of an interface.
    Interface,
    /// An IPv6 address.
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
            Self::Interface | Self::Addr => 16,
            Self::Proto => 1,
            Self::Port => 2,
        }
    }

    /// Its type's number in nft (`enum datatypes`, include/datatype.h), which the kernel keeps
    /// for it.
    fn datatype(self) -> u32 {
        match self {
            Self::Interface => 41,
            Self::Addr => 8,
            Self::Proto => 12,
            Self::Port => 13,
        }
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

/// A set or map of our table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Set {
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
    pub(super) const ALL: [Self; 13] = [
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

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Prefixes => "prefixes",
            Self::Guarded => "guarded",
            Self::Hairpin => "hairpin",
            Self::Refused => "refused",
            Self::RefusedHost => "refused_host",
            Self::Sources => "sources",
            Self::Forwards => "forwards",
            Self::ForwardsHost => "forwards_host",
            Self::ForwardsFrom => "forwards_from",
            Self::ForwardsFromHost => "forwards_from_host",
            Self::ForwardsInside => "forwards_inside",
            Self::ForwardsInsideHost => "forwards_inside_host",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// What its keys are.
    pub(super) fn key(self) -> &'static [Field] {
        use Field::{Addr, Interface, Port, Proto};
        match self {
            Self::Egress => &[Interface],
            Self::Prefixes | Self::Guarded | Self::Sources => &[Addr],
            Self::Hairpin => &[Addr, Addr],
            Self::Refused | Self::Forwards | Self::ForwardsInside => &[Proto, Port],
            Self::RefusedHost
            | Self::ForwardsHost
            | Self::ForwardsFrom
            | Self::ForwardsInsideHost => &[Addr, Proto, Port],
            Self::ForwardsFromHost => &[Addr, Addr, Proto, Port],
        }
    }

    /// What a key leads to; empty for a set.
    pub(super) fn data(self) -> &'static [Field] {
        match self {
            Self::Sources => &[Field::Addr],
            Self::Forwards
            | Self::ForwardsHost
            | Self::ForwardsFrom
            | Self::ForwardsFromHost
            | Self::ForwardsInside
            | Self::ForwardsInsideHost => &[Field::Addr, Field::Port],
            _ => &[],
        }
    }

    /// Whether its keys are ranges.
    pub(super) fn is_interval(self) -> bool {
        matches!(
            self,
            Self::Prefixes
                | Self::Guarded
                | Self::Hairpin
                | Self::Sources
                | Self::ForwardsFrom
                | Self::ForwardsFromHost
        )
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

    /// Whether its keys hold one of the host's addresses, before protocol and port.
    pub(super) fn has_host_address(self) -> bool {
        matches!(
            self,
            Self::RefusedHost
                | Self::ForwardsHost
                | Self::ForwardsFromHost
                | Self::ForwardsInsideHost
        )
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
