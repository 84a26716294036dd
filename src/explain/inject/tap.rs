//! Injection by a tap, for processes without CAP_BPF: a frame that is written to the tap is
//! redirected to the ingress of an interface by a filter on it.
//!
//! The tap is not persistent, so it vanishes with its descriptor and its filter with it, after a
//! SIGKILL too. It takes some 60 ms, most of it for the kernel to remove the interface.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::netlink::NetlinkError;
use crate::netlink::interface;
use crate::netlink::message::{ACK, CREATE, EXCL, REQUEST, Writer};
use crate::netlink::request;
use crate::netlink::socket::Socket;

const TUN: &str = "/dev/net/tun";

/// `IFF_TAP` and `IFF_NO_PI` (linux/if_tun.h): Ethernet frames, without a header of their own.
const TAP: u16 = 0x0002;
const NO_HEADER: u16 = 0x1000;

/// `%d` becomes the first free number. At most 15 bytes (`IFNAMSIZ`).
const NAME: &[u8] = b"dn66explain%d";
const NAME_LENGTH: usize = 16;

/// `RTM_NEWLINK`, `RTM_NEWQDISC`, `RTM_NEWTFILTER` (linux/rtnetlink.h).
const NEW_LINK: u16 = 16;
const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;

/// `IFF_UP` (linux/if.h).
const UP: u32 = 1;

/// `TC_H_CLSACT`, its qdisc's own handle, and its ingress side (linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_INGRESS: u32 = 0xffff_fff2;

/// Priority 1 in the upper half, and `ETH_P_ALL` in network order in the lower
/// (`TC_H_MAKE(prio, protocol)`).
const ANY_PROTOCOL: u32 = 1 << 16 | 0x0003_u16.to_be() as u32;

/// `TCA_KIND`, `TCA_OPTIONS`; of u32 `TCA_U32_SEL`, `TCA_U32_ACT`; of an action `TCA_ACT_KIND`,
/// `TCA_ACT_OPTIONS`; of mirred `TCA_MIRRED_PARMS`.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const SELECTOR: u16 = 5;
const ACTIONS: u16 = 7;
const MIRRED_PARMS: u16 = 2;

/// `struct tc_u32_sel` with the flag `TC_U32_TERMINAL`, one key, and that key: a mask of 0 matches
/// everything (linux/pkt_cls.h).
const EVERYTHING: [u8; 32] = {
    let mut selector = [0; 32];
    selector[0] = 1;
    selector[2] = 1;
    selector
};

/// `TC_ACT_STOLEN` and `TCA_INGRESS_REDIR` (linux/tc_act/tc_mirred.h).
const STOLEN: u32 = 4;
const INGRESS_REDIRECT: u32 = 3;

