//! Requests to the lab's Engine, over a connection each, as few bytes as it takes: the docker command costs
//! the processors more than the daemons that are measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::lab::Lab;

/// How long the Engine may take to answer: to start 20 containers at once takes seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// Every Engine from 19.03 on speaks it.
const VERSION: &str = "v1.40";

/// An event of a container.
#[derive(Debug, Clone)]
pub(crate) struct ContainerEvent {
    pub(crate) action: String,
    pub(crate) id: String,
    /// By the Engine's clock, which is this host's.
    pub(crate) at: Duration,
}

/// A request that was sent.
pub(crate) struct Asked {
    what: String,
    stream: UnixStream,
}

/// Sends a request; called inside the lab.
pub(crate) fn ask(method: &str, path: &str) -> Asked {
    let mut stream = UnixStream::connect("/var/run/docker.sock").expect("the Engine listens");
    stream.set_read_timeout(Some(ANSWER)).expect("a limit");
    // An answer in HTTP/1.0 ends with its connection, and is whole.
    let request = format!("{method} /{VERSION}/{path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asks");
    let what = format!("{method} {path}");
    Asked { what, stream }
}

impl Asked {
    /// The body of the answer, which must be a success.
    pub(crate) fn answer(mut self) -> Vec<u8> {
        let Self { what, .. } = self;
        let mut answer = Vec::new();
        let read = self.stream.read_to_end(&mut answer);
        read.unwrap_or_else(|e| panic!("waited {ANSWER:?} in vain for the answer to {what}: {e}"));
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.0 2"), "{what}: {text}");
        let body = answer.windows(4).position(|part| part == b"\r\n\r\n");
        answer.split_off(body.expect("an end of the head") + 4)
    }
}

/// Has something done to containers, to all at the same time, and waits until it is done.
pub(crate) fn each(lab: &Lab, what: &str, ids: &[String]) {
    lab.host().enter(|| {
        let ask = |id: &String| ask("POST", &format!("containers/{id}/{what}"));
        let asked: Vec<Asked> = ids.iter().map(ask).collect();
        asked.into_iter().for_each(|one| drop(one.answer()));
    });
}

/// The host ports that a container has now, sorted; called inside.
pub(crate) fn host_ports(id: &str) -> Vec<u16> {
    let answer = ask("GET", &format!("containers/{id}/json")).answer();
    let about: Value = serde_json::from_slice(&answer).unwrap_or_else(|e| panic!("{id}: {e}"));
    let ports = about["NetworkSettings"]["Ports"].as_object().cloned();
    let rows = ports.unwrap_or_default();
    let rows = rows.values().filter_map(|row| row[0]["HostPort"].as_str());
    let mut ports: Vec<u16> = rows.filter_map(|port| port.parse().ok()).collect();
    ports.sort_unstable();
    ports
}

/// A subscription to the events of containers, which the Engine has confirmed.
pub(crate) struct Subscription(BufReader<UnixStream>);

impl Subscription {
    pub(crate) fn open(lab: &Lab) -> Self {
        lab.host().enter(|| {
            let path = "events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
            let Asked { stream, .. } = ask("GET", path);
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).expect("the Engine subscribes");
            assert!(line.starts_with("HTTP/1.0 200"), "{line}");
            reader.get_ref().set_read_timeout(None).expect("no limit");
            Self(reader)
        })
    }

    /// Ends it when it is dropped.
    pub(crate) fn end(&self) -> EndOfSubscription {
        EndOfSubscription(self.0.get_ref().try_clone().expect("a descriptor"))
    }

    /// What comes, until it ends.
    pub(crate) fn events(self) -> impl Iterator<Item = ContainerEvent> {
        let lines = self.0.lines().map_while(Result::ok);
        lines.filter_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            Some(ContainerEvent {
                action: event["Action"].as_str()?.to_owned(),
                id: event["Actor"]["ID"].as_str()?.to_owned(),
                at: Duration::from_nanos(event["timeNano"].as_u64()?),
            })
        })
    }
}

/// Ends a [`Subscription`] that another thread reads.
pub(crate) struct EndOfSubscription(UnixStream);

impl Drop for EndOfSubscription {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
