//! Failures that this kernel cannot be made to have, with a fake kernel in the socket's place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::io::Errno;

use super::testing::tcp;
use super::*;
use crate::backend::ErrorKind;
use crate::netlink::NetlinkError;
use crate::netlink::message::{
    ACK, DONE, DUMP_INTERRUPTED, ERROR, Messages, NFGENMSG_IPV6, OVERRUN, Writer,
};
use crate::netlink::nf_tables::{BATCH_BEGIN, BATCH_END, GEN_ID, SUBSYSTEM, message, table};
use crate::netlink::request::Channel;

/// What goes wrong with a batch.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    /// All its messages from this kind on are refused.
    Refused(u16, Errno),
    /// The begin of the batch is refused, and nothing is done or said of the rest.
    AtOnce(Errno),
    /// The end fails, though the last message is acknowledged.
    AtCommit(Errno),
    /// Nothing is answered.
    Silence,
    /// Answers were lost.
    Lost,
    /// The socket does not take it.
    Unsent(Errno),
}

#[derive(Debug, Default)]
struct Script {
    /// For batches to come, one each.
    mishaps: VecDeque<Option<Mishap>>,
    /// For requests, as long as it stands.
    asked: Option<Errno>,
    generation: u32,
    /// Other tables change with each request.
    restless: bool,
    /// So does ours.
    unsteady: bool,
    /// Dumps of a table that is there are said to be interrupted.
    interrupted: bool,
    table: bool,
    batches: usize,
}

/// A kernel without memory for elements: tables come and go.
#[derive(Debug, Clone, Default)]
struct FakeKernel {
    script: Arc<Mutex<Script>>,
    answers: VecDeque<Vec<u8>>,
    failing: Option<NetlinkError>,
    seq: u32,
    current: Vec<u8>,
}

impl FakeKernel {
    fn answer(&mut self, fill: impl FnOnce(&mut Writer)) {
        let mut writer = Writer::default();
        fill(&mut writer);
        self.answers.push_back(writer.into_bytes());
    }

    fn code(&mut self, seq: u32, errno: Option<Errno>) {
        let code = errno.map_or(0, |errno| -errno.raw_os_error());
        self.answer(|w| w.message(ERROR, 0, seq, |w| w.raw(&code.to_ne_bytes())));
    }

    fn batch(&mut self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let script = Arc::clone(&self.script);
        let mut script = script.lock().unwrap();
        script.batches += 1;
        let mishap = script.mishaps.pop_front().flatten();
        let messages: Vec<_> = Messages::new(bytes).flatten().collect();
        let begin = messages[0].seq;
        match mishap {
            Some(Mishap::Silence) => return Ok(()),
            Some(Mishap::Lost) => {
                self.answer(|w| w.message(OVERRUN, 0, begin, |_| {}));
                return Ok(());
            }
            Some(Mishap::Unsent(errno)) => {
                return Err(NetlinkError::failed("sending", errno));
            }
            Some(Mishap::AtOnce(errno)) => {
                self.code(begin, Some(errno));
                return Ok(());
            }
            Some(Mishap::AtCommit(errno)) => self.code(begin, Some(errno)),
            _ => {}
        }
        let mut failed = matches!(mishap, Some(Mishap::AtCommit(_)));
        let mut dropped = 0;
        for sent in &messages {
            let mut errno = None;
            if let Some(Mishap::Refused(kind, refusal)) = mishap
                && sent.kind == kind
            {
                errno = Some(refusal);
            }
            if sent.kind == message::DEL_TABLE {
                dropped += 1;
                // A probe's second removal.
                if dropped > 1 {
                    errno = errno.or(Some(Errno::NOENT));
                }
            }
            failed |= errno.is_some();
            if errno.is_some() || sent.flags & ACK != 0 {
                self.code(sent.seq, errno);
            }
        }
        if !failed {
            script.generation += 1;
            script.table = dropped == 0;
        }
        Ok(())
    }

