//! Which published ports docker-proxy serves, told by the processes of this network namespace; and
//! where Docker's cannot be seen, by who listens.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::proc_file::read_if_there;
use crate::model::forward::Proto;

/// How it is known which ports are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A process of Docker's was seen, so all its proxies were.
    Processes,
    /// None was: in a container without `--pid=host`, or behind `hidepid`. Whoever listens counts,
    /// though it may be dockerd, which holds the ports that it has no proxy for.
    Listeners,
}

/// Host ports that docker-proxy serves to IPv6 clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// The ports.
    pub ports: BTreeSet<(Proto, u16)>,
    /// How they are known.
    pub seen: Seen,
}

/// The ports that docker-proxies of this network namespace serve.
///
/// # Errors
/// `/proc` cannot be listed, or is there and cannot be read.
pub fn proxied_ports() -> io::Result<Proxied> {
    let here = netns(Path::new("/proc/self"))?;
    let mut seen = Seen::Listeners;
    let mut ports = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if !is_process {
            continue;
        }
        // A process may end while it is looked at.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let proxy = parse_proxy(&line);
        let is_dockers = proxy.is_some() || matches!(program(&line), b"dockerd" | b"docker-proxy");
        if is_dockers && netns(&entry.path()).is_ok_and(|there| there == here) {
            seen = Seen::Processes;
            ports.extend(proxy);
        }
    }
    if seen == Seen::Listeners {
        ports = listened_ports()?;
    }
    Ok(Proxied { ports, seen })
}

/// `::1`, as the kernel prints it: four words in the byte order of the machine.
const LOOPBACK: &str = match cfg!(target_endian = "little") {
    true => "00000000000000000000000001000000",
    false => "00000000000000000000000000000001",
};

/// What tells the process's network namespace from others. `ns/net` may be read by the process's
/// owner alone; but each namespace has its own tree under `net`, and any may ask for an inode there.
fn netns(process: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(process.join("net/dev"))?.ino())
}

/// The name of the program, without its directory.
fn program(cmdline: &[u8]) -> &[u8] {
    let path = cmdline.split(|b| *b == 0).next().unwrap_or_default();
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// `docker-proxy -proto tcp -host-ip :: -host-port 8080 …`, each word closed by a NUL.
fn parse_proxy(cmdline: &[u8]) -> Option<(Proto, u16)> {
    if program(cmdline) != b"docker-proxy" {
        return None;
    }
    let words = cmdline.split(|b| *b == 0).skip(1);
    let words: Vec<&str> = words.filter_map(|w| std::str::from_utf8(w).ok()).collect();
    let value = |option: &str| {
        let at = words.iter().position(|w| *w == option)?;
        words.get(at + 1).copied()
    };
    // It serves IPv6 clients where it listens on an IPv6 address.
    let host_ip: std::net::IpAddr = value("-host-ip")?.parse().ok()?;
    if host_ip.is_ipv4() {
        return None;
    }
    Some((
        value("-proto")?.parse().ok()?,
        value("-host-port")?.parse().ok()?,
    ))
}

/// The ports on which somebody waits for IPv6 clients.
fn listened_ports() -> io::Result<BTreeSet<(Proto, u16)>> {
    /// `TCP_LISTEN`; `TCP_CLOSE`, which an unconnected UDP socket is in (net/tcp_states.h).
    const WAITS: [(&str, Proto, &str); 2] = [
        ("/proc/self/net/tcp6", Proto::Tcp, "0A"),
        ("/proc/self/net/udp6", Proto::Udp, "07"),
    ];
    let mut ports = BTreeSet::new();
    for (path, proto, state) in WAITS {
        let text = read_if_there(path)?.unwrap_or_default();
        ports.extend(parse_waiting(&text, state).map(|port| (proto, port)));
    }
    let sctp = read_if_there("/proc/self/net/sctp/eps")?.unwrap_or_default();
    ports.extend(parse_endpoints(&sctp).map(|port| (Proto::Sctp, port)));
    Ok(ports)
}

/// Who waits at the loopback address waits for nobody else. Each line: number, local address and
/// port, remote address and port, state, and more; numbers are hexadecimal (net/ipv6/tcp_ipv6.c,
/// net/ipv6/udp.c).
fn parse_waiting<'a>(text: &'a str, state: &'a str) -> impl Iterator<Item = u16> + 'a {
    text.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, found) = (fields.next()?, fields.next()?, fields.next()?);
        let (address, port) = local.split_once(':')?;
        (found == state && address != LOOPBACK)
            .then(|| u16::from_str_radix(port, 16).ok())
            .flatten()
    })
}

/// Each line: endpoint, socket, type, state, bucket, port, and more (net/sctp/proc.c).
fn parse_endpoints(text: &str) -> impl Iterator<Item = u16> {
    /// `SCTP_SS_LISTENING` (net/sctp/constants.h), which is `TCP_LISTEN`.
    const LISTENING: &str = "10";
    text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(3);
        let (state, _, port) = (fields.next()?, fields.next()?, fields.next()?);
        (state == LISTENING).then(|| port.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_proxy_is_known_by_its_arguments() {
        let line = |ip: &str| {
            format!("/usr/sbin/docker-proxy\0-proto\0udp\0-host-ip\0{ip}\0-host-port\053\0")
        };
        assert_eq!(parse_proxy(line("::").as_bytes()), Some((Proto::Udp, 53)));
        assert_eq!(parse_proxy(line("0.0.0.0").as_bytes()), None);
        assert_eq!(parse_proxy(b"/usr/sbin/docker-proxy\0-proto\0tcp\0"), None);
        assert_eq!(parse_proxy(b"vi\0docker-proxy\0"), None);
        assert!(proxied_ports().is_ok());
    }

    #[test]
    fn who_waits_is_told_from_who_talks() {
        let tcp = "  sl  local_address                         remote_address           st\n   \
             0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0\n   \
             1: B80D0120000000000000000001000000:0050 B80D0120000000000000000002000000:9C40 01 0\n";
        let here = format!("   0: {LOOPBACK}:1F91 {}:0000 0A 0\n", "0".repeat(32));
        let tcp = &[tcp, &here].concat();
        assert_eq!(parse_waiting(tcp, "0A").collect::<Vec<_>>(), [8080]);
        assert_eq!(parse_waiting(tcp, "01").collect::<Vec<_>>(), [80]);
        let sctp = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n\
             ffff0000 ffff0001 2   10  29   3868  0     4711 :: \n\
             ffff0002 ffff0003 2   7   29   3869  0     4712 :: \n";
        assert_eq!(parse_endpoints(sctp).collect::<Vec<_>>(), [3868]);
    }

    #[test]
    fn every_process_of_this_namespace_has_the_same_mark() {
        let own = netns(Path::new("/proc/self")).expect("/proc");
        let by_number = format!("/proc/{}", std::process::id());
        assert_eq!(netns(Path::new(&by_number)).expect("/proc"), own);
    }
}
