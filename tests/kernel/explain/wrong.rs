//! What may be wrong, one thing at a time, and what is to be said of it.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use super::super::flows::scenery::{PORT, inside};
use super::Host;

/// What is wrong.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Lines of shell that make it so.
    pub(super) set: &'static str,
    /// What shell does not do.
    pub(super) more: fn(&mut Host),
    pub(super) code: &'static str,
    /// What the sentence says, among other words.
    pub(super) words: &'static [&'static str],
    /// Whether the command that is given opens the port.
    pub(super) mends: bool,
}

pub(super) const fn scenario(
    name: &'static str,
    set: &'static str,
    code: &'static str,
    words: &'static [&'static str],
) -> Scenario {
    Scenario {
        name,
        set,
        more: |_| {},
        code,
        words,
        mends: false,
    }
}

impl Scenario {
    pub(super) const fn mends(mut self) -> Self {
        self.mends = true;
        self
    }

    pub(super) const fn with(mut self, more: fn(&mut Host)) -> Self {
        self.more = more;
        self
    }
}

pub(super) const NOBODY: &str = "written by a human or a program that leaves no name";

/// Every case.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("nothing", "", "reachable", &["reaches one (000000000000)"]),
        scenario(
            "a drop in another table",
            "nft 'add table inet myfw
              add chain inet myfw fw { type filter hook forward priority 10; }
              add rule inet myfw fw tcp dport 80 drop'",
            "dropped",
            &["by chain fw of table inet myfw", NOBODY],
        )
        .mends(),
        scenario(
            "the policy of FORWARD",
            "ip6tables-nft -P FORWARD DROP",
            "dropped",
            &[
                "the policy of chain FORWARD of ip6tables' table filter",
                NOBODY,
            ],
        )
        .mends(),
        scenario(
            "the policy of FORWARD beside Docker's chains",
            "ip6tables-nft -N DOCKER-USER
             ip6tables-nft -A FORWARD -j DOCKER-USER
             ip6tables-nft -P FORWARD DROP",
            "dropped",
            &["the policy of chain FORWARD", "probably set by Docker"],
        )
        .mends(),
        scenario(
            "a drop in DOCKER-USER",
            "ip6tables-nft -N DOCKER-USER
             ip6tables-nft -A FORWARD -j DOCKER-USER
             ip6tables-nft -A DOCKER-USER ! -i br0 -p tcp -m tcp --dport 80 -j DROP",
            "dropped",
            &[
                "chain DOCKER-USER of ip6tables' table filter",
                "where a human writes rules",
            ],
        )
        .mends(),
        scenario(
            "a REJECT in FORWARD",
            "ip6tables-nft -A FORWARD -i eth0 -j REJECT",
            "rejected",
            &["rejected by chain FORWARD of ip6tables' table filter"],
        )
        .mends(),
        scenario(
            "ufw",
            "ip6tables-nft -N ufw6-reject-forward
             ip6tables-nft -A ufw6-reject-forward -j REJECT
             ip6tables-nft -A FORWARD -j ufw6-reject-forward",
            "rejected",
            &["chain ufw6-reject-forward", "written by ufw"],
        ),
        scenario(
            "a foreign DNAT in front",
            "nft 'add table ip6 other
              add chain ip6 other pre { type nat hook prerouting priority -110; }
              add rule ip6 other pre tcp dport 8080 dnat to [fdfd:5898:4917:1::3]:80'",
            "wrong-target",
            &[
                "[fdfd:5898:4917:1::3]:80 and not to one",
                "chain pre of table ip6 other",
            ],
        )
        .mends(),
        scenario(
            "a REDIRECT",
            "ip6tables-nft -t nat -I PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9
             nft delete table ip6 forwarder",
            "redirected",
            &[
                "the host's own port 9",
                "chain PREROUTING of ip6tables' table nat",
            ],
        ),
        scenario(
            "a strict reverse path filter",
            "ip route add 2001:db8::2/128 dev br0
             nft 'add table inet rp
              add chain inet rp check { type filter hook prerouting priority raw; }
              add rule inet rp check fib saddr . iif oif 0 drop'",
            "dropped",
            &["chain check of table inet rp"],
        ),
        scenario(
            "netdev ingress",
            "nft 'add table netdev early
              add chain netdev early in { type filter hook ingress device eth0 priority 0; }
              add rule netdev early in tcp dport 8080 drop'",
            "dropped",
            &["chain in of table netdev early"],
        )
        .mends(),
        scenario(
            "notrack",
            "nft 'add table inet nt
              add chain inet nt raw { type filter hook prerouting priority raw; }
              add rule inet nt raw tcp dport 8080 notrack'",
            "untracked",
            &[
                "chain raw of table inet nt",
                "keeps connection tracking away",
            ],
        )
        .mends(),
        scenario(
            "legacy filter",
            "ip6tables-legacy -A FORWARD -p tcp --dport 80 -j DROP",
            "dropped-by-legacy",
            &[
                "by rule 1 of chain FORWARD in the table filter of ip6tables-legacy",
                "(-A FORWARD -p tcp -m tcp --dport 80 -j DROP)",
            ],
        )
        .mends(),
        scenario(
            "a chain in legacy mangle",
            "ip6tables-legacy -t mangle -N mine
             ip6tables-legacy -t mangle -A PREROUTING -j mine
             ip6tables-legacy -t mangle -A mine -p udp -j ACCEPT
             ip6tables-legacy -t mangle -A mine -p tcp --dport 8080 -j DROP",
            "dropped-by-legacy",
            &["by rule 2 of chain mine in the table mangle of ip6tables-legacy"],
        )
        .mends(),
        scenario(
            "a legacy policy",
            "ip6tables-legacy -P FORWARD DROP",
            "dropped-by-legacy",
            &["by the policy of chain FORWARD in the table filter of ip6tables-legacy"],
        )
        .mends(),
        scenario(
            "legacy raw",
            "ip6tables-legacy -t raw -A PREROUTING -p tcp --dport 8080 -j DROP",
            "dropped-by-legacy",
            &["by rule 1 of chain PREROUTING in the table raw of ip6tables-legacy"],
        )
        .mends(),
        scenario(
            "a queue to nobody",
            "ip6tables-nft -A FORWARD -i eth0 -p tcp --dport 80 -j NFQUEUE --queue-num 5",
            "queued",
            &["NFQUEUE 5", "chain FORWARD of ip6tables' table filter"],
        ),
        scenario(
            "forwarding off",
            "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
            "forwarding",
            &["net.ipv6.conf.all.forwarding = 0"],
        )
        .mends(),
        scenario(
            "IPv6 off on the interface",
            "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6",
            "ipv6-disabled",
            &["IPv6 is off on interface eth0"],
        ),
        scenario(
            "the bridge down",
            "ip -6 route add default via 2001:db8::2; ip link set br0 down",
            "goes-back",
            &["leaves by eth0 again"],
        ),
        scenario(
            "the bridge down, without a default route",
            "ip link set br0 down",
            "no-route",
            &["there is no route to fdfd:5898:4917:1::2"],
        ),
        scenario(
            "a tc filter",
            "tc qdisc add dev eth0 clsact
             ip link add away type veth peer name nowhere
             tc filter add dev eth0 ingress protocol ipv6 u32 match u32 0 0 \
             action mirred egress redirect dev away",
            "before-netfilter",
            &["before any rule of nf_tables sees it"],
        ),
        scenario(
            "no rule and no listener",
            "nft delete table ip6 forwarder",
            "not-forwarded",
            &["no rule forwards it", "nothing listens on the host"],
        ),
        scenario(
            "a listener on the host",
            "nft delete table ip6 forwarder",
            "answered-by-host",
            &["answered on the host itself by kernel"],
        )
        .with(|_| answer_on_the_host()),
        scenario(
            "nothing listens",
            "nft flush table ip6 forwarder
             nft add rule ip6 forwarder pre tcp dport 8080 dnat to [fdfd:5898:4917:1::2]:99",
            "nothing-listens",
            &["where nothing listens on port 99/tcp"],
        )
        .with(|host| host.publishes(99)),
        scenario(
            "IPv4 only",
            "nft flush table ip6 forwarder
             nft add rule ip6 forwarder pre tcp dport 8080 dnat to [fdfd:5898:4917:1::2]:99",
            "ipv4-only",
            &["over IPv4 only"],
        )
        .with(|host| {
            host.publishes(99);
            let listener = inside("one", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 99)));
            std::mem::forget(listener.expect("free"));
        }),
        scenario(
            "::1 only",
            "nft flush table ip6 forwarder
             nft add rule ip6 forwarder pre tcp dport 8080 dnat to [fdfd:5898:4917:1::2]:99",
            "other-address-only",
            &["listened to at ::1 only"],
        )
        .with(|host| {
            host.publishes(99);
            let listener = inside("one", || TcpListener::bind((Ipv6Addr::LOCALHOST, 99)));
            std::mem::forget(listener.expect("free"));
        }),
        scenario(
            "no way back in the container",
            "ip -n one -6 route del default",
            "no-route-in-container",
            &["which has no route back to 2001:db8::2"],
        ),
        scenario(
            "an answer that a policy drops",
            "ip6tables-nft -P FORWARD DROP
             ip6tables-nft -A FORWARD -i eth0 -j ACCEPT",
            "answer-dropped",
            &["its answer is dropped by the policy of chain FORWARD"],
        )
        .mends(),
        scenario(
            "an answer that a rule drops",
            "nft 'add table inet back
              add chain inet back fw { type filter hook forward priority 5; }
              add rule inet back fw iifname br0 tcp flags syn / syn,ack accept
              add rule inet back fw iifname br0 tcp sport 80 drop'",
            "answer-dropped",
            &["its answer is dropped by chain fw of table inet back"],
        )
        .mends(),
        scenario(
            "an answer that a legacy table drops",
            "ip6tables-legacy -A FORWARD -i br0 -j DROP",
            "answer-lost",
            &[
                "its answer is lost in hook forward",
                "the filter table of ip6tables-legacy",
            ],
        ),
        scenario(
            "nobody has the address",
            "ip -n one addr del fdfd:5898:4917:1::2/64 dev eth0
             ip neigh flush dev br0",
            "no-neighbour",
            &["nobody there says that the address is his"],
        ),
        scenario(
            "no way back on the host",
            "ip -6 route add blackhole 2001:db8::2/128",
            "no-route-back",
            &["the host has no route back to 2001:db8::2"],
        ),
    ]
}

/// Answers on the host's own port, as docker-proxy does.
pub(super) fn answer_on_the_host() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).expect("free");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"host");
        }
    });
}
