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
pub fn look_up(name: &str) -> Result<Option<Found>, NetlinkError> {
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
        index: link.index,
        is_up: link.is_up,
    }))
}

/// An interface as the kernel shows it.
struct Shown {
    name: String,
    /// The index of the interface whose port it is.
    master: Option<u32>,
    index: u32,
    is_up: bool,
}

/// `IFF_UP` (linux/if.h).
const UP: u32 = 1;

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
    let (header, attributes) = payload
        .split_at_checked(LINK_HEADER)
        .ok_or(Malformed("an interface without a header"))?;
    let number = |at: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|n| header[at + n]);
        u32::from_ne_bytes([a, b, c, d])
    };
    let name = find(attributes, NAME).and_then(|name| std::str::from_utf8(text(name)).ok());
    let name = name.ok_or(Malformed("an interface without a name"))?;
    let info = find(attributes, LINK_INFO).unwrap_or_default();
    let is_port = find(info, SLAVE_KIND).is_some_and(|kind| SWALLOW.contains(&text(kind)));
    let master = find(attributes, MASTER).and_then(|index| index.try_into().ok());
    Ok(Shown {
        name: name.to_owned(),
        master: master.map(u32::from_ne_bytes).filter(|_| is_port),
        index: number(4),
        is_up: number(8) & UP != 0,
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
