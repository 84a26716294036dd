//! Reads Docker's own IPv6 NAT from all the tables in which it may stand.

use super::legacy;
use super::nftables::NftablesReader;
use super::observation::DockerNat;
use crate::backend::BackendError;
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};

/// Reads nf_tables over netlink and, unless our own rules are in the tool's nft variant, the legacy
/// variant's tables with that variant's tool.
#[derive(Debug)]
pub struct Observer {
    nftables: NftablesReader,
    legacy: Option<Ip6tables>,
    /// The last result from the legacy tables.
    in_legacy: DockerNat,
    ours: Option<Variant>,
}

impl Observer {
    /// `ours` is the variant of ip6tables that holds our own rules; `None`: nftables does. Docker
    /// uses the same variant as we do; with nftables it may use either.
    pub fn new(ours: Option<Variant>, settings: &ToolSettings) -> Self {
        let is_legacy_read = ours != Some(Variant::Nft);
        Self {
            nftables: NftablesReader::default(),
            legacy: is_legacy_read
                .then(|| Ip6tables::legacy(settings))
                .flatten(),
            in_legacy: DockerNat::default(),
            ours,
        }
    }

    /// Reads the NAT as it is now. In the filter table that holds our own chain, Docker's drops do
    /// not count, because our chain comes first and accepts.
    ///
    /// # Errors
    /// The NAT is unknown. Nothing was retried.
    pub fn observe(&mut self) -> Result<DockerNat, BackendError> {
        let mut seen = self.nftables.read(self.ours != Some(Variant::Nft))?;
        if let Some(tables) = &mut self.legacy {
            match read_legacy(tables, self.ours != Some(Variant::Legacy)) {
                Ok(found) => self.in_legacy = found,
                // With nftables we need no tool for our own work. If this one fails, or we may not
                // run it, the last result stays.
                Err(_) if self.ours.is_none() => {}
                Err(error) => return Err(error),
            }
            seen.add(self.in_legacy.clone());
        }
        Ok(seen)
    }
}

/// Reads the legacy variant's tables. `in_filter`: drops in its filter table count.
fn read_legacy(tables: &mut Ip6tables, in_filter: bool) -> Result<DockerNat, BackendError> {
    let mut seen = DockerNat::default();
    if let Some(listing) = tables.legacy_listing("nat")? {
        legacy::add(&listing, &mut seen);
    }
    if in_filter && let Some(listing) = tables.legacy_listing("filter")? {
        seen.left_behind = legacy::left_behind(&listing);
    }
    Ok(seen)
}
