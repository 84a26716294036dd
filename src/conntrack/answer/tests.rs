//! What an answer of ctnetlink may be.

use proptest::prelude::*;

use super::super::judge;
use super::*;
use crate::netlink::message::Writer;

fn message(writer: &mut Writer, kind: u16, flags: u16, seq: u32, payload: &[u8]) {
    writer.message(kind, flags, seq, |writer| writer.raw(payload));
}

fn error(writer: &mut Writer, seq: u32, code: i32) {
    // The request's own header follows.
    let payload = [&code.to_ne_bytes()[..], &[0; 16]].concat();
    message(writer, ERROR, 0, seq, &payload);
}

fn dump(datagram: &Writer) -> (Result<Progress, FlowError>, bool) {
    let mut dump = Dump::new(7);
    let progress = dump.take(datagram.bytes(), &mut |_| {});
    (progress, dump.interrupted)
}

#[test]
fn a_dump_goes_on_until_its_own_end() {
    let mut foreign = Writer::default();
    message(&mut foreign, DONE, DUMP_INTERRUPTED, 6, &[0; 4]);
    error(&mut foreign, 8, -1);
    message(&mut foreign, OVERRUN, 0, 9, &[]);
    message(&mut foreign, 1, 0, 7, &[]);
    assert_eq!(dump(&foreign), (Ok(Progress::More), false));
    message(&mut foreign, DONE, 0, 7, &164_i32.to_ne_bytes());
    assert_eq!(dump(&foreign), (Ok(Progress::Done), false));
    let mut bare = Writer::default();
    message(&mut bare, DONE, 0, 7, &[]);
    assert_eq!(dump(&bare), (Ok(Progress::Done), false));
}

#[test]
fn an_interrupted_dump_is_known_by_any_of_its_messages() {
    for interrupted in 0..3 {
        let mut datagram = Writer::default();
        for n in 0..3 {
            let flags = if n == interrupted {
                DUMP_INTERRUPTED
            } else {
                2
            };
            // An IPv4 entry, which nobody reads on.
            let (kind, payload) = if n == 2 {
                (DONE, [0; 4])
            } else {
                (CT_NEW, [2, 0, 0, 0])
            };
            message(&mut datagram, kind, flags, 7, &payload);
        }
        assert_eq!(dump(&datagram), (Ok(Progress::Done), true));
    }
}

#[test]
fn a_dumps_failure_is_what_the_kernel_calls_it() {
    use rustix::io::Errno as E;
    let failed = FlowError::Failed {
        operation: DUMP,
        errno: E::NOMEM,
    };
    for (errno, expected) in [
        (E::PERM, FlowError::Denied(E::PERM)),
        (E::INVAL, FlowError::Unsupported(E::INVAL)),
        (E::OPNOTSUPP, FlowError::Unsupported(E::OPNOTSUPP)),
        (E::NOBUFS, FlowError::Overrun),
        (E::NOMEM, failed),
    ] {
        for kind in [ERROR, DONE] {
            let mut datagram = Writer::default();
            let code = (-errno.raw_os_error()).to_ne_bytes();
            message(&mut datagram, kind, 0, 7, &code);
            assert_eq!(dump(&datagram).0, Err(expected.clone()));
        }
    }
    let mut datagram = Writer::default();
    message(&mut datagram, OVERRUN, 0, 7, &[]);
    assert_eq!(dump(&datagram).0, Err(FlowError::Overrun));
}

#[test]
fn every_deletion_is_waited_for_and_counted_once() {
    // The sequence numbers wrap around.
    let mut answers = Acks::new(u32::MAX, 4);
    let mut datagram = Writer::default();
    error(&mut datagram, u32::MAX, 0);
    error(&mut datagram, u32::MAX, 0);
    error(&mut datagram, 3, 0);
    error(&mut datagram, 1, -Errno::NOENT.raw_os_error());
    assert_eq!(answers.take(datagram.bytes()), Ok(Progress::More));
    let mut datagram = Writer::default();
    error(&mut datagram, 2, -Errno::BUSY.raw_os_error());
    assert_eq!(answers.take(datagram.bytes()), Ok(Progress::More));
    let mut datagram = Writer::default();
    error(&mut datagram, 0, 0);
    assert_eq!(answers.take(datagram.bytes()), Ok(Progress::Done));
    assert_eq!(answers.done, 2);
    assert_eq!(answers.refused, Some((1, Errno::BUSY)));
}

#[test]
fn missing_privilege_is_told_once_for_all_deletions() {
    let mut answers = Acks::new(1, 3);
    let mut datagram = Writer::default();
    error(&mut datagram, 1, -Errno::PERM.raw_os_error());
    let told = answers.take(datagram.bytes());
    assert_eq!(told, Err(FlowError::Denied(Errno::PERM)));
}

proptest! {
    #[test]
    fn no_answer_breaks_what_must_hold(
        messages in prop::collection::vec(
            (0_u16..6, any::<u16>(), 0_u32..4, prop::collection::vec(any::<u8>(), 0..40)),
            0..6,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut writer = Writer::default();
        for (kind, flags, seq, payload) in &messages {
            let kind = if *kind == 5 { CT_NEW } else { *kind };
            message(&mut writer, kind, *flags, *seq, payload);
        }
        let bytes = &writer.bytes()[..cut.index(writer.bytes().len() + 1)];
        judge(bytes);
    }
}
