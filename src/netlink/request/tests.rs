//! What the kernel may answer to a request.

use proptest::prelude::*;

use super::super::kernel_script::KernelScript;
use super::super::message::{CREATE, NFGENMSG_IPV6, Writer};
use super::super::oracle;
use super::*;

/// `IPCTNL_MSG_CT_NEW`, and any other.
const KIND: u16 = 0x0100;

fn code(result: Result<(), Errno>) -> [u8; 4] {
    result
        .map_or_else(|errno| -errno.raw_os_error(), |()| 0)
        .to_ne_bytes()
}

/// A dump that is answered so: how it ended, and how many objects it had.
fn dumped(answers: &[(u16, u16, &[u8])]) -> (Result<Ended, NetlinkError>, usize) {
    let mut kernel = KernelScript::default();
    for (kind, flags, payload) in answers {
        kernel.answer(*kind, *flags, |writer| writer.raw(payload));
    }
    let mut objects = 0;
    let deadline = KernelScript::deadline();
    let ended = dump(&mut kernel, deadline, KIND, &|_| {}, &mut |_| {
        objects += 1;
        Ok(())
    });
    (ended, objects)
}

#[test]
fn a_dump_goes_on_until_its_end() {
    let object = (KIND, 2, &[0; 4][..]);
    // NLMSG_NOOP.
    let noop = (1, 2, &[][..]);
    assert_eq!(dumped(&[object, noop]), (Err(NetlinkError::TimedOut), 1));
    let done = (DONE, 2, &164_i32.to_ne_bytes()[..]);
    assert_eq!(
        dumped(&[object, object, done, object]),
        (Ok(Ended::Whole), 2)
    );
    assert_eq!(dumped(&[(DONE, 2, &[])]), (Ok(Ended::Whole), 0));
}

#[test]
fn an_interrupted_dump_is_known_by_any_of_its_messages() {
    for interrupted in 0..3 {
        let flags = |n| {
            if n == interrupted {
                DUMP_INTERRUPTED
            } else {
                2
            }
        };
        let answers = [KIND, KIND, DONE].into_iter().zip(0..);
        let answers: Vec<_> = answers
            .map(|(kind, n)| (kind, flags(n), &[0; 4][..]))
            .collect();
        assert_eq!(dumped(&answers), (Ok(Ended::Interrupted), 2));
    }
}

#[test]
fn a_dump_that_fails_says_why() {
    for kind in [ERROR, DONE] {
        let refusal = code(Err(Errno::NOMEM));
        let expected = Err(NetlinkError::Refused(Errno::NOMEM));
        assert_eq!(dumped(&[(kind, 0, &refusal)]).0, expected);
    }
    assert_eq!(dumped(&[(OVERRUN, 0, &[])]).0, Err(NetlinkError::Overrun));
}

#[test]
fn what_answers_another_request_is_passed_over() {
    let mut datagram = Writer::default();
    for seq in [6, 8] {
        datagram.message(DONE, DUMP_INTERRUPTED, seq, |writer| writer.raw(&[0; 4]));
        datagram.message(OVERRUN, 0, seq, |_| {});
    }
    datagram.message(KIND, 0, 7, |writer| writer.raw(&[1]));
    let read: Result<Vec<_>, _> = answers(datagram.bytes(), 7, 1).collect();
    let object = Answered {
        place: 0,
        interrupted: false,
        answer: Answer::Object(&[1]),
    };
    assert_eq!(read, Ok(vec![object]));
}

#[test]
fn an_object_that_is_not_there_is_no_failure() {
    let got = |kind, payload: &[u8]| {
        let mut kernel = KernelScript::default();
        kernel.answer(kind, 0, |writer| writer.raw(payload));
        get(&mut kernel, KernelScript::deadline(), KIND, &|_| {})
    };
    assert_eq!(got(KIND, &[1, 2]), Ok(Some(vec![1, 2])));
    for errno in [Errno::NOENT, Errno::NODEV] {
        assert_eq!(got(ERROR, &code(Err(errno))), Ok(None));
    }
    let refused = got(ERROR, &code(Err(Errno::PERM)));
    assert_eq!(refused, Err(NetlinkError::Refused(Errno::PERM)));
}

fn acks(first: u32, count: usize, answers: &[(u32, Result<(), Errno>)]) -> Acks {
    let mut acks = Acks::new(first, count);
    for (seq, result) in answers {
        assert!(!acks.are_all_here());
        let mut datagram = Writer::default();
        // The request's own header follows.
        let payload = [&code(*result)[..], &[0; 16]].concat();
        datagram.message(ERROR, 0, *seq, |writer| writer.raw(&payload));
        acks.take(datagram.bytes()).expect("readable");
    }
    acks
}

#[test]
fn every_request_is_waited_for_and_counted_once() {
    // The sequence numbers wrap around.
    let answers = [
        (u32::MAX, Ok(())),
        (u32::MAX, Ok(())),
        (3, Ok(())),
        (1, Err(Errno::NOENT)),
        (2, Err(Errno::BUSY)),
        (0, Ok(())),
    ];
    let acks = acks(u32::MAX, 4, &answers);
    assert!(acks.are_all_here());
    assert_eq!(acks.done, 2);
    assert_eq!(acks.refused, Some((1, Errno::BUSY)));
}

#[test]
fn missing_privilege_ends_the_wait_for_all_requests() {
    let mut acks = Acks::new(1, 3);
    let mut datagram = Writer::default();
    datagram.message(ERROR, 0, 1, |writer| writer.raw(&code(Err(Errno::PERM))));
    let taken = acks.take(datagram.bytes());
    assert_eq!(taken, Err(NetlinkError::Refused(Errno::PERM)));
}

#[test]
fn requests_for_many_items_are_sent_in_several_datagrams() {
    let items: Vec<u8> = (0..40).collect();
    let mut kernel = KernelScript::default();
    let write = |writer: &mut Writer, seq, item: &u8| {
        writer.message(KIND, REQUEST | CREATE, seq, |writer| {
            writer.raw(&NFGENMSG_IPV6);
            writer.raw(&[*item; 4]);
        });
    };
    // The script answers for the first of each datagram only.
    kernel.answer(ERROR, 0, |writer| writer.raw(&code(Ok(()))));
    let mut done = 0;
    let deadline = KernelScript::deadline();
    let result = send_each(&mut kernel, deadline, &items, write, &mut done);
    assert_eq!(result, Err(NetlinkError::TimedOut));
    assert_eq!(Messages::new(&kernel.sent).count(), AT_ONCE);
    kernel.answer(ERROR, 0, |writer| writer.raw(&code(Ok(()))));
    let result = send_each(&mut kernel, deadline, &items[..1], write, &mut done);
    assert_eq!((result, done), (Ok(None), 1));
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
            let kind = if *kind == 5 { KIND } else { *kind };
            writer.message(kind, *flags, *seq, |writer| writer.raw(payload));
        }
        oracle::check(&writer.bytes()[..cut.index(writer.bytes().len() + 1)]);
    }
}
