//! Which rule of a legacy table dropped the packet: the kernel logs the way of a packet that is
//! marked for tracing through those tables, to the program that is bound to that log.
//!
//! Being bound changes a setting, of which [`super::log_setting`] takes care. Nothing else that the
//! kernel logs goes by it, except packets that connection tracking calls invalid.

use std::time::{Duration, Instant};

use super::error::ExplainError;
use super::log_setting::LogSetting;
use super::packet::Mark;
use crate::netlink::NetlinkError;
use crate::netlink::message::{ACK, IPV6, Messages, REQUEST, Writer, find, nfgenmsg, text};
use crate::netlink::request::{self, Channel as _};
use crate::netlink::socket::Socket;

/// `NFNL_SUBSYS_ULOG << 8` with `NFULNL_MSG_PACKET` and `NFULNL_MSG_CONFIG`
/// (linux/netfilter/nfnetlink_log.h).
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = 4 << 8 | 1;

/// `NFULA_CFG_CMD`, `NFULA_CFG_MODE`, `NFULA_CFG_QTHRESH`.
const COMMAND: u16 = 1;
const MODE: u16 = 2;
const THRESHOLD: u16 = 5;

/// `NFULNL_CFG_CMD_BIND` and `NFULNL_CFG_CMD_PF_BIND`.
const BIND: u8 = 1;
const BIND_FAMILY: u8 = 3;

/// `NFULA_PAYLOAD` and `NFULA_PREFIX`.
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;

/// `struct nfulnl_msg_config_mode`: how many bytes of a packet, and `NFULNL_COPY_PACKET`. The headers
/// of IPv6 and of the transport fit.
const COPY: [u8; 6] = [0, 0, 0, 128, 2, 0];

/// How the kernel begins the lines of a trace.
const TRACE: &str = "TRACE: ";

/// How long the kernel may take to answer, and how long nothing may come before the log is read.
const PATIENCE: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(100);

/// A rule of a legacy table, or a policy, as the kernel logs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) table: String,
    pub(crate) chain: String,
    /// `rule`, `return` or `policy`.
    pub(crate) kind: String,
    /// Its number in the chain, from 1.
    pub(crate) number: u32,
}

impl Logged {
    /// Whether it is the chain's policy, and no rule.
    pub(super) fn is_policy(&self) -> bool {
        self.kind == "policy"
    }
}

/// Hears the log, until it is closed.
#[derive(Debug)]
pub(super) struct Log {
    socket: Socket,
    setting: LogSetting,
}

impl Log {
    /// Is bound to the log from now on.
    ///
    /// # Errors
    /// The kernel has no such log (nfnetlink_log), or another program is bound to it.
    pub(super) fn open() -> Result<Self, ExplainError> {
        let mut log = Self {
            setting: LogSetting::hold()?,
            socket: Socket::netfilter()?,
        };
        let parts: [(u8, u16, &[u8]); 4] = [
            (IPV6, COMMAND, &[BIND_FAMILY]),
            (0, COMMAND, &[BIND]),
            (0, MODE, &COPY),
            (0, THRESHOLD, &[0, 0, 0, 1]),
        ];
        let write = |w: &mut Writer, seq: u32, (family, kind, value): &(u8, u16, &[u8])| {
            w.message(CONFIG, REQUEST | ACK, seq, |w| {
                w.raw(&nfgenmsg(*family));
                w.attr(*kind, value);
            });
        };
        let deadline = Instant::now() + PATIENCE;
        let mut done = 0;
        match request::send_each(&mut log.socket, deadline, &parts, write, &mut done)? {
            Some((_, errno)) => Err(NetlinkError::Refused(errno).into()),
            None => Ok(log),
        }
    }

    /// Puts the setting back.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn close(self) -> Result<(), ExplainError> {
        self.setting.put_back()
    }

    /// The last rule of a legacy table that the packet with this mark met.
    ///
    /// # Errors
    /// Lines were lost.
    pub(super) fn last(&mut self, mark: Mark) -> Result<Option<Logged>, NetlinkError> {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let datagram = match self
                .socket
                .receive((Instant::now() + SILENCE).min(deadline))
            {
                Ok(datagram) => datagram,
                Err(NetlinkError::TimedOut) => return Ok(last),
                Err(error) => return Err(error),
            };
            for message in Messages::new(datagram) {
                let message = message?;
                if message.kind == PACKET
                    && let Some(logged) = read(message.payload, mark)
                {
                    last = Some(logged);
                }
            }
        }
    }
}

/// Reads the payload of a message, if it is about the packet with this mark.
pub(super) fn read(payload: &[u8], mark: Mark) -> Option<Logged> {
    let attributes = payload.get(nfgenmsg(0).len()..)?;
    let packet = find(attributes, PAYLOAD)?;
    let word = |at: usize| {
        let bytes = packet.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    // Behind an IPv6 header without extensions, as ours is.
    let nonce = 40 + mark.nonce_offset() as usize;
    let is_ours = word(0)? & super::packet::LABEL_MASK == mark.label && word(nonce)? == mark.nonce;
    let line = String::from_utf8_lossy(text(find(attributes, PREFIX)?)).into_owned();
    logged(&line).filter(|_| is_ours)
}

/// Reads `TRACE: table:chain:kind:number ` (net/ipv6/netfilter/ip6_tables.c, `trace_packet`). A chain
/// may have colons in its name.
fn logged(line: &str) -> Option<Logged> {
    let (table, rest) = line.strip_prefix(TRACE)?.trim_end().split_once(':')?;
    let (rest, number) = rest.rsplit_once(':')?;
    let (chain, kind) = rest.rsplit_once(':')?;
    Some(Logged {
        table: table.to_owned(),
        chain: chain.to_owned(),
        kind: kind.to_owned(),
        number: number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_trace_names_table_chain_and_rule() {
        let read = logged("TRACE: filter:mine:rule:2 ").expect("a line");
        assert_eq!(
            (read.table.as_str(), read.chain.as_str()),
            ("filter", "mine")
        );
        assert_eq!((read.kind.as_str(), read.number), ("rule", 2));
        let odd = logged("TRACE: raw:a:b:policy:1").expect("a line");
        assert_eq!((odd.chain.as_str(), odd.kind.as_str()), ("a:b", "policy"));
        for line in [
            "",
            "TRACE: ",
            "TRACE: filter:x:rule:two",
            "DROP: filter:x:rule:1",
        ] {
            assert_eq!(logged(line), None, "{line}");
        }
    }
}
