//! The least that a daemon can do about an event: a probe that does that and nothing else, with the same
//! containers, the same Engine and the same priority, heard by the same ear as the daemons.
//!
//! It reads the event, inspects once, writes once to the disk, and sends one bare batch or runs
//! ip6tables-restore once; at `die` only the last of these. One thread of this process, one event at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::nice;

use crate::api::{Subscription, host_ports};
use crate::bare::Bare;
use crate::subject::unit_nice;
use crate::support::lab::Lab;

/// Bytes that the journal needs for one rule.
const RECORD: usize = 350;

/// How often a large batch is measured.
const TIMES: usize = 5;

/// The least that so many ports of one container take, in and out, with nftables: one write to the disk
/// and bare batches of two elements for each port, then the batches that delete them.
pub(crate) fn of_many(lab: &Lab, ports: u16) -> (Duration, Duration) {
    let mut file = File::create(lab.home().join("probe")).expect("a file");
    let records = vec![1; usize::from(ports) * 2 * RECORD];
    let (mut into, mut out) = (Vec::new(), Vec::new());
    lab.host().enter(|| {
        let mut bare = Bare::new();
        for _ in 0..TIMES {
            let began = Instant::now();
            file.write_all(&records).expect("writes");
            file.sync_data().expect("syncs");
            let synced = began.elapsed();
            let began = Instant::now();
            bare.insert(1, ports);
            into.push(synced + 2 * began.elapsed());
            let began = Instant::now();
            bare.delete(1, ports);
            out.push(2 * began.elapsed());
        }
        bare.delete_table("bare");
    });
    let middle = |mut times: Vec<Duration>| {
        times.sort();
        times[TIMES / 2]
    };
    (middle(into), middle(out))
}

/// What the probe needs.
pub(crate) struct Probe<'l> {
    lab: &'l Lab,
    backend: &'l str,
    bare: Bare,
    file: File,
    /// DNAT rules that it makes of a port: one for what comes from outside, or another for the host and its
    /// containers.
    rules: u16,
}

impl<'l> Probe<'l> {
    pub(crate) fn new(lab: &'l Lab, backend: &'l str) -> Self {
        Self {
            lab,
            backend,
            bare: lab.host().enter(Bare::new),
            file: File::create(lab.home().join("probe")).expect("a file"),
            rules: 1,
        }
    }

    /// Does its work while `work` is done, with as many rules of a port as ours makes.
    pub(crate) fn during(&mut self, rules: usize, work: impl FnOnce()) {
        assert!((1..=2).contains(&rules), "{rules} DNAT rules of a port");
        self.rules = if rules == 1 { 1 } else { 2 };
        let subscription = Subscription::open(self.lab);
        let end = subscription.end();
        let host = self.lab.host();
        thread::scope(|scope| {
            let probe = scope.spawn(|| host.enter(|| self.follow(subscription)));
            // Also where `work` panics.
            let end = end;
            work();
            drop(end);
            ScopedJoinHandle::join(probe).expect("the probe");
        });
    }

    fn follow(&mut self, subscription: Subscription) {
        // Of this thread alone, and of the tool that it starts.
        nice(unit_nice().parse().expect("a number")).expect("root may");
        let mut open: HashMap<String, Vec<u16>> = HashMap::new();
        for event in subscription.events() {
            match event.action.as_str() {
                "start" => {
                    let ports = host_ports(&event.id);
                    self.sync(ports.len());
                    self.change(&ports, true);
                    open.insert(event.id, ports);
                }
                "die" => {
                    if let Some(ports) = open.remove(&event.id) {
                        self.change(&ports, false);
                    }
                }
                _ => {}
            }
        }
    }

    /// One write to the disk of what the journal keeps of so many ports.
    fn sync(&mut self, ports: usize) {
        let records = vec![1; ports * usize::from(self.rules) * RECORD];
        self.file.write_all(&records).expect("writes");
        self.file.sync_data().expect("syncs");
    }

    /// Ports in a row.
    fn change(&mut self, ports: &[u16], comes: bool) {
        if self.backend == "ip6tables" {
            return self.restore(ports, comes);
        }
        let [Some(first), Some(last)] = [ports.first(), ports.last()] else {
            return;
        };
        // One or two elements for each, all in one batch.
        let (first, last) = (first * self.rules, (last + 1) * self.rules - 1);
        match comes {
            true => self.bare.insert(first, last),
            false => self.bare.delete(first, last),
        }
    }

    /// One run of ip6tables-restore.
    fn restore(&self, ports: &[u16], comes: bool) {
        let verb = if comes { "-A" } else { "-D" };
        let chains = ["PREROUTING -i eth0", "OUTPUT"];
        let chains = &chains[..self.rules.into()];
        let rule = |port: &u16, chain: &str| {
            format!(
                "{verb} {chain} -p tcp --dport {port} -m addrtype --dst-type LOCAL \
                 -j DNAT --to-destination [fdfd:5898:4917:1::2]:{port}\n"
            )
        };
        let of_port = |port| chains.iter().map(move |chain| rule(port, chain));
        let all: String = ports.iter().flat_map(of_port).collect();
        let mut tool = Command::new("ip6tables-restore");
        let tool = tool.args(["--noflush", "--wait"]).stdin(Stdio::piped());
        let mut tool = tool.spawn().expect("ip6tables-restore");
        let mut stdin = tool.stdin.take().expect("it is piped");
        write!(stdin, "*nat\n{all}COMMIT\n").expect("writes");
        drop(stdin);
        assert!(tool.wait().expect("it ends").success(), "{all}");
    }
}
