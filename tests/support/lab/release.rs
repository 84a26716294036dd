//! Which Docker Engine the lab runs, and all in which Engines differ for those who start one.
//!
//! The machine's own (Debian 12: 20.10), or the one of a Debian suite that
//! `DOCKER_NAT66_LAB_ENGINE` names. That one runs from a root which `tests/engines` makes, in a
//! mount namespace within the lab's: dockerd, containerd, docker-proxy, the tools that they call
//! and the docker command are the root's, everything else is the machine's. The daemon under test
//! and what lists rules stay outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::support::lab::space::Place;

/// Enters the root `$1`, does `$2` there, and makes the other arguments mean its commands. A
/// process that sleeps keeps the mount namespace, `/run/lab/engine/pid` is its id, and the commands
/// run in there. (A bind mount of the namespace would keep it without a process, but Linux 6.18
/// refuses that now and then: it takes the new namespace for an older one when another processor
/// numbered it.) What is written to the root is in memory and the lab's own: others use the root at
/// the same time.
const ENTER: &str = r##"mkdir -p /run/lab/engine/upper /run/lab/engine/work /run/lab/bin
unshare --mount sh -ec '
  mount -t overlay -o "lowerdir=$1,upperdir=/run/lab/engine/upper,workdir=/run/lab/engine/work" \
    overlay /mnt
  for dir in dev proc run sys tmp; do mount --rbind /$dir /mnt/$dir; done
  cd /mnt
  pivot_root . .
  umount -l .
  eval "$2"
  sleep infinity </dev/null >/dev/null 2>&1 &
  echo $! >/run/lab/engine/pid
' enter "$1" "$2"
shift 2
for command; do
  wrapper=/run/lab/bin/$(basename $command)
  printf "#!/bin/sh\nexec nsenter --mount=/proc/%s/ns/mnt $command \"\$@\"\n" \
    "$(cat /run/lab/engine/pid)" >$wrapper
  chmod +x $wrapper
done"##;

/// An Engine that the lab can run.
#[derive(Debug)]
pub(crate) struct Release {
    /// Its root, unless it is the machine's own.
    root: Option<PathBuf>,
    version: String,
    major: u32,
}

/// The Engine that this run of the lab is about.
pub(crate) fn in_use() -> &'static Release {
    static IN_USE: OnceLock<Release> = OnceLock::new();
    IN_USE.get_or_init(|| match std::env::var("DOCKER_NAT66_LAB_ENGINE") {
        Ok(suite) if suite != "own" => Release::of(&suite),
        _ => Release::own(),
    })
}

impl Release {
    fn of(suite: &str) -> Self {
        let make = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines");
        let root = PathBuf::from(said_by(Command::new(make).arg(suite)));
        let version = fs::read_to_string(root.join("engine-version")).expect("the root's Engine");
        Self::new(Some(root), version.trim())
    }

    fn own() -> Self {
        let said = said_by(Command::new("dockerd").arg("--version"));
        let version = said.trim_start_matches("Docker version ");
        let end = version.find(|c: char| c != '.' && !c.is_ascii_digit());
        Self::new(None, &version[..end.unwrap_or(version.len())])
    }

    fn new(root: Option<PathBuf>, version: &str) -> Self {
        let major = version.split('.').next().and_then(|n| n.parse().ok());
        Self {
            root,
            version: version.to_owned(),
            major: major.unwrap_or_else(|| panic!("no version of an Engine: {version:?}")),
        }
    }

    /// As it says itself: `28.5.2`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The first number of its version.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }

    /// Makes `docker` and `dockerd` mean this Engine's on the lab's host.
    pub(crate) fn install(&self, host: Place<'_>) {
        if let Some(root) = self.root.as_deref().and_then(Path::to_str) {
            enter(host, root, "", &["/usr/bin/docker", "/usr/sbin/dockerd"]);
        }
    }

    /// The arguments that make it do IPv6 NAT itself: an experiment up to 26.
    pub(crate) fn native(&self) -> &'static [&'static str] {
        match self.major() {
            ..27 => &["--experimental", "--ip6tables=true"],
            27.. => &["--ip6tables=true"],
        }
    }

    /// The arguments that keep it from IPv6 NAT, which is on by default from 27 on.
    pub(crate) fn without_native(&self) -> &'static [&'static str] {
        match self.major() {
            ..27 => &[],
            27.. => &["--ip6tables=false"],
        }
    }
}

/// Makes the names of `commands` mean those of a root on the lab's host, once `prepare` was done
/// in there.
fn enter(host: Place<'_>, root: &str, prepare: &str, commands: &[&str]) {
    host.run(&[&["sh", "-ec", ENTER, "enter", root, prepare], commands].concat());
}

/// Makes `podman` mean that of Debian sid on the lab's host; its version.
pub(crate) fn install_podman(host: Place<'_>) -> String {
    let Release { root, version, .. } = Release::of("podman");
    let root = root.as_deref().and_then(Path::to_str);
    // Podman is to use no cgroups, but crun wants version 1 or 2 of them alone to be there. (From
    // the first cgroup namespace, mounting them would change the options of all mounts.) Podman
    // counts its locks in /dev/shm.
    let prepare = r#"mount -t tmpfs shm /dev/shm
        if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
            umount -R /sys/fs/cgroup
            unshare --cgroup mount -t cgroup2 cgroup /sys/fs/cgroup
        fi"#;
    enter(host, root.expect("UTF-8"), prepare, &["/usr/bin/podman"]);
    version
}

fn said_by(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|e| panic!("run {command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
