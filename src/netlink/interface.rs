//! Looks up one interface by a name: its own name, and the bridge, bond or team whose port it is.

use std::time::{Duration, Instant};

use super::error::NetlinkError;
use super::links::{LINK_HEADER, LINK_INFO};
use super::message::{Malformed, Writer, find, text};
use super::request;
use super::socket::Socket;

/// `RTM_GETLINK` (linux/rtnetlink.h).
const GET_LINK: u16 = 18;

/// `IFLA_IFNAME` and `IFLA_MASTER`; in `IFLA_LINKINFO`, `IFLA_INFO_SLAVE_KIND` (linux/if_link.h).
const NAME: u16 = 3;
const MASTER: u16 = 10;
const SLAVE_KIND: u16 = 4;

/// `IFLA_ADDRESS`, and `IFLA_XDP` with `IFLA_XDP_ATTACHED` inside (linux/if_link.h).
const ADDRESS: u16 = 1;
const XDP: u16 = 43;
const XDP_ATTACHED: u16 = 2;

/// `XDP_ATTACHED_DRV`, `XDP_ATTACHED_HW` and `XDP_ATTACHED_MULTI`: the driver or the hardware runs
/// the program, before the kernel sees a packet.
const BEFORE_THE_KERNEL: [u8; 3] = [1, 3, 4];

/// `IFF_UP` (linux/if.h).
const UP: u32 = 1;

/// Kinds of interfaces that receive what arrives on their ports.
const SWALLOW: [&[u8]; 3] = [b"bridge", b"bond", b"team"];

/// The kernel answers at once, or under a lock that others hold for moments.
const PATIENCE: Duration = Duration::from_secs(1);

/// An interface of the network namespace of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name. The kernel also finds an interface by its other names (altnames), so this may
    /// differ from the name that was asked for.
    pub name: String,
    /// The bridge, bond or team whose port it is.
    pub master: Option<String>,
    /// Its index.
    pub index: u32,
    /// Whether it is administratively up (`IFF_UP`, linux/if.h).
    pub is_up: bool,
}

/// The interface of this name; `None` where there is none.
///
/// # Errors
/// The kernel does not answer, or not as it should.
pub(crate) fn look_up(name: &str) -> Result<Option<Found>, NetlinkError> {
    let mut socket = Socket::route()?;
    let Some(link) = ask(&mut socket, 0, Some(name))? else {
        return Ok(None);
    };
    let master = match link.master {
        None => None,
        // It may be gone by now.
        Some(index) => ask(&mut socket, index, None)?.map(|master| master.name),
    };
    Ok(Some(Found {
        name: link.name,
        master,
        index: link.link.index,
        is_up: link.link.is_up,
    }))
}

/// What concerns a packet that arrives at an interface or leaves by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number in this network namespace.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// The hardware address of an Ethernet interface; tunnels have none.
    pub(crate) mac: Option<[u8; 6]>,
    /// Whether it is up, as the administrator has it.
    pub(crate) is_up: bool,
    /// The bridge, bond or team whose port it is, by its number.
    pub(crate) master: Option<u32>,
    /// Whether an XDP program sees packets before the kernel does.
    pub(crate) has_native_xdp: bool,
}

/// The interface of this name; `None` where there is none.
///
/// # Errors
/// As [`look_up`].
pub(crate) fn link(name: &str) -> Result<Option<Link>, NetlinkError> {
    Ok(ask(&mut Socket::route()?, 0, Some(name))?.map(|shown| shown.link))
}

/// The interface of this number; `None` where there is none.
///
/// # Errors
/// As [`look_up`].
pub(crate) fn link_of(index: u32) -> Result<Option<Link>, NetlinkError> {
    Ok(ask(&mut Socket::route()?, index, None)?.map(|shown| shown.link))
}

/// An interface as the kernel shows it.
struct Shown {
    name: String,
    /// The index of the interface whose port it is.
    master: Option<u32>,
    link: Link,
}

/// Asks for the interface of this index, or where that is 0, of this name.
fn ask(socket: &mut Socket, index: u32, name: Option<&str>) -> Result<Option<Shown>, NetlinkError> {
    let which = |writer: &mut Writer| {
        let mut header = [0; LINK_HEADER];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        writer.raw(&header);
        if let Some(name) = name {
            writer.text(NAME, name);
        }
    };
    let shown = request::get(socket, Instant::now() + PATIENCE, GET_LINK, &which)?;
    Ok(shown.map(|shown| read(&shown)).transpose()?)
}

/// Reads the payload of an `RTM_NEWLINK`.
fn read(payload: &[u8]) -> Result<Shown, Malformed> {
    let (_, attributes) = payload
        .split_at_checked(LINK_HEADER)
        .ok_or(Malformed("an interface without a header"))?;
    let name = find(attributes, NAME).and_then(|name| std::str::from_utf8(text(name)).ok());
    let name = name.ok_or(Malformed("an interface without a name"))?;
    let info = find(attributes, LINK_INFO).unwrap_or_default();
    let is_port = find(info, SLAVE_KIND).is_some_and(|kind| SWALLOW.contains(&text(kind)));
    let master = find(attributes, MASTER).and_then(|index| index.try_into().ok());
    let master = master.map(u32::from_ne_bytes).filter(|_| is_port);
    // `struct ifinfomsg`: family u8, type u16, index i32, flags u32.
    let word = |at: usize| {
        let bytes = payload.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    };
    let xdp = find(attributes, XDP).and_then(|xdp| find(xdp, XDP_ATTACHED)?.first());
    Ok(Shown {
        name: name.to_owned(),
        master,
        link: Link {
            index: word(4),
            name: name.to_owned(),
            mac: find(attributes, ADDRESS).and_then(|mac| mac.try_into().ok()),
            is_up: word(8) & UP != 0,
            master,
            has_native_xdp: xdp.is_some_and(|mode| BEFORE_THE_KERNEL.contains(mode)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_there_is_found_by_its_name() {
        let found = look_up("lo").expect("an answer").expect("there");
        assert_eq!((found.name.as_str(), found.master), ("lo", None));
        assert_eq!(found.index, 1);
        assert_eq!(look_up("no-such-dev").expect("an answer"), None);
    }

    #[test]
    fn a_port_whose_packets_its_master_receives_is_known() {
        let link = |slave_kind: &str| {
            let mut writer = Writer::default();
            writer.raw(&[0; LINK_HEADER]);
            writer.text(NAME, "eth0");
            writer.attr(MASTER, &7_u32.to_ne_bytes());
            writer.nested(LINK_INFO, |writer| writer.text(SLAVE_KIND, slave_kind));
            read(writer.bytes()).expect("readable")
        };
        assert_eq!(link("bridge").master, Some(7));
        assert_eq!(link("bond").master, Some(7));
        assert_eq!(link("vrf").master, None);
        assert_eq!(link("bond").name, "eth0");
    }
}
