//! Reads Docker's own IPv6 NAT from all the tables in which it may stand.

use std::fs;

use super::legacy;
use super::nftables::NftablesReader;
use super::observation::DockerNat;
use super::watch::Seen;
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use crate::backend::{BackendError, ErrorKind};

/// The legacy tables in which an Engine has rules.
const TABLES: [&str; 2] = ["nat", "filter"];

/// Reads nf_tables over netlink and, unless our own rules are in the tool's nft variant, the legacy
/// variant's tables with that variant's tool.
#[derive(Debug)]
pub struct Observer {
    nftables: NftablesReader,
    legacy: Option<Ip6tables>,
    /// The last result from the legacy tables.
    in_legacy: DockerNat,
    ours: Option<Variant>,
    settings: ToolSettings,
    /// Which tool removes rules of ip6tables from nf_tables; found out when there are some.
    nft_tool: Option<&'static str>,
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
            settings: settings.clone(),
            nft_tool: None,
        }
    }

    /// Reads the NAT as it is now. In the filter table that holds our own chain, Docker's drops do
    /// not count, because our chain comes first and accepts.
    ///
    /// # Errors
    /// The NAT is unknown, or a part of it. Nothing was retried.
    pub fn observe(&mut self) -> Result<DockerNat, BackendError> {
        match self.observe_what_can_be()? {
            Seen { nat, unread: None } => Ok(nat),
            Seen {
                unread: Some(error),
                ..
            } => Err(error),
        }
    }

    /// What can be read of the NAT as it is now, and why the rest cannot.
    ///
    /// # Errors
    /// Nothing of it is known. Nothing was retried.
    pub(crate) fn observe_what_can_be(&mut self) -> Result<Seen, BackendError> {
        let Seen { nat, unread } = self.observe_in_part()?;
        let unread = unread.or_else(|| self.without_tool());
        Ok(Seen { nat, unread })
    }

    /// The same for a daemon, which goes on where nftables holds its own rules and the legacy variant's
    /// tables cannot be read: what they last showed stays, and the result says so. It also bears that
    /// the tool to read them is not installed.
    ///
    /// # Errors
    /// The NAT is unknown. Nothing was retried.
    pub fn observe_in_part(&mut self) -> Result<Seen, BackendError> {
        let (ours, settings) = (self.ours, &self.settings);
        let nft_tool = &mut self.nft_tool;
        let tool = || *nft_tool.get_or_insert_with(|| nft_tool_of(ours, settings));
        let mut nat = self.nftables.read(ours != Some(Variant::Nft), tool)?;
        let mut unread = None;
        if let Some(tables) = &mut self.legacy {
            match read_legacy(tables, ours != Some(Variant::Legacy)) {
                Ok(found) => self.in_legacy = found,
                // With nftables we need no tool for our own work.
                Err(error) if ours.is_none() => unread = Some(error),
                Err(error) => return Err(error),
            }
            nat.add(self.in_legacy.clone());
        }
        Ok(Seen { nat, unread })
    }

    /// Why legacy tables that are in use cannot be read, if that is because their tool is missing.
    fn without_tool(&self) -> Option<BackendError> {
        if self.ours == Some(Variant::Nft) || self.legacy.is_some() {
            return None;
        }
        let names = fs::read_to_string(&self.settings.legacy_tables).unwrap_or_default();
        let used = TABLES
            .into_iter()
            .find(|table| names.lines().any(|it| it == *table))?;
        Some(BackendError {
            operation: format!("listing of the legacy table {used}, which is in use"),
            kind: ErrorKind::Unsupported,
            detail:
                "ip6tables-legacy-save is not installed; install the iptables package that has it"
                    .to_owned(),
        })
    }
}

/// The tool for nf_tables: its plain name may mean the legacy variant.
fn nft_tool_of(ours: Option<Variant>, settings: &ToolSettings) -> &'static str {
    let installed = || Ip6tables::installed(settings).map(|tool| tool.variant());
    match ours.map_or_else(installed, Ok) {
        Ok(Variant::Legacy) => "ip6tables-nft",
        Ok(Variant::Nft) | Err(_) => "ip6tables",
    }
}

/// Reads the legacy variant's tables. `in_filter`: drops in its filter table count.
fn read_legacy(tables: &mut Ip6tables, in_filter: bool) -> Result<DockerNat, BackendError> {
    let mut seen = DockerNat::default();
    if let Some(listing) = tables.legacy_listing(TABLES[0])? {
        legacy::add(&listing, &mut seen);
    }
    if in_filter && let Some(listing) = tables.legacy_listing(TABLES[1])? {
        seen.left_behind = legacy::left_behind(&listing);
    }
    Ok(seen)
}
