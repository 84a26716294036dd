//! What an operator feels, from one container to 60,000 ports, beside the least that it can take, in one
//! table. Needs root and Docker, as the lab does:
//!
//! `cargo bench --bench system -- [--rows NAME,…] [--backend nftables|ip6tables] [--program FILE]
//! [--peer 'COMMAND'] [--json FILE]`
//!
//! A row's name is the beginning of what `--rows` takes: `start`, `die`, `burst`, `ready`, `ports`, `scale`,
//! `idle`. `--program` measures another build than the one of this bench. With `--peer` another daemon is
//! measured in turn, on the same host and with the same containers: another build of this program, which
//! gets the arguments of ours, or a command with arguments of its own.
//!
//! The Engine is a real one where a row says start, die or burst, and a fake one elsewhere. The clock of an
//! event is the Engine's (`timeNano`), that of a rule the kernel's announcement of the last one. For the
//! rows with a fake Engine both are this host's: an event begins when the fake Engine sends it, and a rule
//! is there when the number of the last change of the kernel's tables has moved, which is read all the time:
//! announcements slow down large batches.
//!
//! The floor of a row is measured in the same run: in its own turns a probe takes the daemon's place, with
//! the daemon's priority, and does the least about each event. It reads the event, inspects once, writes once
//! to the disk and sends one bare batch, or runs ip6tables-restore once, all in one thread.
//!
//! A row that fails says what it waited for; the others are measured, and the exit code is 1.

#[path = "system/api.rs"]
mod api;
#[path = "apply/bare.rs"]
#[allow(dead_code, reason = "bench apply has more use for it")]
mod bare;
#[path = "system/ear.rs"]
mod ear;
#[path = "system/events.rs"]
mod events;
#[path = "system/floor.rs"]
mod floor;
#[path = "system/generation.rs"]
mod generation;
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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rows::Table;
use subject::Subject;

/// What `--rows` and `--backend` know.
const ROWS: [&str; 7] = ["start", "die", "burst", "ready", "ports", "scale", "idle"];
const BACKENDS: [&str; 2] = ["nftables", "ip6tables"];

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
            backends: BACKENDS.map(str::to_owned).into(),
            subjects: vec![Subject::own(support::PROGRAM)],
            json: None,
        };
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            let mut value = || {
                let value = args.next();
                value.unwrap_or_else(|| refuse(&format!("{arg} needs a value")))
            };
            match arg.as_str() {
                "--rows" => options.rows = value().split(',').map(str::to_owned).collect(),
                "--backend" => options.backends = vec![value()],
                "--program" => options.subjects[0] = Subject::own(&value()),
                "--peer" => options.subjects.push(Subject::peer(&value())),
                "--json" => options.json = Some(value()),
                _ => refuse(&format!(
                    "expected --rows, --backend, --program, --peer or --json, not {arg:?}"
                )),
            }
        }
        options.check();
        options
    }

    /// Refuses what could not be measured, before anything is.
    fn check(&self) {
        let known = |name: &String| ROWS.iter().any(|row| row.starts_with(name.as_str()));
        if let Some(row) = self.rows.iter().find(|row| !known(row)) {
            refuse(&format!("{row:?} is no row; there are {}", ROWS.join(", ")));
        }
        let other = |name: &&String| !BACKENDS.contains(&name.as_str());
        if let Some(backend) = self.backends.iter().find(other) {
            let all = BACKENDS.join(" and ");
            refuse(&format!("{backend:?} is no backend; there are {all}"));
        }
        if self.subjects.len() > 2 {
            refuse("the table has room for one --peer");
        }
        for subject in &self.subjects {
            let program = subject.program();
            // Without a slash it is looked for along the path.
            if program.contains('/')
                && let Err(error) = fs::metadata(program)
            {
                refuse(&format!("{program:?}: {error}"));
            }
        }
    }

    /// Whether rows of this name are wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| name.starts_with(row.as_str()))
    }
}

fn refuse(why: &str) -> ! {
    eprintln!("bench system: {why}");
    std::process::exit(2)
}

/// Something that adds rows.
type Measure = fn(&str, &Options, &mut Table);

fn main() {
    let options = Options::read();
    let began = Instant::now();
    let mut table = Table::default();
    let mut failed = Vec::new();
    let mut measure = |rows: &[&str], what: String, measure: &mut dyn FnMut(&mut Table)| {
        if !rows.iter().any(|row| options.wants(row)) {
            return;
        }
        let began = Instant::now();
        // The panic has said why; the other rows are measured all the same.
        let done = catch_unwind(AssertUnwindSafe(|| measure(&mut table))).is_ok();
        let word = if done { "took" } else { "failed after" };
        eprintln!("{what} {word} {:.0} s", began.elapsed().as_secs_f64());
        if !done {
            failed.push(what);
        }
    };
    for backend in &options.backends {
        let mut of_backend = |rows: &[&str], of: Measure| {
            let what = format!("{} with {backend}", rows.join(", "));
            measure(rows, what, &mut |table| of(backend, &options, table));
        };
        of_backend(&["start", "die", "burst"], events::measure);
        of_backend(&["ready"], scale::ready);
        of_backend(&["ports"], scale::ports);
        of_backend(&["scale"], scale::full);
    }
    measure(&["idle"], "idle".to_owned(), &mut |table| {
        idle::measure(&options, table);
    });
    table.binary(options.subjects.iter().map(Subject::program));
    print!("{}", table.markdown());
    let json = table.json();
    match &options.json {
        Some(file) => fs::write(file, json).expect("write the JSON"),
        None => println!("{json}"),
    }
    eprintln!("all rows took {:.0} s", began.elapsed().as_secs_f64());
    if !failed.is_empty() {
        eprintln!("bench system: not measured: {}", failed.join("; "));
        std::process::exit(1);
    }
}
