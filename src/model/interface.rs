//! The network interfaces of containers, as the kernel and Docker name them alike.

use std::fmt;
use std::str::FromStr;

/// The hardware address of an Ethernet interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// A text that is no hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no hardware address of six bytes, as 02:42:ac:11:00:02 is")]
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

/// What the kernel tells of the interfaces in the host's network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceNews {
    /// The end of a container's link with this hardware address is there: it was taken back from
    /// the container.
    Seen(MacAddr),
    /// More was told than could be kept.
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
