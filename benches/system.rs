//! What an operator feels, from one container to 60,000 ports, beside the least that it can take, in one
//! table. Needs root and Docker, as the lab does:
//!
//! `cargo bench --bench system -- [--rows NAME,…] [--backend nftables|ip6tables] [--peer 'COMMAND'] [--json FILE]`
//!
//! A row's name is the beginning of what `--rows` takes: `start`, `die`, `burst`, `ready`, `ports`, `scale`,
//! `idle`. With `--peer` another daemon is measured in turn, on the same host and with the same
//! containers; if its program is called `docker-nat66` it gets the arguments of ours.
//!
//! The Engine is a real one where a row says start, die or burst, and a fake one for scale. The clock
//! of an event is the Engine's (`timeNano`), that of a rule the kernel's announcement, or above 100 ports
//! the daemon's log, since announcements slow down large batches. The floor of a row is measured in the
//! same run by a probe, which does the least with the same containers: it reads the event, inspects once,
//! writes once to the disk and sends one bare batch, or runs ip6tables-restore once.

#[path = "apply/bare.rs"]
#[allow(dead_code, reason = "bench apply has more use for it")]
mod bare;
#[path = "system/ear.rs"]
mod ear;
#[path = "system/events.rs"]
mod events;
#[path = "system/floor.rs"]
mod floor;
#[path = "system/idle.rs"]
mod idle;
#[path = "system/rows.rs"]
mod rows;
#[path = "system/scale.rs"]
mod scale;
#[path = "system/subject.rs"]
mod subject;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests have more than is needed here")]
mod support;

use std::fs;

use rows::Table;
use subject::Subject;

/// What the command line asks for.
pub(crate) struct Options {
    rows: Vec<String>,
    backends: Vec<String>,
    subjects: Vec<Subject>,
    json: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            rows: Vec::new(),
            backends: ["nftables", "ip6tables"].map(str::to_owned).into(),
            subjects: vec![Subject::own()],
            json: None,
        };
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--rows" => options.rows = value().split(',').map(str::to_owned).collect(),
                "--backend" => options.backends = vec![value()],
                "--peer" => options.subjects.push(Subject::peer(&value())),
                "--json" => options.json = Some(value()),
                _ => panic!("expected --rows, --backend, --peer or --json, not {arg}"),
            }
        }
        options
    }

    /// Whether rows of this name are wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| name.starts_with(row.as_str()))
    }
}

fn main() {
    let options = Options::read();
    let mut table = Table::default();
    for backend in &options.backends {
        if ["start", "die", "burst"]
            .iter()
            .any(|row| options.wants(row))
        {
            events::measure(backend, &options, &mut table);
        }
        if options.wants("ready") {
            scale::ready(backend, &options, &mut table);
        }
        if options.wants("ports") {
            scale::ports(backend, &options, &mut table);
        }
        if options.wants("idle") {
            idle::measure(backend, &options, &mut table);
        }
        // More than ip6tables takes.
        if options.wants("scale") && backend == "nftables" {
            scale::full(backend, &options, &mut table);
        }
    }
    table.binary(support::PROGRAM);
    print!("{}", table.markdown());
    let json = table.json();
    match &options.json {
        Some(file) => fs::write(file, json).expect("write the JSON"),
        None => println!("{json}"),
    }
}
