//! Nothing stays of a probe, and nobody sees it.

use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use docker_nat66::model::forward::Proto;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use super::super::flows::scenery::{HOST, PORT, inside};
use super::super::packets::scenery::{CLIENT, client};
use super::Host;
use crate::support::namespace;
use crate::support::process;
use crate::support::shell::sh;
use crate::support::wait::{SOON, eventually, same};

/// The rules of everybody and the flows, as they are when nothing is left behind.
fn state() -> String {
    sh(
        "nft list ruleset; conntrack -L -f ipv6 2>/dev/null || :; ip -o link; \
        sysctl -a 2>/dev/null | grep -v 'random\\|fs\\.\\|count\\|timestamp\\|nr_\\|kernel\\.' \
        | grep '^net' || :",
    )
}

/// Sees every packet in a namespace.
pub(super) struct Sniffer(OwnedFd);

impl Sniffer {
    pub(super) fn open(place: &str) -> Self {
        /// `ETH_P_ALL` (linux/if_ether.h), in network order.
        const ALL: u32 = 0x0003_u16.to_be() as u32;
        let all = NonZero::new(ALL).map(Protocol::from_raw);
        let (family, flags) = (AddressFamily::PACKET, SocketFlags::NONBLOCK);
        let open = || socket_with(family, SocketType::RAW, flags, all);
        Self(inside(place, open).expect("a packet socket"))
    }

    /// The packets since the last look that belong to a connection, or are an error about one:
    /// frames of IPv6 with TCP or UDP, or ICMPv6 of a type below 128.
    pub(super) fn seen(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut frame = [0; 2048];
        while let Ok((length, _)) = recv(&self.0, &mut frame[..], RecvFlags::empty()) {
            let frame = &frame[..length];
            let is_ipv6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
            let is_about = match (frame.get(20), frame.get(54)) {
                (Some(6 | 17), _) => true,
                (Some(58), Some(kind)) => *kind < 128,
                _ => false,
            };
            if is_ipv6 && is_about {
                found.push(frame.to_vec());
            }
        }
        found
    }
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn nothing_stays_and_nobody_sees_a_packet() {
    namespace::fresh(|| {
        let host = Host::build();
        sh("ip6tables-nft -A FORWARD -p tcp --dport 81 -j REJECT");
        assert!(host.explain_port().is_reachable());
        let before = state();
        let sniffers = ["client", "one"].map(Sniffer::open);
        for port in ["8080", "8080/udp"] {
            let told = host.explain(&[port, HOST, "--from", CLIENT]);
            assert!(told.exit.is_some(), "{told:?}");
        }
        // The host would answer this one.
        sh("ip6tables-nft -I FORWARD -p tcp --dport 80 -j REJECT --reject-with tcp-reset");
        assert_eq!(host.explain_port().text("code"), "rejected");
        sh("ip6tables-nft -D FORWARD 1");
        sh("ip6tables-nft -I FORWARD -p tcp --dport 80 -j REJECT");
        assert_eq!(host.explain_port().text("code"), "rejected");
        sh("ip6tables-nft -D FORWARD 1");
        // A legacy table, whose log is heard. It stays, once it was used.
        assert!(before.contains("net.netfilter.nf_log.10"), "{before}");
        sh("ip6tables-legacy -A FORWARD -p tcp --dport 80 -j DROP");
        assert_eq!(host.explain_port().text("code"), "dropped-by-legacy");
        sh("ip6tables-legacy -F");
        assert_eq!(state(), before);
        for sniffer in &sniffers {
            assert_eq!(sniffer.seen(), Vec::<Vec<u8>>::new());
        }
        // They would see a client's packet.
        let _ = client().ask(Proto::Tcp, HOST, PORT);
        assert!(sniffers.iter().all(|sniffer| !sniffer.seen().is_empty()));
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn after_a_kill_the_table_is_gone_at_once_and_the_rest_soon() {
    namespace::fresh(|| {
        let host = Host::build();
        let before = state();
        let mut met = 0;
        for round in 0..40_u64 {
            let mut command = host.command("eth0");
            command.args([&PORT.to_string(), HOST, "--from", CLIENT]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("it starts");
            // Until it has its table, and then a little longer each time.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(2)
                && child.try_wait().expect("wait").is_none()
            {
                if sh("nft list tables").contains("docker_nat66_explain_") {
                    met += 1;
                    break;
                }
            }
            let later = Instant::now() + Duration::from_micros(round * 100);
            while Instant::now() < later {}
            process::kill(&mut child);
            eventually(Duration::from_millis(500), "nothing left", || {
                same(sh("nft list tables | grep explain || :"), String::new())
            });
        }
        // An entry of connection tracking ends by itself, within two seconds.
        eventually(SOON, "the state of before", || {
            same(state(), before.clone())
        });
        eprintln!("killed with its table in the kernel: {met} of 40");
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn several_at_a_time_do_not_mix() {
    namespace::fresh(|| {
        let host = Host::build();
        sh("nft 'add table inet fw
             add chain inet fw c { type filter hook forward priority 0; }
             add rule inet fw c udp dport 80 drop'");
        let start = |port: &str| {
            let mut command = host.command("eth0");
            command.args([port, HOST, "--from", CLIENT, "--json"]);
            command.stdout(Stdio::piped()).spawn().expect("it starts")
        };
        host.engine.put({
            let mut container = host.container.clone();
            let mut udp = container.ports[0].clone();
            udp.proto = "udp".into();
            container.ports.push(udp);
            container
        });
        let running: Vec<_> = (0..16)
            .map(|n| (n % 2, start(["8080/tcp", "8080/udp"][n % 2])))
            .collect();
        for (udp, child) in running {
            let output = child.wait_with_output().expect("it ends");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let code = ["\"code\":\"reachable\"", "\"code\":\"dropped\""][udp];
            assert!(text.contains(code), "{text}");
        }
        eventually(SOON, "nothing left", || {
            same(sh("nft list tables | grep explain || :"), String::new())
        });
    });
}
