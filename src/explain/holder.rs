//! The processes that hold a socket of the host, and the containers to which they belong.
//!
//! Read from `/proc`. A process is a container's if the control group of it, or of one of its
//! ancestors, bears the container's id, if the container's first process is among them, or if it has
//! that one's mounts, as what `docker exec` starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use super::sockets;
use crate::model::forward::Proto;

/// Shortest id of a container that is looked for in the name of a control group: what Docker shows.
const SHORTEST_ID: usize = 12;

/// Most ancestors that are followed: processes change while they are read.
const ANCESTORS: usize = 256;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// What it calls itself; untrusted.
    pub(crate) name: String,
}

/// What is known of a port of the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPort {
    /// Nobody listens there.
    Free,
    /// It is not known who listens, or whether anybody does.
    Unknown,
    /// Processes of these containers listen there.
    Containers(BTreeSet<String>),
    /// Processes that belong to no container listen there; this is the first of them.
    Own(Process),
}

/// Containers, as Docker lists them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listed {
    /// The full ids of all.
    pub(crate) ids: Vec<String>,
    /// Of each one on the host's network its first process, where the Engine says it.
    pub(crate) on_host: BTreeMap<String, Option<u32>>,
}

/// The processes that hold a socket; none where they cannot be seen.
pub(super) fn of_socket(inode: &str) -> Vec<Process> {
    System::default().holders(inode)
}

/// Who listens on a port of the host, for others than the host itself. `listed` is asked where
/// anybody does.
///
/// # Errors
/// The list of sockets is there and cannot be read.
pub(crate) fn of_port(
    proto: Proto,
    port: u16,
    listed: impl FnOnce() -> Listed,
) -> io::Result<HostPort> {
    let Some(sockets) = sockets::here(proto)? else {
        return Ok(HostPort::Unknown);
    };
    let of_port = sockets
        .iter()
        .filter(|socket| socket.port == port && !socket.is_loopback());
    let inodes: Vec<&str> = of_port.map(|socket| socket.inode.as_str()).collect();
    Ok(match inodes[..] {
        [] => HostPort::Free,
        _ => System::default().belongs(&inodes, &listed()),
    })
}

/// Where processes are read.
struct System {
    proc: PathBuf,
    /// The process that asks.
    own: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            own: PathBuf::from("/proc/thread-self"),
        }
    }
}

impl System {
    fn process(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }

    /// The processes that hold a socket.
    fn holders(&self, inode: &str) -> Vec<Process> {
        let link = format!("socket:[{inode}]");
        let all = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let holds = |pid: &u32| {
            let open = fs::read_dir(self.process(*pid).join("fd"));
            let mut open = open.into_iter().flatten().flatten();
            open.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
        };
        let mut pids: Vec<u32> = pids.filter(holds).collect();
        pids.sort_unstable();
        let named = |pid: u32| {
            let name = fs::read_to_string(self.process(pid).join("comm")).unwrap_or_default();
            let name = name.trim_end().to_owned();
            Process { pid, name }
        };
        pids.into_iter().map(named).collect()
    }

    /// Whose these sockets are.
    fn belongs(&self, inodes: &[&str], listed: &Listed) -> HostPort {
        let mut containers = BTreeSet::new();
        let mut own = None;
        let mut is_known = true;
        for inode in inodes {
            let holders = self.holders(inode);
            is_known &= !holders.is_empty();
            for process in holders {
                match self.container(process.pid, listed) {
                    Some(Some(id)) => {
                        containers.insert(id.to_owned());
                    }
                    Some(None) => {
                        own.get_or_insert(process);
                    }
                    None => is_known = false,
                }
            }
        }
        match own {
            _ if !containers.is_empty() => HostPort::Containers(containers),
            Some(process) if is_known => HostPort::Own(process),
            _ => HostPort::Unknown,
        }
    }

