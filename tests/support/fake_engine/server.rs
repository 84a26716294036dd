//! One connection to the fake Engine: reads a request, answers it, or misbehaves.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::Past;
use super::{FakeContainer, Fault, Route, Shared, since_epoch};

/// Pieces of news that are sent at once at most.
const MOST_AT_ONCE: usize = 1024;

/// A connection, while it is counted among the inspects under way.
struct Peer<'a> {
    shared: &'a Shared,
    stream: UnixStream,
    counted: bool,
}

impl Peer<'_> {
    /// Sends a whole answer. The inspect is over before its last byte can be read: the client
    /// may ask the next one at once.
    fn reply(&mut self, status: u16, body: &str) {
        self.uncount();
        let length = body.len();
        let _ = write!(
            self.stream,
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.shared.lock().inspects_now -= 1;
        }
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        self.uncount();
    }
}

/// Serves one request.
pub(super) fn serve(shared: &Shared, stream: UnixStream) {
    let Ok(reader) = stream.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    for line in lines {
        if line.is_empty() {
            break;
        }
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (version, path) = split_version(path);
    let route = route(&request, path);
    let (fault, versions) = {
        let mut state = shared.lock();
        state.requests.push((route.clone(), request.clone()));
        let fault = match state.faults.get_mut(&route) {
            Some((fault, times)) if *times > 0 => {
                *times -= 1;
                Some(fault.clone())
            }
            _ => None,
        };
        if matches!(route, Route::Inspect(_)) {
            state.inspects_now += 1;
            state.inspects_peak = state.inspects_peak.max(state.inspects_now);
        }
        (fault, state.versions)
    };
    shared.changed.notify_all();
    let mut peer = Peer {
        shared,
        stream,
        counted: matches!(route, Route::Inspect(_)),
    };
    if shared.wait(|s| !s.frozen) {
        answer(&mut peer, &route, fault, version, versions, query);
    }
}

fn split_version(path: &str) -> (Option<u32>, &str) {
    let version = path.strip_prefix("/v1.").and_then(|rest| {
        let (minor, _) = rest.split_once('/')?;
        Some((minor.parse().ok()?, &rest[minor.len()..]))
    });
    match version {
        Some((minor, rest)) => (Some(minor), rest),
        None => (None, path),
    }
}

fn route(request: &str, path: &str) -> Route {
    let id = path
        .strip_prefix("/containers/")
        .and_then(|rest| rest.strip_suffix("/json"));
    match (request.starts_with("GET "), path, id) {
        (true, "/_ping", _) => Route::Ping,
        (true, "/version", _) => Route::Version,
        (true, "/containers/json", _) => Route::List,
        (true, "/networks", _) => Route::Networks,
        (true, "/events", _) => Route::Events,
        (true, _, Some(id)) => Route::Inspect(id.to_owned()),
        _ => Route::Other,
    }
}

fn answer(
    peer: &mut Peer<'_>,
    route: &Route,
    fault: Option<Fault>,
    version: Option<u32>,
    (oldest, newest): (u32, u32),
    query: &str,
) {
    let shared = peer.shared;
    match fault {
        Some(Fault::Delay(delay)) => {
            shared.wait_at_most(delay, |_| false);
        }
        Some(Fault::Hang) => {
            let epoch = shared.lock().streams_epoch;
            shared.wait(|s| s.streams_epoch != epoch);
            return;
        }
        Some(Fault::HangInBody) => {
            let _ = peer
                .stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{\"Id\":");
            let epoch = shared.lock().streams_epoch;
            shared.wait(|s| s.streams_epoch != epoch);
            return;
        }
        Some(Fault::Close) => return,
        Some(Fault::Status(status)) => return peer.reply(status, r#"{"message":"a fault"}"#),
        Some(Fault::Raw(text)) => {
            let _ = peer.stream.write_all(text.as_bytes());
            return;
        }
        Some(Fault::Endless(head, piece)) => {
            let mut sent = peer.stream.write_all(head.as_bytes());
            while sent.is_ok() && !shared.lock().stopped {
                sent = peer.stream.write_all(piece.as_bytes());
            }
            return;
        }
        Some(Fault::Body(body)) => return peer.reply(200, &body),
        None => {}
    }
    if let Some(version) = version
        && !(oldest..=newest).contains(&version)
    {
        let message = format!("client version 1.{version} is out of range");
        return peer.reply(400, &json!({ "message": message }).to_string());
    }
    match route {
        Route::Ping => peer.reply(200, "OK"),
        Route::Version => {
            if let Some(body) = shared.lock().version_body.clone() {
                return peer.reply(200, &body);
            }
            let body = json!({"Version": "fake", "ApiVersion": format!("1.{newest}"),
                "MinAPIVersion": format!("1.{oldest}"), "Os": "linux"});
            peer.reply(200, &body.to_string());
        }
        Route::List => {
            let rows: Vec<Value> = {
                let state = shared.lock();
                state.containers.values().map(FakeContainer::row).collect()
            };
            peer.reply(200, &Value::from(rows).to_string());
        }
        Route::Networks => {
            let rows: Vec<Value> = shared.lock().networks.values().cloned().collect();
            peer.reply(200, &Value::from(rows).to_string());
        }
        Route::Inspect(id) => {
            let body = shared.lock().containers.get(id).map(FakeContainer::inspect);
            match body {
                Some(body) => peer.reply(200, &body),
                None => peer.reply(404, r#"{"message":"No such container"}"#),
            }
        }
        Route::Events => events(shared, &mut peer.stream, query),
        Route::Other => peer.reply(404, r#"{"message":"page not found"}"#),
    }
}

/// Sends what happened since the time asked for, and then whatever happens.
fn events(shared: &Shared, stream: &mut UnixStream, query: &str) {
    let since = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("since="))
        .and_then(|since| since.parse().ok())
        .map_or(since_epoch(), Duration::from_secs_f64);
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let (epoch, mut next) = {
        let state = shared.lock();
        let next = state.events.iter().position(|e| e.at >= since);
        (state.streams_epoch, next.unwrap_or(state.events.len()))
    };
    loop {
        let alive =
            shared.wait(|s| s.streams_epoch != epoch || (!s.frozen && s.events.len() > next));
        let past: Vec<Past> = {
            let state = shared.lock();
            if !alive || state.streams_epoch != epoch {
                break;
            }
            let new = state.events[next..].iter();
            new.take(MOST_AT_ONCE).cloned().collect()
        };
        next += past.len();
        let chunks: String = past.iter().map(|past| &*past.lines.chunks).collect();
        if stream.write_all(chunks.as_bytes()).is_err() {
            break;
        }
        shared.lock().delivered += past.iter().map(|past| past.lines.number).sum::<usize>();
    }
    // Without the last chunk: an Engine that ends does not take leave either.
    shared.changed.notify_all();
}