    fn request(&mut self, kind: u16, seq: u32) {
        let (asked, table_there, objects, interrupted, generation) = {
            let mut script = self.script.lock().unwrap();
            if script.restless {
                script.generation += 1;
            }
            (
                script.asked,
                script.table,
                if script.unsteady {
                    script.generation
                } else {
                    0
                },
                script.interrupted,
                script.generation,
            )
        };
        if let Some(errno) = asked {
            return self.code(seq, Some(errno));
        }
        match kind {
            message::GET_GENERATION => self.answer(|w| {
                w.message(SUBSYSTEM << 8 | 15, 0, seq, |w| {
                    w.raw(&NFGENMSG_IPV6);
                    w.number(GEN_ID, generation);
                });
            }),
            message::GET_TABLE if table_there => self.answer(|w| {
                w.message(message::NEW_TABLE, 0, seq, |w| {
                    w.raw(&NFGENMSG_IPV6);
                    w.number(table::FLAGS, table::OWNED);
                    w.number(table::OWNER, 7);
                    w.number(table::USE, objects);
                });
            }),
            message::GET_TABLE | message::GET_CHAIN => self.code(seq, Some(Errno::NOENT)),
            _ => {
                let flags = if interrupted { DUMP_INTERRUPTED } else { 0 };
                self.answer(|w| w.message(DONE, flags, seq, |w| w.raw(&[0; 4])));
            }
        }
    }
}

impl Channel for FakeKernel {
    fn port(&self) -> u32 {
        7
    }

    fn take_seq(&mut self, count: usize) -> u32 {
        let first = self.seq;
        self.seq = first.wrapping_add(count as u32);
        first
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let first = Messages::new(bytes).next().unwrap().unwrap();
        assert_ne!(first.kind, BATCH_END);
        if first.kind == BATCH_BEGIN {
            return self.batch(bytes);
        }
        self.request(first.kind, first.seq);
        Ok(())
    }

    fn receive(&mut self, _: Instant) -> Result<&[u8], NetlinkError> {
        if let Some(error) = self.failing.take() {
            return Err(error);
        }
        self.current = self.answers.pop_front().ok_or(NetlinkError::TimedOut)?;
        Ok(&self.current)
    }

    fn pending(&mut self) -> Result<Option<&[u8]>, NetlinkError> {
        match self.answers.pop_front() {
            None => Ok(None),
            Some(answer) => {
                self.current = answer;
                Ok(Some(&self.current))
            }
        }
    }
}

fn on(link: &FakeKernel) -> Opener {
    let link = link.clone();
    Box::new(move || Ok(Box::new(link.clone())))
}

fn in_use(link: &FakeKernel) -> Nftables {
    Nftables::new(TableSettings::default(), Role::InUse, on(link))
}

fn insertion() -> Batch {
    Batch {
        insert: vec![tcp(1)],
        ..Batch::default()
    }
}

#[test]
fn every_failure_has_its_kind_and_is_never_a_success() {
    let refused = |errno| Mishap::Refused(message::NEW_ELEMENTS, errno);
    for (mishap, kind, words) in [
        (refused(Errno::PERM), ErrorKind::Denied, "owns the table"),
        (
            refused(Errno::EXIST),
            ErrorKind::Exists,
            "insertion of 1 into forwards",
        ),
        (refused(Errno::NOTEMPTY), ErrorKind::Exists, ""),
        (refused(Errno::NFILE), ErrorKind::Failed, "the set is full"),
        (refused(Errno::BUSY), ErrorKind::Busy, ""),
        (refused(Errno::NOMEM), ErrorKind::Failed, ""),
        (Mishap::AtOnce(Errno::PERM), ErrorKind::Denied, "begin"),
        (Mishap::AtCommit(Errno::NOMEM), ErrorKind::Failed, "begin"),
        (Mishap::AtOnce(Errno::RESTART), ErrorKind::Busy, "begin"),
        (Mishap::Silence, ErrorKind::TimedOut, "in time"),
        (Mishap::Lost, ErrorKind::Uncertain, "lost"),
        (
            Mishap::Unsent(Errno::MSGSIZE),
            ErrorKind::Failed,
            "SO_SNDBUFFORCE",
        ),
        (Mishap::Unsent(Errno::NOBUFS), ErrorKind::Uncertain, "lost"),
    ] {
        let link = FakeKernel::default();
        let mut backend = in_use(&link);
        assert_eq!(backend.list(), Ok(Vec::new()));
        link.script.lock().unwrap().mishaps.push_back(Some(mishap));
        let error = backend.commit(&insertion()).expect_err("failed");
        assert_eq!(error.kind, kind, "{mishap:?}: {error}");
        assert!(error.to_string().contains(words), "{mishap:?}: {error}");
        // What is remembered is forgotten, and the socket, which owns the table, is not.
        assert!(backend.known.is_none());
        assert!(backend.session.channel.is_some());
        assert_eq!(backend.list(), Ok(Vec::new()), "{mishap:?}");
        assert_eq!(backend.commit(&insertion()), Ok(()), "{mishap:?}");
    }
}

