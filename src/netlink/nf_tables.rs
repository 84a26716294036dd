//! The numbers of nf_tables (linux/netfilter/nf_tables.h) and of nfnetlink's batches
//! (linux/netfilter/nfnetlink.h).

/// `NFNL_SUBSYS_NFTABLES`: the upper byte of the type of its messages, and what a batch names.
pub(crate) const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
pub(crate) const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub(crate) const BATCH_END: u16 = 0x11;

/// `enum nf_tables_msg_types`.
pub(crate) mod message {
    /// What the types of all its messages begin with.
    const NFTABLES: u16 = 10 << 8;
    pub(crate) const NEW_TABLE: u16 = NFTABLES;
    pub(crate) const GET_TABLE: u16 = NFTABLES | 1;
    pub(crate) const DEL_TABLE: u16 = NFTABLES | 2;
    pub(crate) const NEW_CHAIN: u16 = NFTABLES | 3;
    pub(crate) const GET_CHAIN: u16 = NFTABLES | 4;
    pub(crate) const NEW_RULE: u16 = NFTABLES | 6;
    pub(crate) const GET_RULE: u16 = NFTABLES | 7;
    pub(crate) const DEL_RULE: u16 = NFTABLES | 8;
    pub(crate) const NEW_SET: u16 = NFTABLES | 9;
    pub(crate) const GET_SET: u16 = NFTABLES | 10;
    pub(crate) const DEL_SET: u16 = NFTABLES | 11;
    pub(crate) const NEW_ELEMENTS: u16 = NFTABLES | 12;
    pub(crate) const GET_ELEMENTS: u16 = NFTABLES | 13;
    pub(crate) const DEL_ELEMENTS: u16 = NFTABLES | 14;
    pub(crate) const GET_GENERATION: u16 = NFTABLES | 16;
    pub(crate) const TRACE: u16 = NFTABLES | 17;
    pub(crate) const NEW_OBJECT: u16 = NFTABLES | 18;
}

/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

/// `NFTA_LIST_ELEM`.
pub(crate) const LIST_ELEM: u16 = 1;
/// `NFTA_GEN_ID`.
pub(crate) const GEN_ID: u16 = 1;

/// `enum nft_table_attributes`, and flags.
pub(crate) mod table {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const FLAGS: u16 = 2;
    pub(crate) const USE: u16 = 3;
    pub(crate) const OWNER: u16 = 7;

    /// `NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST`: only the socket that made it changes it, and
    /// it outlives that socket.
    pub(crate) const OWNED: u32 = OWNER_FLAG | 0x4;
    /// `NFT_TABLE_F_OWNER`; the kernel takes it away when the socket is closed.
    pub(crate) const OWNER_FLAG: u32 = 0x2;
}

/// `enum nft_chain_attributes`, and those of its hook.
pub(crate) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
    pub(crate) const HOOK_DEVICE: u16 = 3;
    /// `NF_ACCEPT`.
    pub(crate) const ACCEPT: u32 = 1;
}

/// `enum nft_rule_attributes`.
pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const HANDLE: u16 = 3;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USERDATA: u16 = 7;
}

/// `enum nft_object_attributes`, `NFT_OBJECT_CT_TIMEOUT`, and `enum nft_ct_timeout_timeout_attributes`.
pub(crate) mod object {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const TYPE: u16 = 3;
    pub(crate) const DATA: u16 = 4;
    pub(crate) const CT_TIMEOUT: u32 = 7;
    pub(crate) const TIMEOUT_FAMILY: u16 = 1;
    pub(crate) const TIMEOUT_PROTO: u16 = 2;
    pub(crate) const TIMEOUT_DATA: u16 = 3;
}

/// `enum nft_trace_attributes`, and `enum nft_trace_types`.
pub(crate) mod trace {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const RULE_HANDLE: u16 = 3;
    pub(crate) const TYPE: u16 = 4;
    pub(crate) const VERDICT: u16 = 5;
    pub(crate) const ID: u16 = 6;
    pub(crate) const NETWORK_HEADER: u16 = 8;
    pub(crate) const TRANSPORT_HEADER: u16 = 9;
    pub(crate) const OIF: u16 = 12;
    pub(crate) const POLICY: u16 = 16;

    pub(crate) const OF_POLICY: u32 = 1;
    pub(crate) const OF_RETURN: u32 = 2;
    pub(crate) const OF_RULE: u32 = 3;

    /// `NFNLGRP_NFTRACE`, the ninth group (linux/netfilter/nfnetlink.h), as the bit of a socket's
    /// address.
    pub(crate) const GROUP: u32 = 1 << 8;
}

/// `enum nft_set_attributes`, what is inside, and flags.
pub(crate) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const DESC: u16 = 9;
    pub(crate) const ID: u16 = 10;
    pub(crate) const USERDATA: u16 = 13;
    pub(crate) const EXPR: u16 = 17;
    pub(crate) const EXPRESSIONS: u16 = 18;
    pub(crate) const DESC_SIZE: u16 = 1;
    pub(crate) const DESC_CONCAT: u16 = 2;
    pub(crate) const FIELD_LEN: u16 = 1;

    pub(crate) const INTERVAL: u32 = 0x4;
    pub(crate) const MAP: u32 = 0x8;
    pub(crate) const CONCAT: u32 = 0x80;
}

