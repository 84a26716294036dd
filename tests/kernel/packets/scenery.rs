//! The rules of a policy in the kernel, servers that say whom they see, and those who ask.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use docker_nat66::backend::Backend;
use docker_nat66::backend::compile;
use docker_nat66::backend::ip6tables::{Ip6tables, Variant};
use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::model::change::ChangeSet;
use docker_nat66::model::forward::{Forward, Owner, Proto, Sources};
use docker_nat66::model::intent::{Intent, Policy};
use docker_nat66::model::rule::{BackendKind, Rule};
use rustix::net::{AddressFamily, SocketType, ipproto};

use super::super::flows::scenery::{self, ONE, PORT};
use crate::real::{name, tools};
use crate::support::contract::rules::{insertion, removal};
use crate::support::shell::sh;

/// The client, and a second address of it.
pub(crate) const CLIENT: &str = "2001:db8::2";
pub(super) const STRANGER: &str = "2001:db8::3";
/// A second address of the host.
pub(super) const HOST_TOO: &str = "2001:db8::11";
/// The host's end of the bridge.
pub(super) const BRIDGE: &str = "fdfd:5898:4917:1::1";
/// A container's address, on the client.
pub(super) const SPOOFED: &str = "fdfd:5898:4917:1::99";
/// Behind the client, as the host's routes have it.
pub(super) const BEYOND: &str = "2001:db8:5::1";
/// What the containers serve: published, and not.
pub(super) const SERVED: u16 = 80;
pub(super) const HIDDEN: u16 = 81;

/// Longest wait for an answer that is expected: neighbours are found meanwhile.
const ANSWER: Duration = Duration::from_secs(5);

/// How long one attempt takes, unless it is patient. A round trip takes microseconds, one with a
/// neighbour to be found some more.
const ATTEMPT: Duration = Duration::from_millis(300);

/// The namespaces of [`scenery::build`] with more addresses, none of which is used unasked, and
/// servers for TCP and UDP: both ports in both containers, one behind the client. Nothing serves
/// the host's published port.
pub(crate) fn build() {
    scenery::build();
    sh(&format!(
        "ip addr add {HOST_TOO}/64 dev eth0 nodad preferred_lft 0
         ip -n client addr add {STRANGER}/64 dev eth0 nodad preferred_lft 0
         ip -n client addr add {SPOOFED}/128 dev lo nodad
         ip -n client addr add {BEYOND}/128 dev lo nodad
         ip route add 2001:db8:5::/64 via {CLIENT}"
    ));
    for container in ["one", "two"] {
        for port in [SERVED, HIDDEN] {
            serve(Some(container), container, port);
        }
    }
    serve(Some("client"), "client", SERVED);
}

/// Runs `work` in a namespace, or here, which is the host.
fn at<T: Send>(place: Option<&str>, work: impl FnOnce() -> T + Send) -> T {
    match place {
        Some(namespace) => scenery::inside(namespace, work),
        None => work(),
    }
}

