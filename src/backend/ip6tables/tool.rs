//! The tools: where they are, which variant they are, and how they are called.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error;
use super::exec::{Bounds, Failure, Finished, Network, Runner};
use crate::backend::{BackendError, ErrorKind};
use crate::netlink::watch::OwnPorts;

/// Which of the two programs called ip6tables it is. They keep separate sets of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Translates to nf_tables.
    Nft,
    /// Speaks to ip6_tables.
    Legacy,
}

impl Variant {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }

    /// The name of a tool of this variant, the same on every distribution that has both.
    fn tool(self, what: &str) -> String {
        match self {
            Self::Nft => format!("ip6tables-nft-{what}"),
            Self::Legacy => format!("ip6tables-legacy-{what}"),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nft => "nf_tables",
            Self::Legacy => "legacy",
        })
    }
}

/// What the backend needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct ToolSettings {
    /// Directories that hold the tools, searched in order.
    pub tool_dirs: Vec<PathBuf>,
    /// Longest run of a tool that does not work; then it is killed. For one that does see
    /// [`super::patience`].
    pub deadline: Duration,
    /// Most bytes that a tool may print.
    pub max_output: usize,
    /// Descriptors that every tool inherits, so that the locks on them outlive the daemon by as
    /// long as a tool does: [`super::lock::ToolLock::descriptor`].
    pub inherit: Vec<Arc<OwnedFd>>,
    /// Where it is noted that a tool's changes are ours.
    pub own_ports: OwnPorts,
    /// The kernel's list of legacy tables in use in this network namespace.
    pub legacy_tables: PathBuf,
}

impl Default for ToolSettings {
    /// The usual directories; 10 s, which is what a host in trouble may need and a supervisor
    /// still bears; 64 MiB, some 300,000 rules.
    fn default() -> Self {
        Self {
            tool_dirs: ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"]
                .map(PathBuf::from)
                .into(),
            deadline: Duration::from_secs(10),
            max_output: 64 * 1024 * 1024,
            inherit: Vec::new(),
            own_ports: OwnPorts::default(),
            legacy_tables: PathBuf::from("/proc/net/ip6_tables_names"),
        }
    }
}

/// How much sooner than the deadline a tool gives up waiting for the xtables lock, so that it
/// can say so and need not be killed.
const LOCK_MARGIN: Duration = Duration::from_secs(2);

/// The pair of tools in use.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) variant: Variant,
    save: PathBuf,
    restore: PathBuf,
    bounds: Bounds,
    runner: Runner,
}

