//! A real Docker Engine on the lab's host: which one, [`release`] says.
//!
//! All it writes lies in the host's private `/run`, in memory, and in the control group that
//! the lab removes. It comes up in half a second.

use std::net::Ipv6Addr;
use std::process::{Child, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::lab::image;
use crate::support::lab::release;
use crate::support::lab::rules::{self, Published};
use crate::support::lab::talk::{Answer, Proto, ask_here};
use crate::support::lab::{Lab, PREFIX};
use crate::support::namespace;
use crate::support::process::{kill, signal, wait};
use crate::support::wait::{SOON, eventually, same};

/// How long an Engine may take to stop: it ends its containers first.
const STOP: Duration = Duration::from_secs(30);

/// docker-proxy, except for SCTP, whose sockets not every kernel has: then a process that says it
/// listens and does not. The Engine publishes the port like any other.
const PROXY: &str = r#"cat >/run/lab/docker-proxy <<'EOF'
#!/bin/sh
case "$*" in *"-proto sctp"*) echo 0 >&3; exec sleep infinity;; esac
exec docker-proxy "$@"
EOF
chmod +x /run/lab/docker-proxy"#;

/// dockerd, running or not, and its command line tool.
#[derive(Debug)]
pub(crate) struct Engine<'l> {
    lab: &'l Lab,
    own: Vec<String>,
    extra: Vec<String>,
    child: Option<Child>,
}

impl<'l> Engine<'l> {
    /// Starts an Engine with IPv6 on [`PREFIX`] and its own ip6tables off, `extra` arguments
    /// besides, and gives it the image `lab`.
    pub(crate) fn up(lab: &'l Lab, extra: &[&str]) -> Self {
        let mut engine = Self::down(lab, extra);
        engine.start();
        engine
    }

    /// The same, not started.
    pub(crate) fn down(lab: &'l Lab, extra: &[&str]) -> Self {
        let cgroup = format!("--cgroup-parent=/{}", lab.home().cgroup());
        let prefix = format!("--fixed-cidr-v6={PREFIX}");
        let own = [
            "--data-root=/run/lab/docker",
            "--userland-proxy-path=/run/lab/docker-proxy",
            "--ipv6",
            &prefix,
            &cgroup,
        ];
        lab.host().sh(PROXY);
        release::in_use().install(lab.host());
        let owned = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect();
        Self {
            lab,
            own: owned(&own),
            extra: owned(extra),
            child: None,
        }
    }

