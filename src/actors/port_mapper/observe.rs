//! Reads the host facts that the port mapper needs.

use std::collections::BTreeSet;

use slog::{info, warn};

use super::PortMapper;
use crate::mapper::compute::Choice;
use crate::model::device::Device;
use crate::model::forward::Proto;
use crate::sys::causes::chain;
use crate::sys::host::{self, PortSource, ProxiedPorts};

impl PortMapper {
    /// Reads the host's addresses and, with `--dev auto`, its default routes.
    pub(super) fn observe_host(&mut self) -> std::io::Result<()> {
        self.host.host_addrs = host::addresses()?;
        if self.options.devices == Choice::Auto {
            let devices = host::default_devices()?;
            self.host.routed = !devices.is_empty();
            // While there is no default route the last interfaces stay, so that no connection is cut.
            if !devices.is_empty() && devices != self.host.default_devices {
                let names: Vec<&str> = devices.iter().map(Device::as_str).collect();
                info!(self.log, "egress interfaces, by the default route"; "dev" => names.join(","));
                self.host.default_devices = devices;
            }
        }
        Ok(())
    }

    /// With `--hairpin auto`: finds the published ports that no docker-proxy serves. `changes` is
    /// that of what was computed last. Returns whether they are others than at the last scan.
    pub(super) fn observe_proxies(
        &mut self,
        published: &BTreeSet<(Proto, u16)>,
        changes: u64,
    ) -> bool {
        self.scanned = Some(changes);
        match host::proxied_ports() {
            Ok(ProxiedPorts { ports, source }) => {
                if source == PortSource::Listeners && self.port_source != Some(source) {
                    warn!(
                        self.log,
                        "no process of Docker is visible from here: for --hairpin auto, a port \
                        that any process listens on counts as served by docker-proxy; \
                        set --hairpin, or run where dockerd is visible (--pid=host)"
                    );
                }
                self.port_source = Some(source);
                let unserved = published - &ports;
                if *self.host.unserved == unserved {
                    return false;
                }
                self.host.unserved = unserved.into();
                true
            }
            Err(error) => {
                let why = chain(&error);
                warn!(self.log, "cannot find out which ports docker-proxy serves"; "reason" => why);
                false
            }
        }
    }
}
