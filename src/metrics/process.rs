//! The figures that every process has, under the names that Prometheus' client libraries use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo};

use super::text::{Kind, Text};

/// Adds them. What /proc does not show is left out.
pub(super) fn write(text: &mut Text) {
    let Ok(figures) = figures() else {
        return;
    };
    let mut gauge = |name, help, value: f64| {
        text.family(name, Kind::Gauge, help).sample(&[], value);
    };
    gauge(
        "process_open_fds",
        "Open file descriptors.",
        figures.open_fds,
    );
    if let Some(most) = figures.max_fds {
        gauge("process_max_fds", "Most file descriptors.", most);
    }
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory.",
        figures.virtual_bytes,
    );
    gauge(
        "process_resident_memory_bytes",
        "Resident memory.",
        figures.resident_bytes,
    );
    gauge(
        "process_threads",
        "Threads of the process.",
        figures.threads,
    );
    gauge(
        "process_start_time_seconds",
        "When the process started, since the epoch.",
        figures.started,
    );
    text.family(
        "process_cpu_seconds_total",
        Kind::Counter,
        "CPU time, in user and system mode.",
    )
    .sample(&[], figures.cpu_seconds);
}

struct Figures {
    cpu_seconds: f64,
    open_fds: f64,
    max_fds: Option<f64>,
    virtual_bytes: f64,
    resident_bytes: f64,
    threads: f64,
    started: f64,
}

fn figures() -> ProcResult<Figures> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most as f64),
        LimitValue::Unlimited => None,
    };
    Ok(Figures {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        open_fds: process.fd_count()? as f64,
        max_fds,
        virtual_bytes: stat.vsize as f64,
        resident_bytes: stat.rss_bytes().get() as f64,
        threads: stat.num_threads as f64,
        started: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    })
}
