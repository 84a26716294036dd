//! [`Lab`]: a host and a client, and how a test asks and looks.

pub(crate) mod daemon;
pub(crate) mod elements;
pub(crate) mod engine;
pub(crate) mod home;
pub(crate) mod image;
pub(crate) mod release;
pub(crate) mod rules;
pub(crate) mod sctp;
pub(crate) mod space;
pub(crate) mod talk;

use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::lab::home::Home;
use crate::support::lab::space::{Place, Space};
use crate::support::lab::talk::{Answer, Line, Proto, ask};
use crate::support::wait::{SOON, eventually, same};

/// The client's address on eth0, which containers should see.
pub(crate) const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// The client's address on eth1.
pub(crate) const CLIENT_ETH1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
/// The host's first address on eth0; `::11` and `::12` are two more.
pub(crate) const HOST: &str = "2001:db8::1";
/// The host's address on eth1.
pub(crate) const HOST_ETH1: &str = "2001:db8:1::1";
/// The containers' prefix on the default bridge.
pub(crate) const PREFIX: &str = "fdfd:5898:4917:1::/64";

/// A host and a client, joined by eth0 and eth1, gone without a trace when dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    // Before `home`: what the processes write is complete when the directory is kept.
    space: Option<Space>,
    home: Home,
    logs: AtomicU32,
}

impl Lab {
    /// Sets up the lab for the test `name`, which must be unique.
    pub(crate) fn up(name: &str) -> Self {
        let home = Home::new(name);
        let space = Space::new(&home.join(""));
        Self {
            space: Some(space),
            home,
            logs: AtomicU32::new(1),
        }
    }

    /// The network namespace of the Engine and the daemon.
    pub(crate) fn host(&self) -> Place<'_> {
        self.space().host()
    }

    /// The network namespace from which requests come.
    pub(crate) fn client(&self) -> Place<'_> {
        self.space().client()
    }

    /// The id of the process that holds the namespaces, as this machine sees it.
    pub(crate) fn init(&self) -> u32 {
        self.space().init()
    }

    /// Makes `ip6tables` mean its legacy variant on the host, as update-alternatives would.
    pub(crate) fn use_legacy_ip6tables(&self) {
        // In the lab's mounts only.
        self.host().sh(
            "cp -a /etc/alternatives /run/alternatives && cd /run/alternatives && \
             for tool in ip6tables ip6tables-save ip6tables-restore; do \
             ln -sfn /usr/sbin/ip6tables-legacy${tool#ip6tables} $tool; done && \
             mount --bind /run/alternatives /etc/alternatives",
        );
        let version = self.host().run(&["ip6tables", "--version"]);
        assert!(version.contains("legacy"), "{version}");
    }

    /// The directory that is kept when the test fails.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// A fresh log file for a run of `program`.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.home.join(&format!("{number:02}-{program}.log"))
    }

    /// Asks once from the client; `to` is `[ADDRESS]:PORT`.
    ///
    /// # Errors
    /// Nobody answered in time, in words: that is what closed means here.
    pub(crate) fn ask(&self, proto: Proto, to: &str) -> Result<Answer, String> {
        ask(self.client(), proto, to)
    }

    /// The container `name` answers on `to`, and sees `peer` as the one who asks: its packets
    /// were rewritten in the kernel and not relayed by docker-proxy.
    #[track_caller]
    pub(crate) fn answers(&self, proto: Proto, to: &str, name: &str, peer: Ipv6Addr) {
        let expected = Answer {
            name: name.to_owned(),
            peer: peer.into(),
        };
        eventually(SOON, &format!("{name} to answer on {proto:?} {to}"), || {
            same(self.ask(proto, to), Ok(expected.clone()))
        });
    }

    /// Nobody answers on `to` any more.
    #[track_caller]
    pub(crate) fn is_closed(&self, proto: Proto, to: &str) {
        eventually(
            SOON,
            &format!("{proto:?} {to} to be closed"),
            || match self.ask(proto, to) {
                Ok(answer) => Err(answer),
                Err(_) => Ok(()),
            },
        );
    }

    /// Opens a connection from the client and keeps it.
    pub(crate) fn connect(&self, to: &str) -> Line {
        Line::open(self.client(), to)
    }

    fn space(&self) -> &Space {
        self.space.as_ref().expect("it is there until drop")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed && let Some(space) = &self.space {
            let _ = fs::write(self.home.join("rulesets"), rules::all(space.host()));
        }
        self.space = None;
        self.home.close(failed);
    }
}
