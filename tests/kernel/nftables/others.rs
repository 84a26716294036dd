//! Others at work with `nft`.

use std::fs;
use std::process::Command;

use docker_nat66::backend::Verb;

use super::rules::{every_kind, tcp, tcp_to};
use crate::support::contract::{Foreign, Kit};

const OURS: &str = "ip6 docker_nat66";

/// Runs nft on a script; its output, or what it complains of.
pub(crate) fn nft(script: &str) -> Result<String, String> {
    fs::write("/run/script", script).expect("an empty /run");
    let output = Command::new("nft").args(["-f", "/run/script"]).output();
    let output = output.expect("nft is installed");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The same to success.
#[track_caller]
pub(crate) fn nft_ok(script: &str) -> String {
    nft(script).unwrap_or_else(|e| panic!("{script}\n{e}"))
}

/// All tables, without counters' values.
pub(crate) fn ruleset() -> String {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output();
    String::from_utf8(output.expect("nft is installed").stdout).expect("text")
}

/// Everybody else; `edits` where our table is not owned.
pub(crate) struct Others {
    pub(crate) edits: bool,
}

impl Foreign for Others {
    fn kit(&self) -> Kit {
        Kit {
            tcp,
            elsewhere: |port| tcp_to(port, "fdfd::3"),
            every_kind,
            lookalikes,
            altered,
            stranger: "table ip6 stranger",
            command: |verb| match verb {
                Verb::Add => "nft add element ip6 docker_nat66 forwards",
                Verb::Del => "nft delete element ip6 docker_nat66 forwards",
            },
            copies: false,
            edits: self.edits,
        }
    }

    fn add(&mut self, line: &str) {
        nft_ok(&format!("add {line}"));
    }

    fn delete(&mut self, line: &str) {
        nft_ok(&format!("delete {line}"));
    }

    /// Elements of our table, and the lines of all others.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut ours = false;
        let mut set = "";
        let text = ruleset();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(table) = line.strip_prefix("table ") {
                ours = table.starts_with(OURS);
            }
            if !ours {
                lines.push(line.to_owned());
                continue;
            }
            if let Some(name) = line.strip_prefix("set ").or(line.strip_prefix("map ")) {
                set = name.trim_end_matches(" {");
            }
            if line.contains(" comment ") {
                let element = line.trim_start_matches("elements = { ");
                let element = element.trim_end_matches([',', '}', ' ']);
                lines.push(format!("element {OURS} {set} {{ {element} }}"));
            }
        }
        lines
    }

    fn clear(&mut self) {
        nft_ok("flush ruleset");
    }
}

/// Tables with our names in other families, and with our elements under other names; and what
/// nobody expects in the family of ours.
fn lookalikes(id: &str) -> Vec<String> {
    vec![
        "table inet docker_nat66".to_owned(),
        "set inet docker_nat66 egress { type ifname ; }".to_owned(),
        format!("element inet docker_nat66 egress {{ eth0 comment \"{id}\" }}"),
        "table ip6 docker_nat6".to_owned(),
        "map ip6 docker_nat6 forwards { type inet_proto . inet_service : ipv6_addr . inet_service ; }"
            .to_owned(),
        format!(
            "element ip6 docker_nat6 forwards {{ tcp . 1 comment \"{id}\" : \
             fdfd:5898:4917:1::2 . 80 }}"
        ),
        "chain ip6 docker_nat6 forward { type filter hook forward priority 0 ; }".to_owned(),
        "rule ip6 docker_nat6 forward numgen random mod 10 < 5 ct state new counter accept".to_owned(),
        format!("rule ip6 docker_nat6 forward rt nexthop fd00::1 drop comment \"{id}\""),
        "rule ip6 docker_nat6 forward exthdr frag exists limit rate 1/second drop".to_owned(),
    ]
}

fn altered(id: &str) -> Vec<String> {
    vec![
        format!("element {OURS} forwards {{ tcp . 2 comment \"{id}\" : fdfd::9 . 80 }}"),
        format!("element {OURS} refused {{ udp . 9 comment \"{id}\" }}"),
    ]
}
