//! `print`: the files that come with the program.

use clap::{Args, ValueEnum};

use super::failure::{Exit, Failure};
use super::output;

/// The systemd unit, as it is installed.
const UNIT: &str = include_str!("../assets/docker-nat66.service");

/// Options of `print`.
#[derive(Debug, Args)]
pub(super) struct PrintArgs {
    /// Which file to print
    #[arg(value_enum)]
    what: Asset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asset {
    /// The unit for systemd
    Unit,
}

pub(super) fn run(args: &PrintArgs) -> Result<Exit, Failure> {
    output::print(match args.what {
        Asset::Unit => UNIT,
    })?;
    Ok(Exit::Done)
}