/// Answers with `who` and the client's address, until the process ends.
pub(super) fn serve(place: Option<&str>, who: &'static str, port: u16) {
    let any = (Ipv6Addr::UNSPECIFIED, port);
    let sockets = at(place, || (TcpListener::bind(any), UdpSocket::bind(any)));
    let (tcp, udp) = (sockets.0.expect("free"), sockets.1.expect("free"));
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            if let Ok(peer) = stream.peer_addr() {
                let _ = stream.write_all(format!("{who} {}", peer.ip()).as_bytes());
            }
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(format!("{who} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// Somebody who asks from an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(super) place: Option<&'static str>,
    pub(super) from: &'static str,
    /// How long one attempt takes.
    patience: Duration,
}

/// The client by its first address.
pub(crate) fn client() -> Asker {
    Asker {
        place: Some("client"),
        from: CLIENT,
        patience: ATTEMPT,
    }
}

pub(super) fn asker(place: Option<&'static str>, from: &'static str) -> Asker {
    Asker {
        place,
        from,
        patience: ATTEMPT,
    }
}

fn socket_addr(addr: &str, port: u16) -> SocketAddr {
    SocketAddrV6::new(addr.parse().expect("an address"), port, 0, 0).into()
}

impl Asker {
    /// One who waits for an answer for as long as a busy machine may take. A packet that is lost is
    /// never answered.
    pub(crate) fn patient(self) -> Self {
        Self {
            patience: ANSWER,
            ..self
        }
    }

    /// Asks once; who answered, and whom it saw.
    pub(crate) fn ask(self, proto: Proto, to: &str, port: u16) -> io::Result<String> {
        let to = socket_addr(to, port);
        at(self.place, || match proto {
            Proto::Tcp => self.ask_tcp(to),
            _ => self.ask_udp(to),
        })
    }

    fn ask_tcp(self, to: SocketAddr) -> io::Result<String> {
        let socket = rustix::net::socket_with(
            AddressFamily::INET6,
            SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
            Some(ipproto::TCP),
        )?;
        rustix::net::bind(&socket, &socket_addr(self.from, 0))?;
        match rustix::net::connect(&socket, &to) {
            Err(rustix::io::Errno::INPROGRESS) | Ok(()) => {}
            Err(e) => return Err(e.into()),
        }
        let mut ready = [rustix::event::PollFd::new(
            &socket,
            rustix::event::PollFlags::OUT,
        )];
        let patience = self.patience.try_into().expect("short");
        if rustix::event::poll(&mut ready, Some(&patience))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        rustix::net::sockopt::socket_error(&socket)??;
        let mut stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(self.patience))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn ask_udp(self, to: SocketAddr) -> io::Result<String> {
        let socket = UdpSocket::bind(socket_addr(self.from, 0))?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.connect(to)?;
        socket.send(b"who")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Both protocols are answered by `who`, who sees `peer`.
    #[track_caller]
    pub(crate) fn is_answered(self, to: &str, port: u16, who: &str, peer: &str) {
        for proto in [Proto::Tcp, Proto::Udp] {
            let begun = Instant::now();
            let answer = loop {
                match self.ask(proto, to, port) {
                    Err(_) if begun.elapsed() < ANSWER => {}
                    answer => break answer,
                }
            };
            let expected = format!("{who} {peer}");
            assert!(
                answer.as_ref().is_ok_and(|answer| *answer == expected),
                "{proto} [{to}]:{port} from {self:?}: {answer:?}, not {expected}\n{}",
                sh("ip6tables-save -c; ip6tables-legacy-save -c; nft list ruleset"),
            );
        }
    }

    /// Neither protocol is answered, nor refused: the packets are dropped.
    #[track_caller]
    pub(crate) fn is_ignored(self, to: &str, port: u16) {
        for proto in [Proto::Tcp, Proto::Udp] {
            let outcome = self.ask(proto, to, port).map_err(|e| e.kind());
            let silent = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
            assert!(
                outcome.as_ref().is_err_and(|kind| silent.contains(kind)),
                "{proto} [{to}]:{port} from {self:?}: {outcome:?}",
            );
        }
    }

    /// Neither protocol is answered, in whatever way.
    #[track_caller]
    pub(crate) fn gets_nothing(self, to: &str, port: u16) {
        for proto in [Proto::Tcp, Proto::Udp] {
            let answer = self.ask(proto, to, port);
            assert!(
                answer.is_err(),
                "{proto} [{to}]:{port} from {self:?}: {answer:?}"
            );
        }
    }
}

/// The usual policy: eth0, the bridge's prefix, unpublished ports closed, no hairpin.
pub(crate) fn policy() -> Policy {
    Policy {
        devices: vec!["eth0".parse().expect("valid")],
        prefixes: vec!["fdfd:5898:4917:1::/64".parse().expect("valid")],
        ..Policy::default()
    }
}

/// The published port, TCP and UDP, leading to container one for these sources.
pub(crate) fn forwards(sources: &Sources) -> Vec<Forward> {
    let owner = Owner::new("1".repeat(64), "one", "bridge");
    let forward = |proto| Forward {
        proto,
        host_addr: None,
        host_port: PORT,
        container_addr: ONE.parse().expect("an address"),
        container_port: SERVED,
        sources: sources.clone(),
        owner: owner.clone(),
    };
    [Proto::Tcp, Proto::Udp].map(forward).into()
}

/// A backend, and `ip6tables` for whatever else stands in the same tables or beside.
pub(crate) struct Firewall {
    backend: Box<dyn Backend>,
    tool: String,
    _dir: tempfile::TempDir,
}

impl Firewall {
    /// Runs `case` with both variants of ip6tables and with nftables, one after the other, and
    /// empties the tables in between.
    pub(crate) fn each(case: impl Fn(&mut Self)) {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (dir, settings) = tools(variant);
            let backend = Ip6tables::detect(settings).expect("usable");
            Self::run_case(&case, Box::new(backend), variant, dir);
        }
        let (dir, _) = tools(Variant::Nft);
        let backend = Nftables::detect(TableSettings::default()).expect("usable");
        Self::run_case(&case, Box::new(backend), Variant::Nft, dir);
    }

    fn run_case(
        case: &impl Fn(&mut Self),
        backend: Box<dyn Backend>,
        variant: Variant,
        dir: tempfile::TempDir,
    ) {
        let mut firewall = Self {
            backend,
            tool: format!("ip6tables-{}", name(variant)),
            _dir: dir,
        };
        case(&mut firewall);
        firewall.unset();
        firewall.clear();
    }

    /// What it is made with, and used for the packets of others.
    pub(crate) fn of(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            tool: "ip6tables-nft".to_owned(),
            _dir: tempfile::tempdir().expect("temp dir"),
        }
    }

    /// The backend.
    pub(crate) fn backend(&mut self) -> &mut dyn Backend {
        self.backend.as_mut()
    }

    /// The tool of the others.
    pub(crate) fn tool(&self) -> &str {
        &self.tool
    }

    /// Which kind of backend it is.
    pub(crate) fn kind(&self) -> BackendKind {
        self.backend.kind()
    }

    /// Closes the FORWARD chain of others, where an accept of ours can overrule that: one in a
    /// table of our own cannot.
    pub(super) fn close_forward(&self) {
        if self.kind() == BackendKind::Ip6tables {
            self.run("-P FORWARD DROP");
        }
    }

    /// Empties all tables of others.
    pub(super) fn clear(&self) {
        for table in ["filter", "nat", "raw", "mangle"] {
            self.run(&format!("-t {table} -F"));
            self.run(&format!("-t {table} -X"));
        }
        self.run("-P FORWARD ACCEPT");
        // Flows do not go with their rules.
        forget_flows();
    }

    /// Runs `ip6tables` with these arguments.
    #[track_caller]
    pub(super) fn run(&self, args: &str) -> String {
        sh(&format!("{} {args}", self.tool))
    }

    /// Puts in what is desired, in one batch and in the daemon's order.
    #[track_caller]
    pub(crate) fn set(&mut self, policy: &Policy, forwards: &[Forward]) {
        self.set_without(policy, forwards, |_| false);
    }

    /// The same, with some rules missing.
    #[track_caller]
    pub(super) fn set_without(
        &mut self,
        policy: &Policy,
        forwards: &[Forward],
        missing: impl Fn(&Rule) -> bool,
    ) {
        let none = std::collections::BTreeMap::new();
        let intent = Intent::new(policy.clone(), Some(forwards.to_vec()));
        let change = ChangeSet::between(&compile::desired(self.kind(), &intent), &none);
        let wanted = change.insert.into_iter();
        let wanted = wanted.filter(|owned| !missing(&owned.rule));
        let rules: Vec<_> = wanted.map(|owned| owned.rule).collect();
        self.backend.list().expect("certain");
        assert_eq!(self.backend.commit(&insertion(&rules)), Ok(()));
    }

    /// Takes out every rule of ours.
    #[track_caller]
    pub(crate) fn unset(&mut self) {
        let all = removal(self.backend.as_mut(), |_| true);
        assert_eq!(self.backend.commit(&all), Ok(()));
        forget_flows();
    }
}

fn forget_flows() {
    sh("conntrack -F 2>/dev/null || :");
}
