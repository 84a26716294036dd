//! The blocking client of the control socket.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Deserializer;

use super::connect::connect_within;
use super::protocol::{Answer, MAX_ANSWER, Request};

/// How long connecting and asking may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens there, or it accepts no connection.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The daemon accepted the connection, and its answer is missing or malformed.
    #[error("no valid answer from {}", path.display())]
    Exchange {
        /// The socket.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The daemon answered why it cannot serve the request.
    #[error("the daemon says: {0}")]
    Refused(String),
}

/// Asks the daemon behind `path`.
///
/// # Errors
/// See [`ClientError`]; nothing was retried.
pub fn ask(path: &Path, request: Request) -> Result<Answer, ClientError> {
    let exchange_error = |source| ClientError::Exchange {
        path: path.to_owned(),
        source,
    };
    let stream = connect_within(path, TIMEOUT).map_err(|source| ClientError::Connect {
        path: path.to_owned(),
        source,
    })?;
    match exchange(stream, request).map_err(exchange_error)? {
        Answer::Error(why) => Err(ClientError::Refused(why)),
        answer => Ok(answer),
    }
}

fn exchange(mut stream: UnixStream, request: Request) -> io::Result<Answer> {
    stream.set_read_timeout(Some(request.patience()))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_string(&request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    // Read as a stream: the text of a large dump would take its size in memory once more.
    let mut answer = Deserializer::from_reader(BufReader::new(stream.take(MAX_ANSWER)));
    Ok(Answer::deserialize(&mut answer)?)
}
