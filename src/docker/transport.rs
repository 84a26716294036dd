//! How a request of bollard's travels: bollard builds it and reads the answer, we carry it.
//!
//! bollard's own connectors do not serve, for two reasons. They drop the API version from the
//! path (an absolute path joined to the address replaces it), so that every request is answered
//! in whatever version the Engine likes best; and they do not tell when the head of an answer
//! has arrived, which is how we know that a subscription to events stands before anything is
//! listed. Here every request gets the negotiated version, and one that carries [`OnHead`] says
//! when it was answered.
//!
//! Every request has its own connection: an idle one that the Engine closed meanwhile would be
//! an error of ours. No task runs here but hyper's one per connection, which ends with it.

use std::error::Error as StdError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{BollardRequest, Docker};
use http::{HeaderValue, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::sync::Notify;

use super::host::DockerHost;

/// Unused connections to a dead peer are found after this long: a host behind TCP may vanish
/// without a word, and the stream of events is silent for hours.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// bollard's own limit for the head of an answer, in seconds. Ours are shorter and cover the
/// body too; this one only has to be out of the way.
const BOLLARD_TIMEOUT_S: u64 = 3600;

/// Put into a request's extensions: told when the head of a successful answer has arrived.
#[derive(Clone)]
pub(super) struct OnHead(pub(super) Arc<Notify>);

/// The negotiated version as a path prefix, `/v1.41`; empty before.
pub(super) type VersionPrefix = Arc<OnceLock<String>>;

/// A bollard client that reaches `host`. Nothing is connected to yet.
pub(super) fn dial(host: &DockerHost, version: VersionPrefix) -> Result<Docker, Error> {
    match host {
        DockerHost::Unix(path) => {
            let socket: Uri = hyperlocal::Uri::new(path, "/").into();
            let authority = socket.authority().map(|a| a.as_str().to_owned());
            let base = format!("unix://{}", authority.unwrap_or_default());
            carry(hyperlocal::UnixConnector, base, version)
        }
        DockerHost::Tcp(authority) => {
            let mut connector = HttpConnector::new();
            connector.set_keepalive(Some(TCP_KEEPALIVE));
            connector.set_nodelay(true);
            carry(connector, format!("http://{authority}"), version)
        }
    }
}

fn carry<C>(connector: C, base: String, version: VersionPrefix) -> Result<Docker, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let deliver = move |mut request: BollardRequest| {
        let client = client.clone();
        let target = target(&base, version.get(), request.uri());
        async move {
            *request.uri_mut() = target?;
            // A socket has no name; the path in hexadecimal, hyper's choice, helps nobody.
            if request.uri().scheme_str() == Some("unix") {
                let host = HeaderValue::from_static("docker");
                request.headers_mut().insert(header::HOST, host);
            }
            let on_head = request.extensions_mut().remove::<OnHead>();
            let response = client.request(request).await?;
            if let (Some(OnHead(told)), true) = (on_head, response.status().is_success()) {
                told.notify_one();
            }
            Ok(response)
        }
    };
    Docker::connect_with_custom_transport(
        deliver,
        Some("http://engine"),
        BOLLARD_TIMEOUT_S,
        bollard::API_DEFAULT_VERSION,
    )
}

/// The address of a request: its path and query, with the version before it. `/version` and
/// `/_ping` exist without one in every Engine, and must not fail on a version that it lacks.
fn target(base: &str, version: Option<&String>, asked: &Uri) -> Result<Uri, Error> {
    let path = asked.path_and_query().map_or("/", |p| p.as_str());
    let unversioned = matches!(asked.path(), "/version" | "/_ping");
    let version = version.filter(|_| !unversioned).map_or("", String::as_str);
    Ok(format!("{base}{version}{path}").parse()?)
}

/// An error with its causes, on one line: `client error (Connect): No such file …`.
pub(super) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
