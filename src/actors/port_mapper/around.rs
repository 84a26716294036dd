//! What the port mapper reads of the host itself.

use std::collections::BTreeSet;

use slog::{info, warn};

use super::PortMapper;
use crate::mapper::plan::Choice;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::sys::causes::chain;
use crate::sys::host::{self, Proxied, Seen};

impl PortMapper {
    /// Reads what the plan needs to know of the host.
    pub(super) fn look_around(&mut self) -> std::io::Result<()> {
        self.around.host_addrs = host::addresses()?;
        if self.plan.devices == Choice::Auto {
            let devices = host::default_devices()?;
            self.around.routed = !devices.is_empty();
            // A route that comes and goes must not cut what is open.
            if !devices.is_empty() && devices != self.around.default_devices {
                let names: Vec<&str> = devices.iter().map(Device::as_str).collect();
                info!(self.log, "egress interfaces, by the default route"; "dev" => names.join(","));
                self.around.default_devices = devices;
            }
        }
        Ok(())
    }

    /// With `--hairpin auto`: finds out which of these ports nobody serves.
    pub(super) fn look_for_proxies(&mut self, published: &BTreeSet<(Proto, u16)>) {
        match host::proxied_ports() {
            Ok(Proxied { ports, seen }) => {
                if seen == Seen::Listeners && self.seen != Some(seen) {
                    warn!(
                        self.log,
                        "no process of Docker's is to be seen from here: for --hairpin \
                        auto, a port that somebody listens on counts as served by docker-proxy; \
                        set --hairpin, or run where dockerd is seen (--pid=host)"
                    );
                }
                self.seen = Some(seen);
                self.around.unserved = published.difference(&ports).copied().collect();
            }
            Err(error) => {
                let why = chain(&error);
                warn!(self.log, "cannot tell which ports docker-proxy serves"; "reason" => why);
            }
        }
        self.scanned = Some(published.clone());
    }
}
