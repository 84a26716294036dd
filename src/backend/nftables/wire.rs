//! Numbers of nf_tables (linux/netfilter/nf_tables.h) and of nfnetlink's batches
//! (linux/netfilter/nfnetlink.h).

/// `NFNL_SUBSYS_NFTABLES << 8`: what the types of all its messages begin with.
pub(super) const NFTABLES: u16 = 10 << 8;
/// `NFNL_SUBSYS_NFTABLES`, as a batch names it.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
pub(super) const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub(super) const BATCH_END: u16 = 0x11;

/// `enum nf_tables_msg_types`.
pub(crate) mod message {
    use super::NFTABLES;
    pub(in super::super) const NEW_TABLE: u16 = NFTABLES;
    pub(in super::super) const GET_TABLE: u16 = NFTABLES | 1;
    pub(in super::super) const DEL_TABLE: u16 = NFTABLES | 2;
    pub(in super::super) const NEW_CHAIN: u16 = NFTABLES | 3;
    pub(crate) const GET_CHAIN: u16 = NFTABLES | 4;
    pub(in super::super) const NEW_RULE: u16 = NFTABLES | 6;
    pub(crate) const GET_RULE: u16 = NFTABLES | 7;
    pub(in super::super) const DEL_RULE: u16 = NFTABLES | 8;
    pub(in super::super) const NEW_SET: u16 = NFTABLES | 9;
    pub(in super::super) const GET_SET: u16 = NFTABLES | 10;
    pub(in super::super) const DEL_SET: u16 = NFTABLES | 11;
    pub(in super::super) const NEW_ELEMENTS: u16 = NFTABLES | 12;
    pub(crate) const GET_ELEMENTS: u16 = NFTABLES | 13;
    pub(in super::super) const DEL_ELEMENTS: u16 = NFTABLES | 14;
    pub(in super::super) const GET_GENERATION: u16 = NFTABLES | 16;
}

/// `NLM_F_APPEND`.
pub(super) const APPEND: u16 = 0x800;

/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEM: u16 = 1;
/// `NFTA_GEN_ID`.
pub(super) const GEN_ID: u16 = 1;

/// `enum nft_table_attributes`, and flags.
pub(super) mod table {
    pub(in super::super) const NAME: u16 = 1;
    pub(in super::super) const FLAGS: u16 = 2;
    pub(in super::super) const USE: u16 = 3;
    pub(in super::super) const OWNER: u16 = 7;

    /// `NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST`: only the socket that made it changes it, and
    /// it outlives that socket.
    pub(in super::super) const OWNED: u32 = OWNER_FLAG | 0x4;
    /// `NFT_TABLE_F_OWNER`; the kernel takes it away when the socket is closed.
    pub(in super::super) const OWNER_FLAG: u32 = 0x2;
}

/// `enum nft_chain_attributes`, and those of its hook.
pub(super) mod chain {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const NAME: u16 = 3;
    pub(in super::super) const HOOK: u16 = 4;
    pub(in super::super) const POLICY: u16 = 5;
    pub(in super::super) const TYPE: u16 = 7;
    pub(in super::super) const HOOK_NUMBER: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;
    /// `NF_ACCEPT`.
    pub(in super::super) const ACCEPT: u32 = 1;
}

/// `enum nft_rule_attributes`.
pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(in super::super) const EXPRESSIONS: u16 = 4;
}

/// `enum nft_set_attributes`, what is inside, and flags.
pub(super) mod set {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const NAME: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const KEY_TYPE: u16 = 4;
    pub(in super::super) const KEY_LEN: u16 = 5;
    pub(in super::super) const DATA_TYPE: u16 = 6;
    pub(in super::super) const DATA_LEN: u16 = 7;
    pub(in super::super) const DESC: u16 = 9;
    pub(in super::super) const ID: u16 = 10;
    pub(in super::super) const USERDATA: u16 = 13;
    pub(in super::super) const EXPR: u16 = 17;
    pub(in super::super) const EXPRESSIONS: u16 = 18;
    pub(in super::super) const DESC_SIZE: u16 = 1;
    pub(in super::super) const DESC_CONCAT: u16 = 2;
    pub(in super::super) const FIELD_LEN: u16 = 1;

    pub(in super::super) const INTERVAL: u32 = 0x4;
    pub(in super::super) const MAP: u32 = 0x8;
    pub(in super::super) const CONCAT: u32 = 0x80;
}

/// `enum nft_set_elem_attributes`, those of their list, and of a value.
pub(crate) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(in super::super) const LIST_ELEMENTS: u16 = 3;
    pub(in super::super) const KEY: u16 = 1;
    pub(in super::super) const DATA: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const USERDATA: u16 = 6;
    pub(in super::super) const KEY_END: u16 = 10;
    /// `NFT_SET_ELEM_INTERVAL_END`.
    pub(in super::super) const INTERVAL_END: u32 = 1;
}

/// `NFTA_DATA_VALUE`.
pub(super) const DATA_VALUE: u16 = 1;
/// `NFTA_DATA_VERDICT`.
pub(super) const DATA_VERDICT: u16 = 2;
/// `NFTA_VERDICT_CODE`.
pub(super) const VERDICT_CODE: u16 = 1;

/// `enum nft_expr_attributes`.
pub(super) const EXPR_NAME: u16 = 1;
/// See [`EXPR_NAME`].
pub(super) const EXPR_DATA: u16 = 2;
