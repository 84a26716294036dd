//! The tables of both variants of ip6tables, listed and changed for a person who asks for that.

use super::super::failure::{Exit, Failure};
use super::super::output;
use crate::backend::ip6tables::{Ip6tables, ToolSettings, Variant};
use crate::backend::shell::tool_of;

/// The variants whose tools are installed.
///
/// # Errors
/// None is.
pub(super) fn variants() -> Result<Vec<Ip6tables>, Failure> {
    let settings = ToolSettings::default();
    let found: Vec<Ip6tables> = [Ip6tables::nft(&settings), Ip6tables::legacy(&settings)]
        .into_iter()
        .flatten()
        .collect();
    if found.is_empty() {
        let message = "the tools of ip6tables, which those rules need, are not installed";
        return Err(Failure::new(Exit::Missing, message));
    }
    Ok(found)
}

/// What the tool prints of the table; nothing where the kernel has none.
///
/// # Errors
/// Why it cannot be listed for certain.
pub(super) fn listing(tables: &mut Ip6tables, table: &str) -> Result<String, Failure> {
    match tables.variant() {
        Variant::Nft => Ok(tables.listing(table)?),
        Variant::Legacy => {
            let listing = tables.legacy_listing(table)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&listing).into_owned())
        }
    }
}

/// Prints the commands that would make these changes of a table.
///
/// # Errors
/// Standard output takes no more.
pub(super) fn print(variant: Variant, table: &str, changes: &[String]) -> Result<(), Failure> {
    let tool = tool_of(variant);
    let lines = changes
        .iter()
        .map(|change| format!("{tool} -t {table} {change}\n"));
    output::print(&lines.collect::<String>())
}

/// Prints the last line of a list, or of a removal.
///
/// # Errors
/// Standard output takes no more.
pub(super) fn conclude(total: usize, yes: bool) -> Result<Exit, Failure> {
    output::print(&match (total, yes) {
        (0, _) => "there is no such rule\n".to_owned(),
        (_, true) => format!("removed: {total}\n"),
        (_, false) => format!("{total} would be removed, with --yes\n"),
    })?;
    Ok(Exit::Done)
}

/// What is said where rules are there again that were just removed.
pub(super) fn again(left: usize) -> Failure {
    let message = format!("{left} rules are there again: does their program still run?");
    Failure::new(Exit::Failed, message)
}
