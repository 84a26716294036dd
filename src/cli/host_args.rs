//! The options that describe the host to check, for commands that a person runs beside the daemon.
//! What is not given is what `run` would be given: from the environment, then from the file of
//! [`Defaults`].

use std::path::PathBuf;

use clap::Args;
use ipnet::Ipv6Net;

use super::ask::Place;
use super::defaults::{self, Defaults};
use super::engine_url::docker_host;
use super::failure::{Exit, Failure};
use super::given::Given;
use crate::config::{self, ConfigError};
use crate::docker::host::DockerHost;
use crate::mapper::compute::Choice;
use crate::model::device::Device;

/// Where the journal is, unless an option or the file says otherwise.
const STATE_DIR: &str = "/var/lib/docker-nat66";

/// Where those options come from that are not given, for the end of the help.
pub(super) const WHERE_FROM: &str = "Options that are not given are taken from the environment, then from \
     /etc/default/docker-nat66; then the interface is that of the default route, and the prefixes \
     are those of Docker's networks.";

/// The options.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    /// Egress interface, as for `run`
    #[arg(
        long,
        value_name = "IF",
        env = "DOCKER_NAT66_DEV",
        value_delimiter = ','
    )]
    dev: Vec<String>,
    /// IPv6 prefix of the containers' addresses, as for `run`
    #[arg(
        long,
        value_name = "PREFIX",
        env = "DOCKER_NAT66_PREFIX",
        value_delimiter = ','
    )]
    prefix: Vec<String>,
    /// Address of the Docker Engine, as for `run`
    #[arg(long, value_name = "URL", env = "DOCKER_NAT66_DOCKER_HOST")]
    docker_host: Option<String>,
    /// Directory of the journal
    #[arg(long, value_name = "DIR", env = "DOCKER_NAT66_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Control socket of the daemon, and no other [default: the one that it names in its state
    /// directory]
    #[arg(long, value_name = "PATH", env = "DOCKER_NAT66_CONTROL")]
    control: Option<PathBuf>,
}

/// Values as somebody wrote them.
struct Written {
    values: Vec<String>,
    in_file: bool,
}

impl Written {
    fn of(name: &str, given: &[String], defaults: &Defaults) -> Self {
        let listed = defaults.list(name, given);
        let values = listed.iter().map(|value| value.trim().to_owned());
        Self {
            values: values.filter(|value| !value.is_empty()).collect(),
            in_file: given.is_empty(),
        }
    }

    fn parse<T>(
        &self,
        read: impl Fn(&[String]) -> Result<Choice<T>, ConfigError>,
    ) -> Result<Choice<T>, Failure> {
        match read(&self.values) {
            _ if self.values.is_empty() => Ok(Choice::Auto),
            Ok(choice) => Ok(choice),
            Err(error) if self.in_file => Err(Failure::new(
                Exit::Usage,
                format!("{}: {error}", defaults::FILE),
            )),
            Err(error) => Err(error.into()),
        }
    }
}

impl HostArgs {
    /// The interfaces given on the command line or in the environment; none with `auto`.
    ///
    /// # Errors
    /// One of them cannot be an interface's name.
    pub(super) fn devices_given(&self) -> Result<Vec<Device>, Failure> {
        Ok(fixed(self.devices(&Defaults::default())?))
    }

    /// The same for the prefixes.
    ///
    /// # Errors
    /// One of them is no IPv6 prefix.
    pub(super) fn prefixes_given(&self) -> Result<Vec<Ipv6Net>, Failure> {
        Ok(fixed(self.prefixes(&Defaults::default())?))
    }

    /// The interfaces given, or else those in the file.
    ///
    /// # Errors
    /// One of them cannot be an interface's name.
    pub(super) fn devices(&self, defaults: &Defaults) -> Result<Choice<Device>, Failure> {
        Written::of("DEV", &self.dev, defaults).parse(config::devices)
    }

    /// The prefixes given, or else those in the file.
    ///
    /// # Errors
    /// One of them is no IPv6 prefix.
    pub(super) fn prefixes(&self, defaults: &Defaults) -> Result<Choice<Ipv6Net>, Failure> {
        let read = |values: &[String]| Ok(config::prefixes(values)?.0);
        Written::of("PREFIX", &self.prefix, defaults).parse(read)
    }

    /// The Engine's address.
    ///
    /// # Errors
    /// It is not one, or the daemon cannot speak to such a one.
    pub(super) fn docker_host(&self, defaults: &Defaults) -> Result<DockerHost, Failure> {
        let given = self.docker_host.as_deref();
        docker_host(given.or(defaults.get("DOCKER_HOST")))
    }

    /// Where the journal is.
    pub(super) fn state_dir(&self, defaults: &Defaults) -> PathBuf {
        let given = self.state_dir.clone();
        given.unwrap_or_else(|| defaults.get("STATE_DIR").unwrap_or(STATE_DIR).into())
    }

    /// Where a running daemon is expected.
    pub(super) fn place(given: &Given<Self>, defaults: &Defaults) -> Place {
        let in_file = || defaults.get("CONTROL").map(PathBuf::from);
        let control = given.control.clone().or_else(in_file);
        Place::of(given.state_dir(defaults), control, |name| {
            given.is_typed(name)
        })
    }
}

/// The values of a choice; none of `auto`.
pub(super) fn fixed<T>(choice: Choice<T>) -> Vec<T> {
    match choice {
        Choice::Fixed(values) => values,
        Choice::Auto => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dev: &[&str]) -> HostArgs {
        HostArgs {
            dev: dev.iter().map(|name| (*name).to_owned()).collect(),
            prefix: Vec::new(),
            docker_host: None,
            state_dir: None,
            control: None,
        }
    }

    #[test]
    fn what_is_given_comes_before_the_file_and_the_file_before_the_rest() {
        let file = Defaults::parse(
            "DOCKER_NAT66_DEV=eth0, eth1\nDOCKER_NAT66_PREFIX=fd00::/64\n\
             DOCKER_NAT66_STATE_DIR=/a\n",
        );
        let names = |choice: Choice<Device>| -> Vec<String> {
            fixed(choice).iter().map(ToString::to_string).collect()
        };
        let of = |dev: &[&str], file: &Defaults| names(args(dev).devices(file).expect("names"));
        assert_eq!(of(&["wan"], &file), ["wan"]);
        assert_eq!(of(&[], &file), ["eth0", "eth1"]);
        assert!(of(&["auto"], &file).is_empty());
        assert!(of(&[], &Defaults::default()).is_empty());
        assert!(args(&[]).devices_given().expect("none").is_empty());
        assert_eq!(args(&[]).state_dir(&file), PathBuf::from("/a"));
        assert_eq!(
            args(&[]).state_dir(&Defaults::default()),
            PathBuf::from(STATE_DIR)
        );
    }

    #[test]
    fn a_wrong_value_is_reported_with_where_it_stands() {
        let file = Defaults::parse("DOCKER_NAT66_DEV=a/b\n");
        let failure = args(&[]).devices(&file).expect_err("no name");
        assert!(failure.to_string().starts_with(defaults::FILE), "{failure}");
        let failure = args(&["a/b"]).devices(&file).expect_err("no name");
        assert!(failure.to_string().starts_with("--dev"), "{failure}");
    }
}
