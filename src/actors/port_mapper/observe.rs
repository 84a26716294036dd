//! What the port mapper reads of the host itself.

use std::collections::BTreeSet;

use slog::{info, warn};

use super::PortMapper;
use crate::mapper::compute::Choice;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::sys::causes::chain;
use crate::sys::host::{self, Proxied, Seen};

impl PortMapper {
    /// Reads what the mapper needs to know of the host.
    pub(super) fn observe_host(&mut self) -> std::io::Result<()> {
        self.host.host_addrs = host::addresses()?;
        if self.options.devices == Choice::Auto {
            let devices = host::default_devices()?;
            self.host.routed = !devices.is_empty();
            // A route that comes and goes must not cut what is open.
            if !devices.is_empty() && devices != self.host.default_devices {
                let names: Vec<&str> = devices.iter().map(Device::as_str).collect();
                info!(self.log, "egress interfaces, by the default route"; "dev" => names.join(","));
                self.host.default_devices = devices;
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
                self.host.unserved = published.difference(&ports).copied().collect();
            }
            Err(error) => {
                let why = chain(&error);
                warn!(self.log, "cannot tell which ports docker-proxy serves"; "reason" => why);
            }
        }
        self.scanned = Some(published.clone());
    }
}