/// `enum nft_set_elem_attributes`, those of their list, and of a value.
pub(crate) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const USERDATA: u16 = 6;
    pub(crate) const EXPR: u16 = 7;
    pub(crate) const EXPRESSIONS: u16 = 11;
    pub(crate) const KEY_END: u16 = 10;
    /// `NFT_SET_ELEM_INTERVAL_END`.
    pub(crate) const INTERVAL_END: u32 = 1;
}

/// `NFTA_DATA_VALUE`.
pub(crate) const DATA_VALUE: u16 = 1;
/// `NFTA_DATA_VERDICT`.
pub(crate) const DATA_VERDICT: u16 = 2;
/// `NFTA_VERDICT_CODE`.
pub(crate) const VERDICT_CODE: u16 = 1;
/// `NFTA_VERDICT_CHAIN`.
pub(crate) const VERDICT_CHAIN: u16 = 2;
/// `NF_DROP` (linux/netfilter.h).
pub(crate) const DROP: u32 = 0;
/// `NFT_REG_VERDICT`: what is loaded into this register is done.
pub(crate) const REG_VERDICT: u32 = 0;

/// `enum nft_expr_attributes`.
pub(crate) const EXPR_NAME: u16 = 1;
pub(crate) const EXPR_DATA: u16 = 2;

/// `NFTA_COUNTER_PACKETS`.
pub(crate) const COUNTER_PACKETS: u16 = 2;

/// `enum nft_immediate_attributes`.
pub(crate) mod immediate {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}

/// `enum nft_lookup_attributes`.
pub(crate) mod lookup {
    pub(crate) const SET: u16 = 1;
    pub(crate) const DREG: u16 = 3;
}

/// `enum nft_meta_attributes`, and keys.
pub(crate) mod meta {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const KEY: u16 = 2;
    /// `NFT_META_IIFNAME`.
    pub(crate) const INTERFACE_IN: u32 = 6;
    /// `NFT_META_OIFNAME`.
    pub(crate) const INTERFACE_OUT: u32 = 7;
    /// `NFT_META_L4PROTO`.
    pub(crate) const PROTO: u32 = 16;
}

/// `enum nft_payload_attributes`, and what an expression loads: base, offset and length.
pub(crate) mod payload {
    pub(crate) const DREG: u16 = 1;
    pub(crate) const BASE: u16 = 2;
    pub(crate) const OFFSET: u16 = 3;
    pub(crate) const LEN: u16 = 4;
    /// The destination address in an IPv6 header.
    pub(crate) const DADDR: (u32, u32, u32) = (1, 24, 16);
    /// The next header, there.
    pub(crate) const NEXT_HEADER: (u32, u32, u32) = (1, 6, 1);
    /// The destination port in a transport header.
    pub(crate) const DPORT: (u32, u32, u32) = (2, 2, 2);
}

/// `enum nft_cmp_attributes`, and operators.
pub(crate) mod cmp {
    pub(crate) const SREG: u16 = 1;
    pub(crate) const OP: u16 = 2;
    pub(crate) const DATA: u16 = 3;
    /// `NFT_CMP_EQ`.
    pub(crate) const EQUAL: u32 = 0;
    /// `NFT_CMP_NEQ`.
    pub(crate) const UNEQUAL: u32 = 1;
}

/// `NFTA_BITWISE_DREG`.
pub(crate) const BITWISE_DREG: u16 = 2;
/// `NFTA_CT_DREG`.
pub(crate) const CT_DREG: u16 = 1;
/// `NFTA_FIB_DREG`.
pub(crate) const FIB_DREG: u16 = 1;

/// `enum nft_nat_attributes`, and types.
pub(crate) mod nat {
    pub(crate) const TYPE: u16 = 1;
    pub(crate) const REG_ADDR_MIN: u16 = 3;
    pub(crate) const REG_PROTO_MIN: u16 = 5;
    /// `NFT_NAT_DNAT`.
    pub(crate) const DNAT: u32 = 1;
}

/// `enum nft_target_attributes` and `enum nft_match_attributes`, which are the same
/// (linux/netfilter/nf_tables_compat.h).
pub(crate) mod xt {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const INFO: u16 = 3;
}

/// The comment in the user data that nft and iptables store with a rule, and nft with an element,
/// among other notes; the closing NUL included (`NFTNL_UDATA_RULE_COMMENT`,
/// `NFTNL_UDATA_SET_ELEM_COMMENT`: libnftnl/udata.h).
pub(crate) fn comment(mut userdata: &[u8]) -> Option<&[u8]> {
    const COMMENT: u8 = 0;
    while let [kind, length, rest @ ..] = userdata {
        let (value, behind) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            return Some(value);
        }
        userdata = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::comment;

    #[test]
    fn a_comment_is_found_among_other_notes() {
        let note = [0, 2, b'a', 0];
        assert_eq!(comment(&note), Some(&b"a\0"[..]));
        assert_eq!(
            comment(&[&[1, 1, 7], &note[..]].concat()),
            Some(&b"a\0"[..])
        );
        for broken in [&note[..3], &[1, 4, 0], &[0], &[]] {
            assert_eq!(comment(broken), None, "{broken:?}");
        }
    }
}
