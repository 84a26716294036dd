//! A host with a client before it and two containers behind it, each a network namespace, and
//! real flows between them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use docker_nat66::conntrack::{Conntrack, Flow};
use docker_nat66::model::forward::Proto;
use docker_nat66::sys::host;

use crate::support::namespace;
use crate::support::shell::sh;

/// The containers.
pub(crate) const ONE: &str = "fdfd:5898:4917:1::2";
pub(crate) const TWO: &str = "fdfd:5898:4917:1::3";
/// The host, as the client sees it.
pub(crate) const HOST: &str = "2001:db8::1";
/// The published port; the containers' is 80.
pub(crate) const PORT: u16 = 8080;

/// Longer than any answer takes, even of busy cores: what has not come by then does not come.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

const SETUP: &str = "set -e
cd /proc/sys/net/ipv6/conf
echo 0 >all/accept_dad; echo 0 >default/accept_dad; echo 1 >all/forwarding
ip link set lo up
ip link add br0 type bridge
ip addr add fdfd:5898:4917:1::1/64 dev br0 nodad
ip link set br0 up
add() {
  ip netns add $1
  ip link add $2 type veth peer name eth0 netns $1
  ip link set $2 up
  ip -n $1 link set lo up
  ip -n $1 addr add $3 dev eth0 nodad
  ip -n $1 link set eth0 up
}
add client eth0 2001:db8::2/64
ip addr add 2001:db8::1/64 dev eth0 nodad
add one veth1 fdfd:5898:4917:1::2/64
add two veth2 fdfd:5898:4917:1::3/64
for n in 1 2; do ip link set veth$n master br0; done
ip -n client route add default via 2001:db8::1
ip -n one route add default via fdfd:5898:4917:1::1
ip -n two route add default via fdfd:5898:4917:1::1
";

/// Makes it all around the calling process, which is the host; see [`crate::support::namespace::fresh`].
pub(crate) fn build() {
    sh(SETUP);
}

/// The rule that forwards the published port to a container.
pub(super) fn rule(proto: Proto, target: &str) -> String {
    format!(
        "PREROUTING -i eth0 -p {proto} --dport {PORT} -j DNAT --to-destination [{target}]:80 \
         -m addrtype --dst-type LOCAL"
    )
}

/// The whole nat table, all at once: rules that always stand, without which the kernel would
/// neither track nor rewrite anything, and these.
pub(super) fn rules(rules: &[String]) {
    let lines: String = rules.iter().map(|rule| format!("-A {rule}\n")).collect();
    sh(&format!(
        "ip6tables-restore <<'E'\n*nat\n\
         -A PREROUTING -p tcp --dport 9 -j DNAT --to-destination [{ONE}]:9\n\
         -A POSTROUTING -o eth0 -s fdfd:5898:4917:1::/64 -j MASQUERADE\n\
         {lines}COMMIT\nE\n"
    ));
}

/// The published port on any address, leading to `target`.
pub(super) fn flow(proto: Proto, target: &str) -> Flow {
    Flow {
        proto,
        host_addr: None,
        host_port: PORT,
        target: (target.parse().expect("an address"), 80),
    }
}

/// The flows of the host.
pub(super) fn conntrack() -> Conntrack {
    Conntrack::new(host::addresses)
}

/// Runs `work` in a thread inside a namespace; sockets made there stay there.
pub(crate) fn inside<T: Send>(place: &str, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        namespace::enter(format!("/run/netns/{place}"));
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join().expect("no panic"))
}

fn any(port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0)
}

/// Where the client finds the published port.
fn published() -> SocketAddrV6 {
    SocketAddrV6::new(HOST.parse().expect("an address"), PORT, 0, 0)
}

/// Answers each datagram with `name`, until the process ends.
fn serve_udp(socket: UdpSocket, name: &'static str) {
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

/// A UDP server in each container that answers with its name.
pub(super) fn serve_udp_in_containers() {
    for name in ["one", "two"] {
        let bound = inside(name, || UdpSocket::bind(any(80)));
        serve_udp(bound.expect("a free port"), name);
    }
}

/// A UDP server on the host's published port: docker-proxy.
pub(super) fn serve_udp_on_the_host() {
    serve_udp(UdpSocket::bind(any(PORT)).expect("a free port"), "proxy");
}

/// A TCP server in container `one` that sends back what it gets.
pub(crate) fn serve_tcp_in_a_container() {
    serve_tcp(inside("one", || TcpListener::bind(any(80))).expect("a free port"));
}

/// A TCP server on the host's published port: docker-proxy.
pub(super) fn serve_tcp_on_the_host() {
    serve_tcp(TcpListener::bind(any(PORT)).expect("a free port"));
}

fn serve_tcp(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A client's UDP flow to the published port.
pub(super) struct Udp(UdpSocket);

impl Udp {
    pub(crate) fn begin() -> Self {
        let socket = inside("client", || UdpSocket::bind(any(0))).expect("a socket");
        socket.connect(published()).expect("a route");
        Self(socket)
    }

    /// Who answers one datagram, within `patience`.
    pub(super) fn ask_for(&self, patience: Duration) -> io::Result<String> {
        self.0.send(b"who")?;
        self.hear(patience)
    }

    /// Who answers what was sent before.
    pub(super) fn hear(&self, patience: Duration) -> io::Result<String> {
        self.0.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    pub(crate) fn ask(&self) -> io::Result<String> {
        self.ask_for(ANSWER)
    }
}

/// A client's TCP connection to the published port.
pub(crate) struct Tcp(TcpStream);

impl Tcp {
    pub(crate) fn begin() -> Self {
        let stream = inside("client", || TcpStream::connect(published())).expect("connects");
        stream.set_read_timeout(Some(ANSWER)).expect("a timeout");
        Self(stream)
    }

    /// Sends something and waits for it to come back.
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        self.0.write_all(b"who")?;
        self.0.read_exact(&mut [0; 3])
    }
}
