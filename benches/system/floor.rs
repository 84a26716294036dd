//! The least that a change takes: its parts, each done once by a probe.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::bare::Bare;
use crate::ear::connect;
use crate::support::lab::Lab;

/// Bytes that the journal needs for one port.
const RECORD: usize = 350;

/// What the probe needs.
pub(crate) struct Probe<'l> {
    lab: &'l Lab,
    bare: Bare,
    file: File,
}

impl<'l> Probe<'l> {
    pub(crate) fn new(lab: &'l Lab) -> Self {
        Self {
            lab,
            bare: lab.host().enter(Bare::new),
            file: File::create(lab.home().join("probe")).expect("a file"),
        }
    }

    /// One inspect of a container.
    pub(crate) fn inspect(&self, id: &str) -> Duration {
        self.lab.host().enter(|| {
            let began = Instant::now();
            let mut stream = connect();
            let head = "HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n";
            let request = format!("GET /v1.40/containers/{id}/json {head}");
            stream.write_all(request.as_bytes()).expect("asks");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("answers");
            began.elapsed()
        })
    }

    /// One write to the disk of what the journal keeps of so many ports.
    pub(crate) fn sync(&mut self, ports: usize) -> Duration {
        let began = Instant::now();
        self.file
            .write_all(&vec![1; ports * RECORD])
            .expect("writes");
        self.file.sync_data().expect("syncs");
        began.elapsed()
    }

    /// One batch that inserts so many forwards, and one that removes them.
    pub(crate) fn batches(&mut self, ports: usize) -> [Duration; 2] {
        let last = u16::try_from(ports).expect("a port");
        let began = Instant::now();
        self.bare.insert(1, last);
        let inserted = began.elapsed();
        let began = Instant::now();
        self.bare.delete(1, last);
        [inserted, began.elapsed()]
    }

    /// One run of ip6tables-restore that inserts so many forwards, and one that removes them.
    pub(crate) fn tools(&self, ports: usize) -> [Duration; 2] {
        let rules = |verb: &str| -> String {
            let rule = |port: usize| {
                format!(
                    "{verb} PREROUTING -i eth0 -p tcp --dport {port} -j DNAT --to-destination \
                     [fdfd:5898:4917:1::2]:{port} -m addrtype --dst-type LOCAL\n"
                )
            };
            let all: String = (1..=ports).map(rule).collect();
            format!("*nat\n{all}COMMIT\n")
        };
        ["-A", "-D"].map(|verb| {
            let input = self.lab.home().join("rules");
            std::fs::write(&input, rules(verb)).expect("writes");
            let input = "ip6tables-restore --noflush --wait </run/lab/home/rules";
            self.lab.host().enter(|| {
                let began = Instant::now();
                let done = std::process::Command::new("sh")
                    .args(["-c", input])
                    .status();
                assert!(done.expect("a shell").success());
                began.elapsed()
            })
        })
    }
}