/// The kernel answers at once, or under a lock that others hold for moments.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a tap does not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum TapError {
    /// The tap could not be made.
    #[error("making a tap with {TUN}")]
    Make(#[source] io::Error),
    /// Its filter could not be made.
    #[error("redirecting what comes from a tap")]
    Redirect(#[source] NetlinkError),
    /// The kernel has no such filter.
    #[error("redirecting what comes from a tap (it takes sch_ingress, cls_u32 and act_mirred)")]
    Refused(#[source] Errno),
    /// The frame could not be written.
    #[error("writing to a tap")]
    Write(#[source] io::Error),
}

/// Sends a frame into the ingress of the interface of this index. The frame is made by `frame` for the
/// tap's own hardware address: with another's, the kernel would drop it without a word. Hold the tap
/// open until the packet has passed.
///
/// # Errors
/// CAP_NET_ADMIN, the file or a feature of the kernel is missing.
pub(super) fn inject(index: u32, frame: impl Fn([u8; 6]) -> Vec<u8>) -> Result<File, TapError> {
    let (file, name) = make().map_err(TapError::Make)?;
    // No packet of the tap's own.
    let off = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    fs::write(off, "1").map_err(TapError::Make)?;
    let own = interface::link(&name).map_err(TapError::Redirect)?;
    let gone = || TapError::Redirect(NetlinkError::Refused(Errno::NODEV));
    let own = own.ok_or_else(gone)?;
    redirect(own.index, index)?;
    let frame = frame(own.mac.unwrap_or_default());
    rustix::io::write(&file, &frame).map_err(|e| TapError::Write(e.into()))?;
    Ok(file)
}

/// `struct ifreq`: the name, and a union of 24 bytes that begins with the flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_LENGTH],
    flags: u16,
    rest: [u8; 22],
}

// The union has 16 bytes where a word has 32 bits: the kernel then reads and writes no more.
const _: () = assert!(size_of::<InterfaceRequest>() == 40);
const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());

#[allow(unsafe_code)]
fn make() -> io::Result<(File, String)> {
    let file = File::options().read(true).write(true).open(TUN)?;
    let mut request = InterfaceRequest {
        name: [0; NAME_LENGTH],
        flags: TAP | NO_HEADER,
        rest: [0; 22],
    };
    request.name[..NAME.len()].copy_from_slice(NAME);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which is laid out as linux/if.h has it
    // and lives through the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    let name = request.name.split(|byte| *byte == 0).next();
    let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    Ok((file, name))
}

/// What is to be made of the tap, in this order.
#[derive(Debug, Clone, Copy)]
enum Part {
    Up,
    Qdisc,
    Filter,
}

fn redirect(tap: u32, to: u32) -> Result<(), TapError> {
    let mut socket = Socket::route().map_err(TapError::Redirect)?;
    let parts = [Part::Up, Part::Qdisc, Part::Filter];
    let mut done = 0;
    let write = |w: &mut Writer, seq: u32, part: &Part| write(w, seq, *part, tap, to);
    let deadline = Instant::now() + PATIENCE;
    let refused = request::send_each(&mut socket, deadline, &parts, write, &mut done);
    match refused.map_err(TapError::Redirect)? {
        Some((_, errno)) => Err(TapError::Refused(errno)),
        // One that the kernel took for done by somebody else was not done here.
        None if done < parts.len() => Err(TapError::Refused(Errno::NOENT)),
        None => Ok(()),
    }
}

fn write(writer: &mut Writer, seq: u32, part: Part, tap: u32, to: u32) {
    let flags = REQUEST | ACK;
    let with_parent = |w: &mut Writer, handle: u32, parent: u32, info: u32| {
        // `struct tcmsg`: family, index, handle, parent, info.
        for word in [0, tap, handle, parent, info] {
            w.raw(&word.to_ne_bytes());
        }
    };
    match part {
        Part::Up => writer.message(NEW_LINK, flags, seq, |w| {
            // `struct ifinfomsg`: family and type, index, flags, which of them to change.
            for word in [0, tap, UP, UP] {
                w.raw(&word.to_ne_bytes());
            }
        }),
        Part::Qdisc => writer.message(NEW_QDISC, flags | CREATE | EXCL, seq, |w| {
            with_parent(w, CLSACT_HANDLE, CLSACT, 0);
            w.text(KIND, "clsact");
        }),
        Part::Filter => writer.message(NEW_FILTER, flags | CREATE | EXCL, seq, |w| {
            with_parent(w, 0, CLSACT_INGRESS, ANY_PROTOCOL);
            w.text(KIND, "u32");
            w.nested(OPTIONS, |w| {
                w.attr(SELECTOR, &EVERYTHING);
                w.nested(ACTIONS, |w| {
                    w.nested(1, |w| {
                        w.text(KIND, "mirred");
                        w.nested(OPTIONS, |w| w.attr(MIRRED_PARMS, &mirred(to)));
                    });
                });
            });
        }),
    }
}

/// `struct tc_mirred`: index, capabilities, action, counts of references and binds, what to do,
/// the interface.
fn mirred(to: u32) -> Vec<u8> {
    let words = [0, 0, STOLEN, 0, 0, INGRESS_REDIRECT, to];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
