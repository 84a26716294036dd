//! What was measured, as Markdown and as JSON.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

/// A figure: what it counts decides how it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    Ms(f64),
    Mib(f64),
    Count(f64),
    Times(f64),
}

impl Figure {
    pub(crate) fn number(self) -> f64 {
        match self {
            Self::Ms(n) | Self::Mib(n) | Self::Count(n) | Self::Times(n) => n,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Ms(ms) if ms >= 1000.0 => format!("{:.2} s", ms / 1e3),
            Self::Ms(ms) => format!("{ms:.1} ms"),
            Self::Mib(mib) => format!("{mib:.1} MiB"),
            Self::Count(count) => format!("{count:.0}"),
            Self::Times(times) => format!("{times:.2} ×"),
        }
    }
}

/// What a figure should be at the most.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtMost(Figure),
    /// So many times the floor.
    OfFloor(f64),
    /// Said plainly.
    None,
}

struct Row {
    what: String,
    backend: String,
    goal: Goal,
    /// Ours, then the peer's.
    figures: Vec<Option<Figure>>,
    floor: Option<Figure>,
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a row, and shows it at once.
    pub(crate) fn add(
        &mut self,
        backend: &str,
        what: impl Into<String>,
        goal: Goal,
        figures: Vec<Option<Figure>>,
        floor: Option<Figure>,
    ) {
        let row = Row {
            what: what.into(),
            backend: backend.to_owned(),
            goal,
            figures,
            floor,
        };
        eprint!("{}", row.line());
        self.0.push(row);
    }

    /// The sizes of the programs.
    pub(crate) fn binary<'p>(&mut self, programs: impl Iterator<Item = &'p str>) {
        let size = |program: &str| {
            let size = fs::metadata(program).ok()?.len();
            Some(Figure::Mib(size as f64 / f64::from(1 << 20)))
        };
        let goal = Goal::AtMost(Figure::Mib(7.0));
        let sizes = programs.map(size).collect();
        self.add("", "size of the program", goal, sizes, None);
    }

    pub(crate) fn markdown(&self) -> String {
        let head = "| what | backend | goal | measured | floor | peer | met |\n|---|---|---|---|---|---|---|\n";
        let lines: String = self.0.iter().map(Row::line).collect();
        format!("{head}{lines}")
    }

    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self.0.iter().map(Row::json).collect();
        Value::from(rows).to_string()
    }
}

impl Row {
    fn own(&self) -> Option<Figure> {
        self.figures.first().copied().flatten()
    }

    fn peer(&self) -> Option<Figure> {
        self.figures.get(1).copied().flatten()
    }

    fn most(&self) -> Option<f64> {
        match self.goal {
            Goal::AtMost(figure) => Some(figure.number()),
            Goal::OfFloor(times) => self.floor.map(|floor| floor.number() * times),
            Goal::None => None,
        }
    }

    fn is_met(&self) -> Option<bool> {
        Some(self.own()?.number() <= self.most()?)
    }

    fn line(&self) -> String {
        let text = |figure: Option<Figure>| figure.map_or("–".to_owned(), Figure::text);
        let goal = match self.goal {
            Goal::AtMost(figure) => format!("≤ {}", figure.text()),
            Goal::OfFloor(times) => format!("≤ {times} × floor"),
            Goal::None => "–".to_owned(),
        };
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        format!(
            "| {} | {} | {goal} | {} | {} | {} | {met} |\n",
            self.what,
            self.backend,
            text(self.own()),
            text(self.floor),
            text(self.peer()),
        )
    }

    fn json(&self) -> Value {
        let number = |figure: Option<Figure>| figure.map(Figure::number);
        json!({
            "what": self.what, "backend": self.backend, "goal": self.most(),
            "measured": number(self.own()), "floor": number(self.floor),
            "peer": number(self.peer()), "met": self.is_met(),
        })
    }
}

/// The middle one; `None` of none.
pub(crate) fn median(mut times: Vec<Duration>) -> Option<Figure> {
    times.sort();
    let middle = times.get(times.len() / 2)?;
    Some(Figure::Ms(middle.as_secs_f64() * 1e3))
}
