//! The network interfaces of containers. Docker and the kernel both name them by hardware address.

use std::fmt;
use std::str::FromStr;

/// The hardware address of an Ethernet interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// A text that is not a hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a hardware address of six bytes such as 02:42:ac:11:00:02")]
pub struct NotAMacAddr;

impl FromStr for MacAddr {
    type Err = NotAMacAddr;

    fn from_str(text: &str) -> Result<Self, NotAMacAddr> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(NotAMacAddr)?;
            if part.len() != 2 || part.starts_with('+') {
                return Err(NotAMacAddr);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMacAddr)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(NotAMacAddr),
        }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// News from the kernel about the interfaces in the host's network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceNews {
    /// The container's end of a link, with this hardware address, is back in the host's namespace:
    /// Docker has taken it from the container.
    Seen(MacAddr),
    /// The kernel reported more than the queue could hold, and some news was lost.
    Missed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_six_bytes() {
        let mac: MacAddr = "7e:99:9C:eb:7a:08".parse().expect("one");
        assert_eq!(mac, MacAddr([0x7e, 0x99, 0x9c, 0xeb, 0x7a, 0x08]));
        assert_eq!(mac.to_string(), "7e:99:9c:eb:7a:08");
        for text in [
            "",
            "7e:99:9c:eb:7a",
            "7e:99:9c:eb:7a:08:00",
            "7e:99:9c:eb:7a:8",
            "+e:99:9c:eb:7a:08",
            "7e-99-9c-eb-7a-08",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(NotAMacAddr), "{text:?}");
        }
    }
}
