//! Docker's own IPv6 NAT, as the kernel shows it: read, never changed.
//!
//! Two forms, both of nf_tables and read over netlink, whatever backend holds our rules: the
//! table `ip6 docker-bridges`, and the chain `DOCKER` that Docker keeps by way of ip6tables (nft
//! variant) in `ip6 nat`. The legacy variant's tables are read by the backend that knows the
//! tool. Nothing else in those tables is looked at, and nothing is remembered but the socket.

mod decode;

use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::decode::{Answer, RULE, TABLE, request};
use super::{BackendError, ErrorKind};
use crate::model::native::Native;
use crate::netlink::SocketError;
use crate::netlink::socket::Socket;

/// The table of an Engine that uses nftables (moby, `daemon/libnetwork/drivers/bridge`).
const BRIDGES: &str = "docker-bridges";

/// The table and the base chain in which an Engine that uses ip6tables puts its jump.
const NAT: &str = "nat";
const PREROUTING: &str = "PREROUTING";

/// The chain that it jumps to.
pub(super) const DOCKER: &str = "DOCKER";

/// How long the kernel may take. It answers in microseconds, unless a commit holds its mutex.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often an answer that changed while it was given is asked for again.
const TRIES: usize = 10;

/// Reads it.
#[derive(Debug, Default)]
pub struct NativeReader {
    socket: Option<Socket>,
}

impl NativeReader {
    /// What is there now. A kernel without nf_tables has nothing of it.
    ///
    /// # Errors
    /// The kernel did not answer, or changed too often while it did; nothing may be concluded.
    pub fn look(&mut self) -> Result<Native, BackendError> {
        let deadline = Instant::now() + PATIENCE;
        match self.read(deadline) {
            Err(Failure::NoSuchThing) => Ok(Native::default()),
            Err(Failure::Other(error)) => {
                self.socket = None;
                Err(error)
            }
            Ok(native) => Ok(native),
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<Native, Failure> {
        let mut native = Native::default();
        let table = self.ask(deadline, TABLE, BRIDGES, None, |_| {});
        native.table = match table {
            Ok(()) => true,
            Err(Failure::NoSuchThing) => false,
            Err(other) => return Err(other),
        };
        if native.table {
            self.rules(deadline, BRIDGES, None, &mut native)?;
        }
        self.rules(deadline, NAT, Some(PREROUTING), &mut native)?;
        if native.jump {
            self.rules(deadline, NAT, Some(DOCKER), &mut native)?;
        }
        Ok(native)
    }

    fn rules(
        &mut self,
        deadline: Instant,
        table: &str,
        chain: Option<&str>,
        native: &mut Native,
    ) -> Result<(), Failure> {
        let is_prerouting = chain == Some(PREROUTING);
        match self.ask(deadline, RULE, table, chain, |rule| {
            if is_prerouting {
                native.jump |= rule.jumps_to(DOCKER);
            } else {
                native.targets.extend(rule.target());
            }
        }) {
            Err(Failure::NoSuchThing) => Ok(()),
            other => other,
        }
    }

    /// One request, with its whole answer.
    fn ask(
        &mut self,
        deadline: Instant,
        what: u8,
        table: &str,
        chain: Option<&str>,
        mut each: impl FnMut(decode::Rule<'_>),
    ) -> Result<(), Failure> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open().map_err(Failure::from)?),
        };
        for _ in 0..TRIES {
            let seq = socket.take_seq(1);
            socket.send(request(seq, what, table, chain).bytes())?;
            let mut answer = Answer::new(seq);
            while !answer.take(socket.receive(deadline)?, &mut each)? {}
            // What was found in an answer that changed meanwhile was there at some moment.
            if !answer.interrupted {
                return Ok(());
            }
        }
        Err(failure(ErrorKind::Busy, "it keeps changing".to_owned()))
    }
}

enum Failure {
    /// The kernel does not know such a table or chain, or has no nf_tables at all.
    NoSuchThing,
    Other(BackendError),
}

fn failure(kind: ErrorKind, detail: String) -> Failure {
    Failure::Other(BackendError {
        operation: "reading Docker's own IPv6 NAT".to_owned(),
        kind,
        detail,
    })
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Failed {
                errno: Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT,
                ..
            } => Self::NoSuchThing,
            SocketError::TimedOut => failure(ErrorKind::TimedOut, error.to_string()),
            error => failure(ErrorKind::Failed, crate::text::chain(&error)),
        }
    }
}

impl From<decode::Refused> for Failure {
    fn from(refused: decode::Refused) -> Self {
        match refused {
            // EINVAL and EOPNOTSUPP: no such subsystem (net/netfilter/nfnetlink.c).
            decode::Refused::By(Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP) => {
                Self::NoSuchThing
            }
            decode::Refused::By(Errno::PERM | Errno::ACCESS) => {
                failure(ErrorKind::Denied, "the kernel refuses".to_owned())
            }
            decode::Refused::By(errno) => failure(ErrorKind::Failed, errno.to_string()),
            decode::Refused::Malformed(error) => failure(ErrorKind::Uncertain, error.to_string()),
        }
    }
}