impl Tools {
    /// Finds the tools that are called `ip6tables` here, or else any.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if there are none; otherwise why one of them cannot be run.
    pub(super) fn find(settings: &ToolSettings) -> Result<Self, BackendError> {
        let named = |save: &str, restore: &str| {
            let pair = |dir: &PathBuf| (dir.join(save), dir.join(restore));
            let mut pairs = settings.tool_dirs.iter().map(pair);
            pairs.find(|(save, restore)| save.is_file() && restore.is_file())
        };
        let of = |variant: Variant| named(&variant.tool("save"), &variant.tool("restore"));
        let Some((save, restore)) = named("ip6tables-save", "ip6tables-restore")
            .or_else(|| of(Variant::Nft))
            .or_else(|| of(Variant::Legacy))
        else {
            return Err(BackendError {
                operation: "search for ip6tables-save and ip6tables-restore".to_owned(),
                kind: ErrorKind::Unsupported,
                detail: format!(
                    "not in {}; install the iptables package",
                    settings
                        .tool_dirs
                        .iter()
                        .map(|dir| dir.display().to_string())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            });
        };
        let mut tools = Self::new(settings, Variant::Nft, save, restore);
        tools.variant = tools.ask_variant()?;
        // The plain names may be switched to the other variant under a running daemon, whose
        // rules would then seem gone; the variant's own names stay.
        if let Some((save, restore)) = of(tools.variant) {
            (tools.save, tools.restore) = (save, restore);
        }
        Ok(tools)
    }

    /// The tools of `variant`, by its own names only.
    pub(super) fn of_variant(settings: &ToolSettings, variant: Variant) -> Option<Self> {
        settings.tool_dirs.iter().find_map(|dir| {
            let (save, restore) = (
                dir.join(variant.tool("save")),
                dir.join(variant.tool("restore")),
            );
            (save.is_file() && restore.is_file())
                .then(|| Self::new(settings, variant, save, restore))
        })
    }

    fn new(settings: &ToolSettings, variant: Variant, save: PathBuf, restore: PathBuf) -> Self {
        Self {
            variant,
            save,
            restore,
            bounds: Bounds {
                deadline: settings.deadline,
                max_output: settings.max_output,
                inherit: settings.inherit.clone(),
                own_ports: settings.own_ports.clone(),
            },
            runner: Runner::default(),
        }
    }

    /// Whether they go by their variant's own names, which the other never takes.
    pub(super) fn have_own_names(&self) -> bool {
        let has = |tool: &Path, what| tool.ends_with(self.variant.tool(what));
        has(&self.save, "save") && has(&self.restore, "restore")
    }

    /// Asks both tools which variant they are.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if they differ: what one inserts the other would not list.
    pub(super) fn ask_variant(&mut self) -> Result<Variant, BackendError> {
        let mut ask = |tool: &Path| {
            let operation = format!("{} --version", tool.display());
            let finished = call(
                &mut self.runner,
                &self.bounds,
                &operation,
                tool,
                &["--version"],
                "",
                Network::Own,
            )?;
            let answer = String::from_utf8_lossy(&finished.stdout);
            // Before 1.8 there was no other variant, and no word for it.
            Ok(match answer.contains("nf_tables") {
                true => Variant::Nft,
                false => Variant::Legacy,
            })
        };
        let (save, restore) = (ask(&self.save)?, ask(&self.restore)?);
        if save == restore {
            return Ok(save);
        }
        Err(BackendError {
            operation: "ip6tables --version".to_owned(),
            kind: ErrorKind::Unsupported,
            detail: format!(
                "{} is the {save} variant, {} the {restore} variant; \
                 make them the same (update-alternatives)",
                self.save.display(),
                self.restore.display()
            ),
        })
    }

    /// The port from which the changes of the tool that ran last came.
    pub(super) fn last_port(&self) -> &OwnPorts {
        &self.runner.last_port
    }

    /// The output of `ip6tables-save -t TABLE`.
    ///
    /// # Errors
    /// See [`error::of`]. Nothing was retried.
    pub(super) fn save(&mut self, table: &str) -> Result<Vec<u8>, BackendError> {
        self.save_with(&["-t", table], table)
    }

    /// The same with the rules' counters.
    pub(super) fn save_counting(&mut self, table: &str) -> Result<Vec<u8>, BackendError> {
        self.save_with(&["-c", "-t", table], table)
    }

    fn save_with(&mut self, args: &[&str], table: &str) -> Result<Vec<u8>, BackendError> {
        let operation = format!("ip6tables-save of table {table} ({})", self.variant);
        let (runner, bounds) = (&mut self.runner, &self.bounds);
        call(
            runner,
            bounds,
            &operation,
            &self.save,
            args,
            "",
            Network::Own,
        )
        .map(|finished| finished.stdout)
    }

    /// Feeds `input` to `ip6tables-restore --noflush`.
    ///
    /// # Errors
    /// See [`error::of`]. Nothing was retried.
    pub(super) fn restore(
        &mut self,
        what: &str,
        input: &str,
        network: Network,
    ) -> Result<(), BackendError> {
        let operation = format!("ip6tables-restore of {what} ({})", self.variant);
        let patience = self.bounds.deadline.saturating_sub(LOCK_MARGIN).as_secs();
        // 0 would mean not to wait. The nft variant takes the option and has no lock.
        let patience = patience.max(1).to_string();
        let args = ["--noflush", "--wait", &patience];
        let (runner, bounds) = (&mut self.runner, &self.bounds);
        call(
            runner,
            bounds,
            &operation,
            &self.restore,
            &args,
            input,
            network,
        )
        .map(drop)
    }
}

/// Runs a tool to its end and turns every failure into a kind.
fn call(
    runner: &mut Runner,
    bounds: &Bounds,
    operation: &str,
    tool: &Path,
    args: &[&str],
    input: &str,
    network: Network,
) -> Result<Finished, BackendError> {
    let failed = |kind, detail| BackendError {
        operation: operation.to_owned(),
        kind,
        detail,
    };
    match runner.run(tool, args, input.as_bytes(), network, bounds) {
        Ok(finished) if finished.status.success() => Ok(finished),
        Ok(finished) => {
            let (kind, detail) = error::of(finished.status, &finished.stderr, input);
            Err(failed(kind, detail))
        }
        Err(failure) => {
            let mut detail = format!("{}: {failure}", tool.display());
            let kind = match failure {
                Failure::Deadline(_, stderr) => {
                    if !stderr.is_empty() {
                        let words = String::from_utf8_lossy(&stderr);
                        detail.push_str(&format!(", having said: {}", words.trim_end()));
                    }
                    ErrorKind::TimedOut
                }
                Failure::Undead(_) => ErrorKind::TimedOut,
                Failure::Output(_) => ErrorKind::Uncertain,
                Failure::Start(e) => match e.kind() {
                    std::io::ErrorKind::NotFound => ErrorKind::Unsupported,
                    std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                    _ => ErrorKind::Failed,
                },
                Failure::Watch(_) => ErrorKind::Failed,
            };
            Err(failed(kind, detail))
        }
    }
}