    /// The container of a process, or that it has none; `None` where that is not known.
    fn container<'l>(&self, pid: u32, listed: &'l Listed) -> Option<Option<&'l str>> {
        let line = self.line(pid)?;
        let groups = line.iter().map(|pid| self.text(*pid, "cgroup"));
        let groups: Vec<String> = groups.collect::<Option<_>>()?;
        let names = |id: &&String| {
            id.len() >= SHORTEST_ID && groups.iter().any(|of| of.contains(id.as_str()))
        };
        if let Some(id) = listed.ids.iter().find(names) {
            return Some(Some(id));
        }
        let mounts = self.namespace(pid, "mnt")?;
        let mut is_known = true;
        for (id, first) in &listed.on_host {
            let Some((first, its_mounts)) = first.and_then(|first| self.first(first)) else {
                is_known = false;
                continue;
            };
            if line.contains(&first) || its_mounts == mounts {
                return Some(Some(id));
            }
        }
        is_known.then_some(None)
    }

    /// A container's first process, and its mounts; `None` where the process of that number is none,
    /// because the Engine counts processes elsewhere: such a one is on the host's network, with
    /// mounts of its own.
    fn first(&self, pid: u32) -> Option<(u32, PathBuf)> {
        let own = |what: &str| fs::read_link(self.own.join("ns").join(what)).ok();
        let mounts = self.namespace(pid, "mnt")?;
        let is_it =
            self.namespace(pid, "net") == own("net") && Some(&mounts) != own("mnt").as_ref();
        is_it.then_some((pid, mounts))
    }

    fn namespace(&self, pid: u32, what: &str) -> Option<PathBuf> {
        fs::read_link(self.process(pid).join("ns").join(what)).ok()
    }

    fn text(&self, pid: u32, file: &str) -> Option<String> {
        fs::read_to_string(self.process(pid).join(file)).ok()
    }

    /// A process and its ancestors, as far as they are in this namespace of processes; `None` where
    /// one of them has gone.
    fn line(&self, pid: u32) -> Option<Vec<u32>> {
        let mut line = vec![pid];
        while line.len() < ANCESTORS {
            let stat = self.text(*line.last()?, "stat")?;
            // Number, name in brackets, state, parent (proc_pid_stat(5)); a name may hold anything.
            let (_, rest) = stat.rsplit_once(')')?;
            match rest.split_whitespace().nth(1)?.parse().ok()? {
                0 => break,
                parent => line.push(parent),
            }
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
    use std::os::unix::fs::symlink;

    use super::*;

    const WEB: &str = "4c01db0b339c4b31bb1e2bd63a7ea54d1f40f4a5e7ba4b0e52b8a5c1d2e3f405";
    const OWN: &str = "53b8675644514c01db0b339c4b31bb1e2bd63a7ea54d1f40f4a5e7ba4b0e52b8";

    /// Processes that are made up, below a directory.
    struct Made(tempfile::TempDir);

    impl Made {
        /// The one that asks is 2, on the host's network, with the host's mounts.
        fn new() -> Self {
            let made = Self(tempfile::tempdir().expect("a directory"));
            made.process(1, 0, "init", "/init.scope", "host", &[]);
            made.process(2, 1, "explain", "/user.slice", "host", &[]);
            made
        }

        fn process(&self, pid: u32, parent: u32, name: &str, group: &str, mnt: &str, fds: &[&str]) {
            let dir = self.0.path().join(pid.to_string());
            fs::create_dir_all(dir.join("ns")).expect("made");
            fs::create_dir_all(dir.join("fd")).expect("made");
            let put = |file: &str, text: String| fs::write(dir.join(file), text).expect("written");
            put("comm", format!("{name}\n"));
            put("stat", format!("{pid} ({name}) 1) S {parent} 7 7 0 -1"));
            put("cgroup", format!("4:memory:/\n0::{group}\n"));
            symlink("net:[1]", dir.join("ns/net")).expect("linked");
            symlink(format!("mnt:[{mnt}]"), dir.join("ns/mnt")).expect("linked");
            for inode in fds {
                let to = format!("socket:[{inode}]");
                symlink(to, dir.join("fd").join(inode)).expect("linked");
            }
        }

        fn belongs(&self, inodes: &[&str], listed: &Listed) -> HostPort {
            let system = System {
                proc: self.0.path().to_owned(),
                own: self.0.path().join("2"),
            };
            system.belongs(inodes, listed)
        }
    }

    fn listed(first: Option<u32>) -> Listed {
        Listed {
            ids: vec![WEB.to_owned(), OWN.to_owned()],
            on_host: [(OWN.to_owned(), first)].into(),
        }
    }

    fn containers(id: &str) -> HostPort {
        HostPort::Containers([id.to_owned()].into())
    }

    #[test]
    fn a_socket_belongs_to_the_container_of_its_process_or_to_the_host() {
        let made = Made::new();
        let sshd = Process {
            pid: 10,
            name: "sshd".to_owned(),
        };
        made.process(10, 1, "sshd", "/system.slice/ssh.service", "host", &["50"]);
        made.process(11, 10, "sshd", "/system.slice/ssh.service", "host", &["50"]);
        // The container's own, with a child, one of `docker exec`, and one in a group of its own.
        made.process(
            20,
            1,
            "shim",
            "/system.slice/containerd.service",
            "host",
            &[],
        );
        made.process(21, 20, "httpd", &format!("/docker/{OWN}"), "own", &["51"]);
        made.process(22, 21, "worker", "/elsewhere", "other", &["52"]);
        made.process(23, 20, "exec", "/elsewhere", "own", &["53"]);
        made.process(
            30,
            20,
            "web",
            &format!("/system.slice/docker-{WEB}.scope"),
            "web",
            &["54"],
        );
        let known = listed(Some(21));
        assert_eq!(made.belongs(&["50"], &known), HostPort::Own(sshd.clone()));
        for inode in ["51", "52", "53"] {
            assert_eq!(made.belongs(&[inode], &known), containers(OWN), "{inode}");
        }
        assert_eq!(made.belongs(&["54"], &known), containers(WEB));
        // One of several sockets of the port.
        assert_eq!(made.belongs(&["50", "51"], &known), containers(OWN));
        assert_eq!(
            made.belongs(&["50"], &Listed::default()),
            HostPort::Own(sshd)
        );
    }

    #[test]
    fn whose_a_socket_is_remains_unknown_without_a_holder_or_a_first_process() {
        let made = Made::new();
        made.process(10, 1, "sshd", "/ssh.service", "host", &["50"]);
        made.process(21, 1, "httpd", "/", "own", &[]);
        let unknown = |inodes: &[&str], first| {
            assert_eq!(made.belongs(inodes, &listed(first)), HostPort::Unknown);
        };
        // Nobody who may be seen has it.
        unknown(&["99"], Some(21));
        unknown(&["50", "99"], Some(21));
        // The Engine does not say it, or counts elsewhere: 10 and 2 have the host's mounts.
        for first in [None, Some(77), Some(10), Some(2)] {
            unknown(&["50"], first);
        }
        fs::remove_file(made.0.path().join("10/cgroup")).expect("there");
        unknown(&["50"], Some(21));
    }

    #[test]
    fn a_listener_of_this_process_is_found_with_its_name() {
        let Ok(socket) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return;
        };
        let port = |socket: &TcpListener| socket.local_addr().expect("bound").port();
        let waiting = sockets::here(Proto::Tcp).expect("readable").expect("known");
        let at = (Ipv6Addr::LOCALHOST, port(&socket));
        let mut fitting = waiting.iter().filter(|socket| socket.hears(at));
        let found = of_socket(&fitting.next().expect("it listens").inode);
        assert!(
            found.iter().any(|it| it.pid == std::process::id()),
            "{found:?}"
        );
        assert!(found.iter().all(|it| !it.name.is_empty()), "{found:?}");
        // It hears nobody else.
        let of_port = |proto, port| of_port(proto, port, Listed::default).expect("readable");
        assert_eq!(of_port(Proto::Tcp, at.1), HostPort::Free);
        assert_eq!(of_port(Proto::Sctp, at.1), HostPort::Unknown);
        let open = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        assert!(matches!(of_port(Proto::Tcp, port(&open)), HostPort::Own(_)));
    }
}
