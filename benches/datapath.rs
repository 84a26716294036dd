//! What a packet pays for the forwards of others: connections a second through the last of
//! 10,000 forwards, beside those through the only one. Needs root; `benches/datapath` runs it.
//!
//! ```text
//!   client ── eth0 2001:db8::2 ═══ 2001:db8::1 eth0 ── host ── eth1 fdfd::1 ═══ fdfd::2 ── server
//! ```
//!
//! Three network namespaces of its own, each of a thread; the rules are made by the backends. A
//! connection is opened, seen to be accepted by the peer's kernel, and reset: the first packet
//! asks the rules, the others do not. Both tables take turns, so that whatever else the machine
//! does slows down both.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests have more than is needed here")]
mod support;

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use docker_nat66::backend::ip6tables::{Ip6tables, ToolSettings};
use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::backend::{Backend, Batch, ObservedRule, compile};
use docker_nat66::model::rule::{BackendKind, Rule};
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{UnshareFlags, gettid};
use support::namespace::leave;

/// Forwards of the full table; the last one is measured.
const FULL: u16 = 10_000;

/// Connections of one turn.
const CONNECTS: usize = 2_000;

/// The port inside, and the one forward that leads there: the others lead to a closed one.
const SERVED: u16 = 80;

const CLIENT: &str = "2001:db8::2";
const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const SERVER: Ipv6Addr = Ipv6Addr::new(0xfdfd, 0, 0, 0, 0, 0, 0, 2);

fn main() {
    leave(UnshareFlags::NEWNET);
    let client = Client::start();
    let server = serve();
    set_up(&client.place, &server);
    println!(
        "{:<26} {:>14} {:>14} {:>7}  goal",
        "connections a second", "the only one", "last of 10000", "ratio"
    );
    let table = Nftables::detect(TableSettings::default()).expect("nftables");
    measure(Box::new(table), &client, 31, Some(0.95));
    let tool = Ip6tables::detect(ToolSettings::default()).expect("ip6tables");
    measure(Box::new(tool), &client, 3, None);
}