#[test]
fn a_listing_is_uncertain_only_where_the_table_itself_never_settles() {
    let link = FakeKernel::default();
    let listed = |restless, interrupted, unsteady| {
        *link.script.lock().unwrap() = Script {
            table: true,
            restless,
            interrupted,
            unsteady,
            ..Script::default()
        };
        in_use(&link).list().map_err(|error| error.kind)
    };
    for (restless, interrupted) in [(true, false), (false, true), (true, true)] {
        let all = listed(restless, interrupted, false).expect("certain");
        assert_eq!(all.len(), 1);
    }
    assert_eq!(listed(true, false, true), Err(ErrorKind::Uncertain));
}

#[test]
fn a_listing_that_fails_says_why() {
    let link = FakeKernel::default();
    link.script.lock().unwrap().table = true;
    let kind = |link: &FakeKernel| in_use(link).list().expect_err("no answer").kind;
    for (errno, expected) in [
        // No nf_tables.
        (Errno::INVAL, ErrorKind::Unsupported),
        (Errno::PERM, ErrorKind::Denied),
        (Errno::NOMEM, ErrorKind::Failed),
    ] {
        link.script.lock().unwrap().asked = Some(errno);
        assert_eq!(kind(&link), expected, "{errno}");
    }
    let no_socket = || NetlinkError::Failed {
        operation: "opening a netlink socket",
        errno: Errno::PROTONOSUPPORT,
    };
    let open: Opener = Box::new(move || Err(no_socket()));
    let error = Nftables::probed(TableSettings::default(), open).expect_err("none");
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
}

#[test]
fn the_probe_names_what_the_kernel_refuses_and_does_without_ownership() {
    let probed = |mishaps: &[Option<Mishap>]| {
        let link = FakeKernel::default();
        link.script.lock().unwrap().mishaps = mishaps.iter().copied().collect();
        Nftables::probed(TableSettings::default(), on(&link))
    };
    assert!(probed(&[]).expect("usable").is_owning());
    let no_flags = Some(Mishap::Refused(message::NEW_TABLE, Errno::OPNOTSUPP));
    assert!(!probed(&[no_flags]).expect("usable").is_owning());
    for (mishap, words) in [
        (
            Mishap::Refused(message::NEW_RULE, Errno::NOENT),
            "rule 1 of chain prerouting",
        ),
        (
            Mishap::Refused(message::NEW_CHAIN, Errno::NOENT),
            "nft_chain_nat",
        ),
        (
            Mishap::Refused(message::NEW_SET, Errno::OPNOTSUPP),
            "set egress",
        ),
    ] {
        let error = probed(&[Some(mishap), Some(mishap)]).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.detail.contains(words), "{error}");
    }
    let denied = probed(&[Some(Mishap::AtOnce(Errno::PERM)); 2]).expect_err("refused");
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert!(denied.detail.contains("CAP_NET_ADMIN"), "{denied}");
}

#[test]
fn nothing_is_asked_twice_of_a_kernel_that_has_not_changed() {
    let link = FakeKernel::default();
    let mut backend = in_use(&link);
    assert_eq!(backend.commit(&insertion()), Ok(()));
    // The fake has no elements to show: they are remembered.
    assert_eq!(backend.list().expect("certain").len(), 1);
    link.script.lock().unwrap().table = false;
    assert_eq!(backend.list().expect("certain").len(), 1);
    link.script.lock().unwrap().generation += 1;
    assert_eq!(backend.list(), Ok(Vec::new()));
    assert_eq!(link.script.lock().unwrap().batches, 1);
}
