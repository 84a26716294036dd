//! Flows to measure with: entries in the kernel's table, made by the tool `conntrack`.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use docker_nat66::conntrack::{Flow, Purge};
use docker_nat66::model::forward::Proto;

/// An entry to port 20,000 + n, which leads to container port n.
pub(crate) fn command(n: u16) -> String {
    let mut line = String::new();
    writeln!(
        line,
        "-I -p udp -s 2001:db8::2 -d 2001:db8::1 --sport {n} --dport {} -r fdfd::2 \
         -q 2001:db8::2 --reply-port-src {n} --reply-port-dst {n} --timeout 3600",
        20_000 + n
    )
    .expect("a string takes all");
    line
}

/// Adds entries that are not there yet.
pub(crate) fn load(table: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table");
    std::fs::write(&file, table).expect("written");
    let mut conntrack = Command::new("conntrack");
    conntrack.arg("-R").arg(&file).stderr(Stdio::null());
    assert!(conntrack.status().expect("conntrack").success());
}

/// The forward of [`command`]'s port 20,000 + n has gone; it led to this port.
pub(crate) fn removed(n: u16, target_port: u16) -> Purge {
    Purge::Removed(Flow {
        proto: Proto::Udp,
        host_addr: None,
        host_port: 20_000 + n,
        target: ("fdfd::2".parse().expect("an address"), target_port),
    })
}
