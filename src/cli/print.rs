//! `print`: hands out the files that go with the program.

use super::args::{Asset, PrintArgs};
use super::{Exit, Failure};

/// The systemd unit, as it is installed.
const UNIT: &str = include_str!("../assets/docker-nat66.service");

pub(super) fn run(args: &PrintArgs) -> Result<Exit, Failure> {
    super::print(match args.what {
        Asset::Unit => UNIT,
    })?;
    Ok(Exit::Done)
}
