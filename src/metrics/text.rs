//! Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write;

use crate::control::histogram::Histogram;

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, and begins at zero with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    Histogram,
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// Labels and their values, which are escaped when they are written.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// Begins a family. Its samples follow.
    pub(super) fn family<'t>(
        &'t mut self,
        name: &'static str,
        kind: Kind,
        help: &str,
    ) -> Family<'t> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { text: self, name }
    }

    /// The whole.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// The family that the next samples belong to.
pub(super) struct Family<'t> {
    text: &'t mut Text,
    name: &'static str,
}

impl Family<'_> {
    /// One sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Into<Value>) {
        self.row("", labels, value.into());
    }

    /// The samples of a histogram, in seconds.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let bounds = Histogram::BOUNDS.map(|micros| (micros as f64 / 1e6).to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        let mut total = 0;
        for (bound, count) in bounds.zip(histogram.cumulative()) {
            let labels = [labels, &[("le", bound)]].concat();
            self.row("_bucket", &labels, Value::Whole(count));
            total = count;
        }
        let sum = histogram.sum().as_secs_f64();
        self.row("_sum", labels, Value::Real(sum));
        self.row("_count", labels, Value::Whole(total));
    }

    fn row(&mut self, suffix: &str, labels: Labels<'_>, value: Value) {
        let name = self.name;
        let pair = |(label, value): &(&str, &str)| format!("{label}=\"{}\"", escaped(value));
        let labels: Vec<String> = labels.iter().map(pair).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let text = &mut self.text;
        match value {
            Value::Whole(value) => text.line(format_args!("{name}{suffix}{labels} {value}")),
            Value::Real(value) => text.line(format_args!("{name}{suffix}{labels} {value}")),
        }
    }
}

/// The value of a sample.
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// A label's value: the format gives a backslash, a quote and a line feed an escape, and takes
/// everything else as it is.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn samples_have_the_form_that_the_format_asks_for() {
        let mut text = Text::default();
        let mut family = text.family("a_total", Kind::Counter, "What it counts.");
        family.sample(&[], 3_u64);
        family.sample(&[("reason", "a \"b\"\\\nc"), ("x", "é")], 0.5);
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(3));
        let mut family = text.family("h_seconds", Kind::Histogram, "How long it takes.");
        family.histogram(&[("op", "insert")], &histogram);
        let text = text.into_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "# HELP a_total What it counts.",
                "# TYPE a_total counter",
                "a_total 3",
                r#"a_total{reason="a \"b\"\\\nc",x="é"} 0.5"#,
                "# HELP h_seconds How long it takes.",
                "# TYPE h_seconds histogram",
            ]
        );
        assert_eq!(lines[6], r#"h_seconds_bucket{op="insert",le="0.0005"} 0"#);
        assert_eq!(lines[9], r#"h_seconds_bucket{op="insert",le="0.004"} 1"#);
        assert_eq!(
            lines[20..],
            [
                r#"h_seconds_bucket{op="insert",le="8"} 1"#,
                r#"h_seconds_bucket{op="insert",le="+Inf"} 1"#,
                r#"h_seconds_sum{op="insert"} 0.003"#,
                r#"h_seconds_count{op="insert"} 1"#,
            ]
        );
    }
}