/// Alternates between one forward and many.
fn measure(mut backend: Box<dyn Backend>, client: &Client, rounds: usize, goal: Option<f64>) {
    let kind = backend.kind();
    let last = [forward(kind, FULL, SERVED)];
    // What is listed first is asked first.
    let others: Vec<Rule> = (1..FULL).map(|port| forward(kind, port, 1)).collect();
    insert(backend.as_mut(), &statics(kind));
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        insert(backend.as_mut(), &last);
        one.push(client.connects(FULL));
        remove(backend.as_mut());
        insert(backend.as_mut(), &others);
        insert(backend.as_mut(), &last);
        many.push(client.connects(FULL));
        remove(backend.as_mut());
    }
    let all = backend.list().expect("lists");
    commit(
        backend.as_mut(),
        Batch {
            remove: all,
            insert: Vec::new(),
        },
    );
    let (one, many) = (median(one), median(many));
    let ratio = many / one;
    let goal = goal.map_or_else(String::new, |least| {
        let met = if ratio >= least { "met" } else { "MISSED" };
        format!("{least} {met}")
    });
    println!(
        "{:<26} {one:>14.0} {many:>14.0} {ratio:>7.3}  {goal}",
        kind.as_str()
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rule(backend: BackendKind, text: &str) -> Rule {
    compile::rule(backend, text).expect("a rule of ours")
}

fn forward(backend: BackendKind, host_port: u16, target_port: u16) -> Rule {
    let text = match backend {
        BackendKind::Nftables => {
            format!("forwards {{ tcp . {host_port} : {SERVER} . {target_port} }}")
        }
        BackendKind::Ip6tables => format!(
            "nat PREROUTING -i eth0 -p tcp --dport {host_port} -j DNAT \
             --to-destination [{SERVER}]:{target_port} -m addrtype --dst-type LOCAL"
        ),
    };
    rule(backend, &text)
}

fn statics(backend: BackendKind) -> Vec<Rule> {
    match backend {
        BackendKind::Nftables => ["egress { \"eth0\" }", "prefixes { fdfd::/64 }"]
            .map(|text| rule(backend, text))
            .into(),
        BackendKind::Ip6tables => Vec::new(),
    }
}

fn insert(backend: &mut dyn Backend, rules: &[Rule]) {
    let insert = rules.to_vec();
    backend.list().expect("lists");
    commit(
        backend,
        Batch {
            remove: Vec::new(),
            insert,
        },
    );
}

/// Removes all forwards.
fn remove(backend: &mut dyn Backend) {
    let is_dnat =
        |seen: &ObservedRule| seen.rule.as_ref().is_some_and(|rule| rule.dnat().is_some());
    let mut remove = backend.list().expect("lists");
    remove.retain(is_dnat);
    commit(
        backend,
        Batch {
            remove,
            insert: Vec::new(),
        },
    );
}

fn commit(backend: &mut dyn Backend, batch: Batch) {
    backend.commit(&batch).expect("commits");
}

/// A thread in a network namespace of its own, that connects when it is asked to.
struct Client {
    place: PathBuf,
    ask: Sender<u16>,
    answer: Receiver<f64>,
}

impl Client {
    fn start() -> Self {
        let (ask, asked) = channel();
        let (tell, answer) = channel();
        let place = started(move || {
            for port in asked {
                if tell.send(connect_all(port)).is_err() {
                    return;
                }
            }
        });
        Self { place, ask, answer }
    }

    /// Connections a second.
    fn connects(&self, port: u16) -> f64 {
        self.ask.send(port).expect("it runs");
        self.answer.recv().expect("it runs")
    }
}

fn connect_all(port: u16) -> f64 {
    let to = SocketAddr::from((HOST, port));
    let patience = Duration::from_secs(5);
    let connect = || {
        let stream = TcpStream::connect_timeout(&to, patience).expect("connects");
        // Closed with a reset: no port waits.
        set_socket_linger(&stream, Some(Duration::ZERO)).expect("lingers");
    };
    (0..CONNECTS / 10).for_each(|_| connect());
    let began = Instant::now();
    (0..CONNECTS).for_each(|_| connect());
    CONNECTS as f64 / began.elapsed().as_secs_f64()
}

/// A thread in a network namespace of its own that accepts and closes.
fn serve() -> PathBuf {
    started(|| {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, SERVED)).expect("listens");
        for stream in listener.incoming() {
            // One that was reset before it was taken is an error, and nothing else.
            drop(stream);
        }
    })
}

/// Starts a thread in a new network namespace, and says where to find that.
fn started(work: impl FnOnce() + Send + 'static) -> PathBuf {
    let (tell, told) = channel();
    thread::spawn(move || {
        leave(UnshareFlags::NEWNET);
        let place = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid());
        tell.send(PathBuf::from(place)).expect("is waited for");
        work();
    });
    told.recv().expect("a namespace")
}

/// Links, addresses and routes. Run by this thread, in the host's namespace.
fn set_up(client: &Path, server: &Path) {
    let script = format!(
        "set -e
        sysctl -qw net.ipv6.conf.all.forwarding=1
        ip link set lo up
        for n in 0 1; do ip link add eth$n type veth peer name peer$n; done
        ip link set peer0 netns {client}
        ip link set peer1 netns {server}
        ip addr add 2001:db8::1/64 dev eth0 nodad
        ip addr add fdfd::1/64 dev eth1 nodad
        ip link set eth0 up
        ip link set eth1 up
        nsenter --net={client} sh -ec '
            ip addr add {CLIENT}/64 dev peer0 nodad; ip link set peer0 up
            ip link set lo up'
        nsenter --net={server} sh -ec '
            ip addr add {SERVER}/64 dev peer1 nodad; ip link set peer1 up
            ip link set lo up; ip -6 route add default via fdfd::1'",
        client = client.display(),
        server = server.display(),
    );
    let done = Command::new("sh").args(["-c", &script]).status();
    assert!(done.expect("a shell").success());
}
