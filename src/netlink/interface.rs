//! Looks up one interface by its name: what it is called, and whose port it is.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::links::{LINK_HEADER, LINK_INFO, NEW_LINK};
use super::message::{ERROR, Malformed, Message, Messages, REQUEST, Writer, find};
use super::socket::{Socket, SocketError};

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

const ASK: &str = "looking up an interface";

/// An interface of the network namespace of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name, which need not be the one that was asked for: the kernel finds an interface by
    /// its other names (altnames), too.
    pub name: String,
    /// The bridge, bond or team whose port it is.
    pub master: Option<String>,
}

/// The interface of this name; `None` where there is none.
///
/// # Errors
/// The kernel does not answer, or not as it should.
pub fn look_up(name: &str) -> Result<Option<Found>, SocketError> {
    let mut socket = Socket::route()?;
    let Some(link) = ask(&mut socket, 0, Some(name))? else {
        return Ok(None);
    };
    let master = match link.master {
        None => None,
        // It may be gone by now.
        Some(index) => ask(&mut socket, index, None)?.map(|master| master.name),
    };
    let name = link.name;
    Ok(Some(Found { name, master }))
}

/// One answer of the kernel.
struct Link {
    name: String,
    /// The index of the interface whose port it is.
    master: Option<u32>,
}

/// Asks for the interface of this index, or where that is 0, of this name.
fn ask(socket: &mut Socket, index: u32, name: Option<&str>) -> Result<Option<Link>, SocketError> {
    let seq = socket.take_seq(1);
    let mut writer = Writer::default();
    writer.message(GET_LINK, REQUEST, seq, |writer| {
        let mut header = [0; LINK_HEADER];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        writer.raw(&header);
        if let Some(name) = name {
            writer.text(NAME, name);
        }
    });
    socket.send(writer.bytes())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let datagram = socket.receive(deadline)?;
        for message in Messages::new(datagram) {
            let message = message?;
            if message.seq == seq {
                return read(&message);
            }
        }
    }
}

fn read(message: &Message<'_>) -> Result<Option<Link>, SocketError> {
    if message.kind == ERROR {
        return match message.code()? {
            Some(Errno::NODEV) | None => Ok(None),
            Some(errno) => Err(SocketError::Failed {
                operation: ASK,
                errno,
            }),
        };
    }
    let attributes = message.payload.get(LINK_HEADER..).unwrap_or_default();
    let name = find(attributes, NAME).map(|name| name.strip_suffix(&[0]).unwrap_or(name));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let (NEW_LINK, Some(name)) = (message.kind, name) else {
        return Err(Malformed("no interface where one was asked for").into());
    };
    let info = find(attributes, LINK_INFO).unwrap_or_default();
    let kind = find(info, SLAVE_KIND).map(|kind| kind.strip_suffix(&[0]).unwrap_or(kind));
    let is_port = kind.is_some_and(|kind| SWALLOW.contains(&kind));
    let master = find(attributes, MASTER).and_then(|index| index.try_into().ok());
    Ok(Some(Link {
        name: name.to_owned(),
        master: master.map(u32::from_ne_bytes).filter(|_| is_port),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_there_is_found_by_its_name() {
        let found = look_up("lo").expect("an answer");
        let loopback = Found {
            name: "lo".into(),
            master: None,
        };
        assert_eq!(found, Some(loopback));
        assert_eq!(look_up("no-such-dev").expect("an answer"), None);
    }

    #[test]
    fn a_port_whose_packets_its_master_receives_is_known() {
        let link = |slave_kind: &str| {
            let mut writer = Writer::default();
            writer.message(NEW_LINK, 0, 1, |writer| {
                writer.raw(&[0; LINK_HEADER]);
                writer.text(NAME, "eth0");
                writer.attr(MASTER, &7_u32.to_ne_bytes());
                writer.nested(LINK_INFO, |writer| writer.text(SLAVE_KIND, slave_kind));
            });
            let mut messages = Messages::new(writer.bytes()).map(|m| m.expect("well-formed"));
            let link = messages.next().map(|message| read(&message));
            link.expect("one message").expect("readable").expect("one")
        };
        assert_eq!(link("bridge").master, Some(7));
        assert_eq!(link("bond").master, Some(7));
        assert_eq!(link("vrf").master, None);
        assert_eq!(link("bond").name, "eth0");
    }
}
