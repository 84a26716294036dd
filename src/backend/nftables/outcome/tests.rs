//! What a batch's answers may be.

use super::*;
use crate::backend::ErrorKind;
use crate::netlink::message::{ERROR, Writer};

/// Begin, two messages, end.
const LABELS: [&str; 4] = ["begin", "first", "last", "end"];

/// Answers with these codes for these sequence numbers, the batch's being 7 to 10.
fn after(answers: &[(u32, i32)]) -> (bool, Result<(), Fault>) {
    let labels = LABELS.map(str::to_owned);
    let mut writer = Writer::default();
    for (seq, code) in answers {
        writer.message(ERROR, 0, *seq, |w| w.raw(&code.to_ne_bytes()));
    }
    let mut outcome = Outcome::new(7, &labels);
    outcome.take(writer.bytes()).expect("readable");
    (outcome.is_decided(), outcome.result())
}

fn kind(result: Result<(), Fault>) -> Result<(), ErrorKind> {
    result.map_err(|fault| fault.kind)
}

const ENOENT: i32 = -2;
const EEXIST: i32 = -17;
const ENFILE: i32 = -23;
const ERESTART: i32 = -85;

#[test]
fn only_the_last_real_messages_acknowledgement_is_success() {
    assert_eq!(after(&[(9, 0)]), (true, Ok(())));
    for other in [6, 7, 8, 10, 11] {
        let (decided, result) = after(&[(other, 0)]);
        assert!(!decided);
        assert_eq!(kind(result), Err(ErrorKind::Uncertain));
    }
}

#[test]
fn any_error_of_the_batch_is_failure_whatever_else_is_acknowledged() {
    for seq in 7..=10 {
        let (_, result) = after(&[(9, 0), (seq, ENOENT)]);
        assert_eq!(kind(result), Err(ErrorKind::NotFound), "{seq}");
        let (decided, result) = after(&[(seq, EEXIST), (9, 0)]);
        assert!(decided);
        let fault = result.expect_err("failed");
        assert!(
            fault.detail.starts_with(LABELS[seq as usize - 7]),
            "{fault:?}"
        );
    }
    // Those of another batch do not count.
    assert_eq!(after(&[(6, ENOENT), (11, ENOENT), (9, 0)]).1, Ok(()));
    assert_eq!(kind(after(&[(7, ERESTART)]).1), Err(ErrorKind::Busy));
    let full = after(&[(8, ENFILE)]).1.expect_err("failed");
    assert!(full.detail.contains("full"), "{full:?}");
}
