//! Where the Engine is, for every command that asks it.

use std::env::VarError;
use std::time::Duration;

use super::failure::{Exit, Failure};
use super::waiting::wait_for;
use crate::docker::error::EngineError;
use crate::docker::host::DockerHost;
use crate::docker::survey::{Survey, survey};

/// How long the Engine may take for each answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the Engine, for a command that does nothing else meanwhile. The inner error is the Engine's.
pub(super) fn ask(docker: &DockerHost) -> Result<Result<Survey, EngineError>, Failure> {
    Ok(wait_for(survey(docker, PATIENCE))?)
}

/// The Engine's address: the option, else `DOCKER_HOST`, else the usual socket.
pub(super) fn docker_host(option: Option<&str>) -> Result<DockerHost, Failure> {
    let usage = |message| Failure::new(Exit::Usage, message);
    let inherited = match std::env::var("DOCKER_HOST") {
        Ok(host) => Some(host).filter(|host| !host.is_empty()),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            return Err(usage(
                "DOCKER_HOST in the environment is not UTF-8".to_owned(),
            ));
        }
    };
    let tls = std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty());
    let (url, origin) = match (option, &inherited) {
        (Some(url), _) => (url, "--docker-host"),
        (None, Some(url)) => (url.as_str(), "DOCKER_HOST"),
        (None, None) => return Ok(DockerHost::default()),
    };
    DockerHost::parse(url, tls).map_err(|e| usage(format!("{origin}: {e}")))
}
