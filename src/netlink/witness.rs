//! Tells whether anybody else has changed the rules meanwhile.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use rustix::net::{RecvFlags, recv};

use super::socket::{BUFFER, make_room_to_receive, subscribe};
use super::watch::{Changes, OwnPorts, Watched};

/// Room for announcements that wait, in bytes: those of a thousand rules of ip6tables. Where they do not
/// fit it is not known who made them.
const ROOM: usize = 1 << 20;

/// Hears every change of our, Docker's or Podman's tables of nf_tables from its opening on, in the
/// network namespace of the thread that opened it.
///
/// The kernel queues the announcements of a change before the program that makes it has an answer
/// (`nf_tables_commit`, net/netfilter/nf_tables_api.c). So a question to the witness covers all that was
/// done before it was asked.
#[derive(Debug)]
pub(crate) struct Witness(OwnedFd);

impl Witness {
    /// # Errors
    /// The kernel gives no such socket.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = subscribe(Some(NETFILTER), Watched::Rules.groups())?;
        make_room_to_receive(&socket, ROOM)?;
        Ok(Self(socket))
    }

    /// Who has changed the tables since the last call; these ports are ours.
    pub(crate) fn changes(&self, own: &OwnPorts) -> Changes {
        let mut chunk = vec![0_u8; BUFFER];
        let mut changes = Changes::None;
        loop {
            let more = match recv(&self.0, &mut chunk[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => Watched::Rules.changes(&chunk[..length], own),
                Err(Errno::AGAIN) => return changes,
                Err(Errno::INTR) => Changes::None,
                // More came than there is room for; what is left is read all the same.
                Err(Errno::NOBUFS) => Changes::Foreign,
                Err(_) => return Changes::Foreign,
            };
            changes = changes.max(more);
        }
    }
}