    /// Other `extra` arguments from the next start on.
    pub(crate) fn set_args(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|&arg| arg.to_owned()).collect();
    }

    /// Stops it as a service manager does, and starts it with other `extra` arguments.
    #[track_caller]
    pub(crate) fn restart_with(&mut self, extra: &[&str]) {
        self.stop();
        self.set_args(extra);
        self.start();
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        let args = self.own.iter().chain(&self.extra);
        let mut args: Vec<&str> = args.map(String::as_str).collect();
        if !args.iter().any(|arg| arg.starts_with("--ip6tables")) {
            args.extend(release::in_use().without_native());
        }
        let log = self.lab.log("dockerd");
        let mut child = self.lab.host().spawn("dockerd", &args, &log);
        let answered = eventually(SOON, "the Engine to answer", || {
            if let Some(status) = child.try_wait().expect("wait") {
                panic!("dockerd: {status}, see {}", log.display());
            }
            let version = ["docker", "version", "-f", "{{.Server.Version}}"];
            let answer = self.lab.host().output(&version);
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            answer.status.success().then_some(text).ok_or("no answer")
        });
        let version = release::in_use().version();
        assert!(answered.starts_with(version), "{version}: {answered}");
        self.child = Some(child);
        if self.docker(&["images", "-q", "lab"]).is_empty() {
            image::load(self.lab, &["docker"], "lab");
        }
    }

    /// Stops it as a service manager does.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let child = self.child.as_mut().expect("it runs");
        signal(child, Signal::TERM);
        wait(child, "dockerd", STOP);
        self.child = None;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, what: Signal) {
        signal(self.child.as_ref().expect("it runs"), what);
    }

    /// Kills it with its containerd, and clears the files that would block the next start.
    /// The containers go on.
    pub(crate) fn kill(&mut self) {
        kill(self.child.as_mut().expect("it runs"));
        self.child = None;
        self.lab
            .host()
            .sh("pid=$(cat /run/docker/containerd/containerd.pid)
             kill -9 $pid || :
             while kill -0 $pid 2>/dev/null; do sleep 0.02; done
             rm -f /run/docker.pid /run/docker/containerd/containerd.pid");
    }

    /// Stops it in its tracks (SIGSTOP): it accepts connections and says nothing.
    pub(crate) fn freeze(&self) {
        signal(self.child.as_ref().expect("it runs"), Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        signal(self.child.as_ref().expect("it runs"), Signal::CONT);
    }

    /// Runs `docker` with these arguments, which must succeed; its output, trimmed.
    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let out = self.lab.host().run(&[&["docker"], args].concat());
        out.trim().to_owned()
    }

    /// Runs `docker` with these arguments, whatever comes of it.
    pub(crate) fn try_docker(&self, args: &[&str]) -> Output {
        self.lab.host().output(&[&["docker"], args].concat())
    }

    /// Starts the container `name` with the options `publish`, serving what `serve` says
    /// (`tcp:80`, `udp:53`); its id.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, publish: &[&str], serve: &[&str]) -> String {
        // Process 1 ignores SIGTERM, and waiting for that would make every stop ten seconds long.
        let stop = "--stop-signal=KILL";
        let head = ["run", "-d", stop, "--name", name, "--hostname", name];
        self.docker(&[&head, publish, &["lab"], serve].concat())
    }

    /// Removes a container, running or not.
    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        self.docker(&["rm", "-f", name]);
    }

    /// Asks once from inside a container; `to` is `[ADDRESS]:PORT`.
    ///
    /// # Errors
    /// Nobody answered in time, in words.
    pub(crate) fn ask_inside(&self, name: &str, proto: Proto, to: &str) -> Result<Answer, String> {
        self.inside(name, || ask_here(proto, to, Ipv6Addr::UNSPECIFIED))
    }

    /// Runs `work` in the network namespace of a container.
    pub(crate) fn inside<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", name]);
        self.lab.host().enter(|| {
            namespace::enter(format!("/proc/{pid}/ns/net"));
            work()
        })
    }

    /// The container's address on the default bridge.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> Ipv6Addr {
        self.address_on(name, "bridge")
    }

    /// The container's address on a network.
    #[track_caller]
    pub(crate) fn address_on(&self, name: &str, network: &str) -> Ipv6Addr {
        let endpoint = format!("(index .NetworkSettings.Networks {network:?})");
        let field = format!("{{{{{endpoint}.GlobalIPv6Address}}}}");
        let text = self.docker(&["inspect", "-f", &field, name]);
        text.parse()
            .unwrap_or_else(|e| panic!("address {text:?} of {name}: {e}"))
    }

    /// Makes the bridge network `name` with IPv6 on `subnet`, and further options; its id.
    #[track_caller]
    pub(crate) fn network(&self, name: &str, subnet: &str, extra: &[&str]) -> String {
        let head = ["network", "create", "--ipv6", "--subnet", subnet];
        self.docker(&[&head, extra, &[name]].concat())
    }

    /// Starts the container `after`, whose port 9999 is the last thing that the daemon hears of,
    /// waits until exactly `others` are published beside it, and removes it.
    #[track_caller]
    pub(crate) fn settles(&self, what: &str, others: &[Published]) {
        // Events come in order: once this one's rule is there, those before would be.
        self.run("after", &["-p", "9999:80"], &["tcp:80"]);
        let to = format!("[{}]:80", self.address("after"));
        let mut expected = others.to_vec();
        expected.push(Published::new("eth0 tcp * 9999", to));
        expected.sort();
        eventually(SOON, what, || {
            same(rules::published(self.lab.host()), expected.clone())
        });
        self.remove("after");
        expected.retain(|rule| rule.from != "eth0 tcp * 9999");
        eventually(SOON, what, || {
            same(rules::published(self.lab.host()), expected.clone())
        });
    }
}

impl Drop for Engine<'_> {
    /// The containers go with the namespace.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill(child);
        }
    }
}
