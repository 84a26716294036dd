//! What must hold of any bytes that come over the control socket, in either direction.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{MAX_REQUEST, Page, Semaphore, Shared, UnixStream, exchange};
use crate::control::board::StatusBoard;
use crate::control::protocol::{Answer, Request};
use crate::control::row::Row;
use crate::model::rule::RuleId;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
}

pub(crate) fn check(bytes: &[u8]) {
    check_request(bytes);
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let line = serde_json::to_vec(&answer).expect("it was read");
        assert!(!line.contains(&b'\n'));
        let again: Answer = serde_json::from_slice(&line).expect("as written");
        assert_eq!(again, answer);
    }
}

/// Every request is answered by one line, and only a line that asks for something is passed on.
fn check_request(bytes: &[u8]) {
    let (mut near, far) = std::os::unix::net::UnixStream::pair().expect("sockets");
    far.set_nonblocking(true).expect("a socket");
    near.write_all(bytes).expect("they fit into a buffer");
    near.shutdown(Shutdown::Write).expect("a socket");
    let asked = RefCell::new(Vec::new());
    let now = Instant::now();
    let board = StatusBoard::new(now, String::new());
    let shared = Shared {
        answer: async |request| {
            asked.borrow_mut().push(request);
            match request {
                Request::Status => Answer::Status(Box::new(board.status(now))),
                _ => Answer::Done(String::new()),
            }
        },
        page: async |after: Option<RuleId>| {
            if after.is_none() {
                asked.borrow_mut().push(Request::Dump);
            }
            let rows = vec![Row::default(); 2];
            let next = after.is_none().then(|| RuleId::from_bytes([0; 8]));
            Ok(Page { rows, next })
        },
        dumps: Semaphore::new(1),
        own_uid: rustix::process::geteuid().as_raw(),
    };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let far = UnixStream::from_std(far).expect("a socket");
            exchange(far, &shared).await.expect("it is answered");
        });
    });
    let mut answer = Vec::new();
    // The rest of a request that is too long stays unread, which is an error after the answer.
    let _ = near.read_to_end(&mut answer);
    let line = answer.strip_suffix(b"\n").expect("a line");
    assert!(!line.contains(&b'\n'));
    let answer: Answer = serde_json::from_slice(line).expect("an answer");
    let asked = asked.into_inner();
    match answer {
        Answer::Error(_) => assert!(asked.is_empty()),
        Answer::Status(_) => assert_eq!(asked, [Request::Status]),
        Answer::Done(_) => assert_eq!(asked.len(), 1),
        Answer::Metrics(_) | Answer::Diff(_) | Answer::Connections(_) | Answer::History(_) => {
            unreachable!("it is not given here")
        }
        Answer::Dump(rows) => assert_eq!((asked.as_slice(), rows.len()), (&[Request::Dump][..], 4)),
    }
    if let Some(request) = asked.first() {
        let most = bytes
            .len()
            .min(usize::try_from(MAX_REQUEST).expect("small"));
        let line = bytes[..most].split(|b| *b == b'\n').next().expect("a line");
        let line: Value = serde_json::from_slice(line).expect("it was understood");
        assert_eq!(line, json!(request));
    }
}
