//! Finds out whether the tools and the kernel can do what is needed.

use super::exec::Network;
use super::tool::Tools;
use super::{Ip6tables, Presence, ToolSettings, Variant};
use crate::backend::{Backend, BackendError, ErrorKind};
use crate::netlink::witness::Witness;

/// Rules that use every part of the kernel that ours use: tables, chains, targets and matches.
const PROBE: &str = "*filter\n\
    -N DOCKER-NAT66\n\
    -A FORWARD -j DOCKER-NAT66 -m comment --comment docker-nat66\n\
    -A DOCKER-NAT66 -i lo -d fd00::/64 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT \
    -m comment --comment docker-nat66 -j DROP\n\
    COMMIT\n\
    *nat\n\
    -A POSTROUTING -o lo -s fd00::/64 -j SNAT --to-source fd00::1 ! -d fd00::/64 \
    -m comment --comment docker-nat66\n\
    -A POSTROUTING -o lo -s fd00::/64 -j MASQUERADE -m addrtype ! --src-type LOCAL \
    -m comment --comment docker-nat66\n\
    -A PREROUTING -i lo -p tcp --dport 1 -j DNAT --to-destination [fd00::1]:1 \
    -m addrtype --dst-type LOCAL -m comment --comment docker-nat66\n\
    COMMIT\n";

impl Ip6tables {
    /// Finds the tools and makes sure that they and the kernel can do what is needed: the table
    /// can be listed, and rules like ours are accepted, tried in an empty network namespace
    /// that vanishes at once. Where making one is not permitted, or the xtables lock is held,
    /// only the first commit shows it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without tools or without IPv6 NAT in the kernel,
    /// [`ErrorKind::Denied`] without privilege; otherwise as [`Backend::list`], except that an
    /// uncertain or busy listing is no obstacle here: it may pass, and the caller lists again.
    pub fn detect(settings: ToolSettings) -> Result<Self, BackendError> {
        let mut found = Self::new(Tools::find(&settings)?, settings, Presence::Wanted);
        let variant = found.variant();
        let listed = match variant {
            Variant::Nft => found.list(),
            // Only root may read which tables there are, without which no round is possible.
            Variant::Legacy => found.legacy_tables().and_then(|_| found.list()),
        };
        match listed {
            Ok(_) => {}
            Err(e) if matches!(e.kind, ErrorKind::Uncertain | ErrorKind::Busy) => {}
            Err(mut e) => {
                match e.kind {
                    ErrorKind::Denied => e.detail.push_str(match variant {
                        Variant::Nft => "; run as root or with CAP_NET_ADMIN",
                        Variant::Legacy => {
                            "; the legacy variant of ip6tables needs root with CAP_NET_ADMIN and \
                             CAP_NET_RAW"
                        }
                    }),
                    ErrorKind::Unsupported => e.detail.push_str(&found.what_is_needed()),
                    _ => {}
                }
                return Err(e);
            }
        }
        found.probe()?;
        // Without a witness each change lists first, which also notices that the tool has become the
        // other variant.
        if variant == Variant::Nft && found.tools.have_own_names() {
            found.witness = Witness::open().ok();
        }
        Ok(found)
    }

    /// Whether the kernel takes rules like ours.
    fn probe(&mut self) -> Result<(), BackendError> {
        match self.tools.restore("a probe", PROBE, Network::Fresh) {
            Err(e)
                if matches!(
                    e.kind,
                    ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Exists
                ) || (e.kind == ErrorKind::Failed && e.detail.contains("line")) =>
            {
                Err(BackendError {
                    kind: ErrorKind::Unsupported,
                    detail: e.detail + &self.what_is_needed(),
                    ..e
                })
            }
            // No new network namespace may be made here, or another program holds the lock.
            _ => Ok(()),
        }
    }

    /// What a kernel that refuses lacks, to be added to the tool's words.
    fn what_is_needed(&self) -> String {
        let own = match self.variant() {
            Variant::Nft => "nft_compat, nft_chain_nat",
            Variant::Legacy => "ip6table_filter, ip6table_nat",
        };
        format!(
            "; the kernel needs IPv6 NAT and filter tables with MASQUERADE, SNAT, DNAT, conntrack, \
             addrtype and comment (modules {own}, xt_nat, xt_MASQUERADE, xt_conntrack, \
             xt_addrtype, xt_comment)"
        )
    }
}
