//! Finds the published ports that docker-proxy serves: from the processes of this network namespace,
//! or from the listening sockets if Docker's processes are hidden.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::proc_file::read_or_empty;
use crate::model::forward::Proto;

/// Where the served ports were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortSource {
    /// From the processes: one of Docker's is visible, so all its proxies are.
    Processes,
    /// From the listening sockets: Docker's processes are hidden, in a container without `--pid=host`
    /// or by `hidepid`. A listener may also be dockerd, which holds the ports that have no proxy.
    Listeners,
}

/// Host ports that docker-proxy serves to IPv6 clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxiedPorts {
    pub ports: BTreeSet<(Proto, u16)>,
    /// Where they were read from.
    pub source: PortSource,
}

/// The ports that docker-proxies of this network namespace serve.
///
/// # Errors
/// `/proc` cannot be listed, or one of its files exists but cannot be read.
pub(crate) fn proxied_ports() -> io::Result<ProxiedPorts> {
    let here = netns(Path::new("/proc/self"))?;
    let mut source = PortSource::Listeners;
    let mut ports = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if !is_process {
            continue;
        }
        // A process may end meanwhile.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let proxy = parse_proxy(&line);
        let is_dockers = proxy.is_some() || matches!(program(&line), b"dockerd" | b"docker-proxy");
        if is_dockers && netns(&entry.path()).is_ok_and(|there| there == here) {
            source = PortSource::Processes;
            ports.extend(proxy);
        }
    }
    if source == PortSource::Listeners {
        ports = listening_ports()?;
    }
    Ok(ProxiedPorts { ports, source })
}

/// `::1`, as the kernel prints it: four words in the byte order of the machine.
const LOOPBACK: &str = match cfg!(target_endian = "little") {
    true => "00000000000000000000000001000000",
    false => "00000000000000000000000000000001",
};

/// A number that identifies the process's network namespace. Only the process's owner may read
/// `ns/net`; but each namespace has its own tree under `net`, and everybody may read its inodes.
fn netns(process: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(process.join("net/dev"))?.ino())
}

/// The name of the program, without its directory.
fn program(cmdline: &[u8]) -> &[u8] {
    let path = cmdline.split(|b| *b == 0).next().unwrap_or_default();
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// `docker-proxy -proto tcp -host-ip :: -host-port 8080 …`, each word ended by a NUL.
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
    // It serves IPv6 clients if it listens on an IPv6 address.
    let host_ip: std::net::IpAddr = value("-host-ip")?.parse().ok()?;
    if host_ip.is_ipv4() {
        return None;
    }
    Some((
        value("-proto")?.parse().ok()?,
        value("-host-port")?.parse().ok()?,
    ))
}

/// The ports on which any process listens for IPv6 clients.
fn listening_ports() -> io::Result<BTreeSet<(Proto, u16)>> {
    /// `TCP_LISTEN`; `TCP_CLOSE`, which an unconnected UDP socket is in (net/tcp_states.h).
    const SOCKETS: [(&str, Proto, &str); 2] = [
        ("/proc/self/net/tcp6", Proto::Tcp, "0A"),
        ("/proc/self/net/udp6", Proto::Udp, "07"),
    ];
    let mut ports = BTreeSet::new();
    for (path, proto, state) in SOCKETS {
        let text = read_or_empty(path)?;
        ports.extend(parse_listening(&text, state).map(|port| (proto, port)));
    }
    let sctp = read_or_empty("/proc/self/net/sctp/eps")?;
    ports.extend(parse_sctp_endpoints(&sctp).map(|port| (Proto::Sctp, port)));
    Ok(ports)
}

/// The ports of sockets in this state, except those on the loopback address. Each line: number,
/// local address and port, remote address and port, state, and more; numbers are hexadecimal
/// (net/ipv6/tcp_ipv6.c, net/ipv6/udp.c).
fn parse_listening<'a>(text: &'a str, state: &'a str) -> impl Iterator<Item = u16> + 'a {
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
fn parse_sctp_endpoints(text: &str) -> impl Iterator<Item = u16> {
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
    fn only_listening_sockets_count() {
        let tcp = "  sl  local_address                         remote_address           st\n   \
             0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0\n   \
             1: B80D0120000000000000000001000000:0050 B80D0120000000000000000002000000:9C40 01 0\n";
        let here = format!("   0: {LOOPBACK}:1F91 {}:0000 0A 0\n", "0".repeat(32));
        let tcp = &[tcp, &here].concat();
        assert_eq!(parse_listening(tcp, "0A").collect::<Vec<_>>(), [8080]);
        assert_eq!(parse_listening(tcp, "01").collect::<Vec<_>>(), [80]);
        let sctp = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n\
             ffff0000 ffff0001 2   10  29   3868  0     4711 :: \n\
             ffff0002 ffff0003 2   7   29   3869  0     4712 :: \n";
        assert_eq!(parse_sctp_endpoints(sctp).collect::<Vec<_>>(), [3868]);
    }

    #[test]
    fn processes_of_one_namespace_have_the_same_number() {
        let own = netns(Path::new("/proc/self")).expect("/proc");
        let by_number = format!("/proc/{}", std::process::id());
        assert_eq!(netns(Path::new(&by_number)).expect("/proc"), own);
    }
}
