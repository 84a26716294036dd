//! What a check knows of the host, as it was read. Values only; [`super::gather`] reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::Ipv6Net;

use super::ruleset::Ruleset;
use super::ruleset::read::Unseen;
use crate::backend::ip6tables::Variant;
use crate::backend::shell::word;
use crate::backend::{BackendError, ErrorKind};
use crate::docker::host::DockerHost;
use crate::docker::survey::Survey;
use crate::docker_nat::watch::Seen;
use crate::journal::recover::Examined;
use crate::mapper::compute::{HostFacts, MapperOptions};
use crate::model::conditions::Conditions;
use crate::model::container::Snapshot;
use crate::model::device::Device;
use crate::model::rule::BackendKind;
use crate::netlink::interface::Found;
use crate::netlink::route::DefaultRoute;
use crate::sys::host::{InterfaceAddress, RouterAdvertisements};

/// What is to be checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) options: MapperOptions,
    /// `--backend`; `None` is `auto`.
    pub(crate) backend: Option<BackendKind>,
    pub(crate) docker: DockerHost,
    pub(crate) state_dir: PathBuf,
    /// The backend of the daemon that runs.
    pub(crate) running: Option<BackendKind>,
    pub(crate) tools: Tools,
}

/// The tools of ip6tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tools {
    /// They are found, and run to list.
    Run,
    /// None is started: the daemon knows which variant holds its rules, if one does.
    Spare(Option<Variant>),
}

/// Everything that is known.
#[derive(Debug, Clone)]
pub(super) struct CheckFacts {
    pub(super) settings: Settings,
    /// The egress interfaces: those given, or those of the default routes.
    pub(super) egress: Vec<Device>,
    pub(super) host: Result<Host, String>,
    pub(super) docker: Docker,
    pub(super) firewall: Firewall,
    pub(super) machine: Machine,
}

/// Addresses, routes and settings of this network namespace.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) facts: HostFacts,
    pub(super) conditions: Conditions,
    /// The egress interfaces that are there.
    pub(super) links: BTreeMap<Device, Found>,
    pub(super) addresses: Vec<InterfaceAddress>,
    pub(super) routes: Vec<DefaultRoute>,
    pub(super) advertisements: BTreeMap<Device, RouterAdvertisements>,
}

/// The Engine.
#[derive(Debug, Clone)]
pub(super) enum Docker {
    /// It was not to be asked.
    NotAsked,
    /// Its socket is not for this user.
    NotPermitted(String),
    /// It does not answer.
    Away(String),
    Here(Box<Survey>),
}

/// What decides about packets, and what can be known of it.
#[derive(Debug, Clone)]
pub(super) struct Firewall {
    /// The variant that `ip6tables` means here.
    pub(super) tool: Result<Variant, BackendError>,
    /// The rules in nf_tables and, as far as they can be read, in the legacy variant's tables.
    pub(super) rules: Result<Ruleset, Unseen>,
    /// The tables of ip6tables that hold something, as its tools list them.
    pub(super) listings: Vec<Listing>,
    /// Why some of them could not be listed.
    pub(super) unlisted: Vec<(Variant, BackendError)>,
    /// Docker's own NAT.
    pub(super) nat: Result<Seen, BackendError>,
    /// The backend of the daemon that runs; `None` if none answers.
    pub(super) running: Option<BackendKind>,
    /// Whether a daemon of this network namespace holds its lock; `None` if that cannot be read.
    pub(super) daemon: Option<bool>,
}

/// One table of ip6tables, as ip6tables-save prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) variant: Variant,
    pub(super) table: String,
    pub(super) text: String,
}

/// The kernel, the clock, this process and the state directory.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// What this host has to itself, for a prefix of its own.
    pub(super) identity: String,
    /// `uname -r`.
    pub(super) release: String,
    /// Entries in the table of connections, and how many there may be; `None` where nothing is
    /// tracked yet.
    pub(super) connections: Option<(u64, u64)>,
    /// Whether the kernel has bpf(2).
    pub(super) bpf: bool,
    pub(super) journal: Result<Examined, JournalFault>,
    pub(super) now: SystemTime,
    pub(super) net_admin: bool,
    pub(super) net_raw: bool,
    pub(super) uid: u32,
    /// The owner and the mode of Docker's socket.
    pub(super) socket: Option<(u32, u32)>,
}

/// Why the state directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JournalFault {
    pub(super) what: String,
    /// This user may not read it.
    pub(super) denied: bool,
    /// It belongs to somebody else.
    pub(super) foreign: bool,
}

impl CheckFacts {
    /// The containers and networks, if Docker has said them.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        match &self.docker {
            Docker::Here(survey) => survey.snapshot.as_ref().ok(),
            _ => None,
        }
    }

    /// The containers' prefixes, as far as they are known.
    pub(super) fn prefixes(&self) -> Vec<Ipv6Net> {
        let snapshot = self.snapshot().map(|snapshot| &**snapshot);
        self.settings.options.prefixes_of(snapshot)
    }

    /// What this host has to itself.
    pub(super) fn identity(&self) -> &str {
        &self.machine.identity
    }

    /// The option with which a command of ours asks the same Engine, with a blank before it: empty for the
    /// default one. `None` where the address fits into no command.
    pub(super) fn docker_host_option(&self) -> Option<String> {
        let engine = match &self.settings.docker {
            engine if *engine == DockerHost::default() => return Some(String::new()),
            DockerHost::Unix(path) => format!("unix://{}", path.to_str()?),
            DockerHost::Tcp(authority) => format!("tcp://{authority}"),
        };
        word(&engine).map(|engine| format!(" --docker-host {engine}"))
    }

    /// Why there is no snapshot, for a line that needs one.
    pub(super) fn no_snapshot(&self) -> String {
        match &self.docker {
            Docker::NotAsked => "Docker was not asked".to_owned(),
            Docker::NotPermitted(why) => why.clone(),
            Docker::Away(_) => "Docker does not answer".to_owned(),
            Docker::Here(survey) => match &survey.snapshot {
                Ok(_) => String::new(),
                Err(why) => format!("Docker's containers are not known: {why}"),
            },
        }
    }

    /// The backend: the one asked for, that of the daemon, or what `auto` would take.
    pub(super) fn backend(&self) -> BackendKind {
        let Firewall {
            tool,
            unlisted,
            running,
            ..
        } = &self.firewall;
        let own = tool.as_ref().ok();
        let is_unlisted = unlisted
            .iter()
            .any(|(variant, error)| own == Some(variant) && error.kind == ErrorKind::Uncertain);
        let auto = match own.is_some() && !is_unlisted {
            true => BackendKind::Ip6tables,
            false => BackendKind::Nftables,
        };
        self.settings.backend.or(*running).unwrap_or(auto)
    }

    /// The variant of ip6tables that holds our rules; `None`: nftables does.
    pub(super) fn variant(&self) -> Option<Variant> {
        let tool = self.firewall.tool.as_ref().ok().copied();
        tool.filter(|_| self.backend() == BackendKind::Ip6tables)
    }
}

/// How long each request to Docker may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
