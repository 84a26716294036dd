//! Which test runs which command of the README. `VERSION` stands for the program's own.

/// A command that a file runs in other words.
pub(super) struct Named {
    pub(super) command: &'static str,
    pub(super) file: &'static str,
    /// What stands there, but for quotes and commas.
    pub(super) as_there: &'static [&'static str],
    /// The words of the command that are others there: names of files, say.
    pub(super) differs: &'static [&'static str],
}

const fn named(
    command: &'static str,
    file: &'static str,
    as_there: &'static [&'static str],
    differs: &'static [&'static str],
) -> Named {
    Named {
        command,
        file,
        as_there,
        differs,
    }
}

const PACKAGE: &str = "tests/shipped/package";
const IMAGE: &str = "tests/shipped/image";
const FLEET: &str = "tests/shipped/fleet";
pub(super) const START: &str = "tests/shipped/start";
const DEMO: &str = "tests/lab/demo.rs";
const MIGRATION: &str = "tests/kernel/migration.rs";

/// The file of each package is another there.
const INSTALLS: &[&str] = &["apt-get -qq install /root/old.deb"];
const STARTS: &str = "systemctl enable --quiet --now docker-nat66";

pub(super) const NAMED: &[Named] = &[
    named(
        "apt install ./docker-nat66_VERSION-1_amd64.deb",
        PACKAGE,
        INSTALLS,
        &["apt", "./docker-nat66_VERSION-1_amd64.deb"],
    ),
    named(
        "apt install ./docker-nat66_VERSION-2_amd64.deb",
        PACKAGE,
        &["apt-get -qq install /root/new.deb"],
        &["apt", "./docker-nat66_VERSION-2_amd64.deb"],
    ),
    named(
        "apt purge docker-nat66",
        PACKAGE,
        &["apt-get -qq purge docker-nat66"],
        &["apt"],
    ),
    named(
        "systemctl enable --now docker-nat66",
        PACKAGE,
        &[STARTS],
        &[],
    ),
    named(
        "docker nat66 status",
        PACKAGE,
        &["docker nat66 status"],
        &[],
    ),
    named(
        "docker exec nat66 /docker-nat66 status",
        IMAGE,
        &["docker exec nat66 /docker-nat66 status"],
        &[],
    ),
    named(
        "docker run --rm --network host --pid host --cap-drop ALL --cap-add NET_ADMIN \
         --cap-add SYS_ADMIN --read-only -v /var/run/docker.sock:/var/run/docker.sock:ro \
         docker-nat66 explain 8080",
        IMAGE,
        &[
            "docker run --rm --network host --pid host --cap-drop ALL --cap-add NET_ADMIN \
             --cap-add SYS_ADMIN",
            "--read-only --volume /var/run/docker.sock:/var/run/docker.sock:ro docker-nat66 \
             explain 8080",
        ],
        &[],
    ),
    named("docker rm -f nat66", IMAGE, &["docker rm -f nat66"], &[]),
    named(
        "docker run --rm --network host --cap-drop ALL --cap-add NET_ADMIN --read-only \
         --tmpfs /run/docker-nat66 -v nat66:/var/lib/docker-nat66 docker-nat66 cleanup",
        IMAGE,
        &[
            "docker run --rm --network host --cap-drop ALL --cap-add NET_ADMIN --read-only",
            "--tmpfs /run/docker-nat66 --volume nat66:/var/lib/docker-nat66 docker-nat66 cleanup",
        ],
        &[],
    ),
    named(
        "docker service update --env-add 'DOCKER_NAT66_METRICS=[::]:9166' nat66_docker-nat66",
        FLEET,
        &[
            "docker service update --quiet",
            "--env-add DOCKER_NAT66_METRICS=[::]:9166 $service",
            "service=nat66_docker-nat66",
        ],
        &["nat66_docker-nat66"],
    ),
    named(
        "docker-nat66 print containerfile | docker build -t docker-nat66 -f - .",
        IMAGE,
        &[
            "print containerfile",
            "docker build --quiet --tag built --file /root/build/Containerfile",
        ],
        &["docker-nat66", "|", "-t", "-f", "-", "."],
    ),
    named(
        "ansible-playbook -i hosts play.yaml",
        FLEET,
        &["ansible-playbook --inventory hosts --private-key key play.yaml"],
        &["-i"],
    ),
    named(
        "docker stack deploy --resolve-image never -c stack.yaml nat66",
        FLEET,
        &["docker stack deploy --resolve-image never -c /root/stack.yaml nat66"],
        &["stack.yaml"],
    ),
    named(
        "docker service update --env-rm DOCKER_NAT66_ON_EXIT nat66_docker-nat66",
        FLEET,
        &[
            "docker service update --quiet --env-rm DOCKER_NAT66_ON_EXIT $service",
            "service=nat66_docker-nat66",
        ],
        &["nat66_docker-nat66"],
    ),
    named(
        "docker stack rm nat66",
        FLEET,
        &["docker stack rm nat66"],
        &[],
    ),
    named(
        "docker run --rm --network host --cap-drop ALL --cap-add NET_ADMIN --read-only \
         --tmpfs /run/docker-nat66 -v nat66_state:/var/lib/docker-nat66 docker-nat66 cleanup",
        FLEET,
        &[
            "docker run --rm --network host --cap-drop ALL --cap-add NET_ADMIN --read-only",
            "--tmpfs /run/docker-nat66",
            "--volume nat66_state:/var/lib/docker-nat66 docker-nat66 cleanup",
        ],
        &[],
    ),
    named(
        "docker-nat66 -dev eth0 -prefix fdfd:5898:4917:1::/64",
        DEMO,
        &["-dev eth0 -prefix fdfd:5898:4917:1::/64"],
        &["docker-nat66"],
    ),
    named(
        "cargo build --release",
        "tests/ship",
        &["cargo build --quiet --release --locked"],
        &[],
    ),
    named(
        "docker network create --ipv6 --subnet fdfd:5898:4917:2::/64 front",
        "tests/support/lab/engine.rs",
        &["network create --ipv6 --subnet subnet", "docker"],
        &["fdfd:5898:4917:2::/64", "front"],
    ),
    named(
        "docker network create --ipv6 --subnet fdfd:5898:4917:4::/64 \
         -o com.docker.network.host_ipv6=2001:db8::12 mail",
        "tests/lab/outgoing.rs",
        &[
            "com.docker.network.host_ipv6",
            "engine.network( alpha ALPHA &[ -o &format!( {option}=2001:db8::12",
        ],
        &[
            "docker",
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "fdfd:5898:4917:4::/64",
            "com.docker.network.host_ipv6=2001:db8::12",
            "mail",
        ],
    ),
    named(
        "tests/lab/demo",
        "tests/lab/demo",
        &[
            "cargo test --quiet --release --test lab -- --include-ignored --exact demo::demo --nocapture",
        ],
        &["tests/lab/demo"],
    ),
    named(
        "docker run -d --name web --hostname web -p 8080:80 --entrypoint httpd lab -f -p 80 -h /www",
        DEMO,
        &[
            "docker run -d --name web --hostname web -p 8080:80 --entrypoint httpd lab -f -p 80 -h /www",
        ],
        &[],
    ),
    named(
        "curl -sgm 5 http://[2001:db8::1]:8080/cgi-bin/hello",
        DEMO,
        &["curl -sgm 5 http://[2001:db8::1]:8080/cgi-bin/hello"],
        &[],
    ),
    named(
        "docker-nat66 dump --state-dir /run/lab/home/state",
        DEMO,
        &["docker-nat66 dump --state-dir /run/lab/home/state"],
        &[],
    ),
    named("kill -9 207", DEMO, &["kill -9 {}"], &["207"]),
    named(
        "docker-nat66 -dev eth0 -prefix fdfd:5898:4917:1::/64 --state-dir /run/lab/home/state &",
        DEMO,
        &[
            "-dev eth0 -prefix fdfd:5898:4917:1::/64",
            "docker-nat66 {} --state-dir {STATE_DIR} &",
        ],
        &["/run/lab/home/state"],
    ),
    named(
        "docker-nat66 check --dev eth0",
        "tests/kernel/check/mod.rs",
        &["check", "--dev eth0"],
        &["docker-nat66"],
    ),
    named("docker-nat66 status", DEMO, &["docker-nat66 status"], &[]),
    named(
        "docker-nat66 explain 8081",
        "tests/lab/explain.rs",
        &["explain", "8081"],
        &["docker-nat66"],
    ),
    named(
        "docker-nat66 metrics --write /var/lib/prometheus/node-exporter/docker-nat66.prom",
        "tests/kernel/monitoring.rs",
        &["metrics --write path"],
        &[
            "docker-nat66",
            "/var/lib/prometheus/node-exporter/docker-nat66.prom",
        ],
    ),
    named(
        "docker-nat66 cleanup",
        "tests/lab/crash.rs",
        &["cleanup"],
        &["docker-nat66"],
    ),
    named(
        "docker-nat66 cleanup --foreign docker-ipv6nat",
        "tests/lab/migration.rs",
        &["cleanup --foreign docker-ipv6nat"],
        &["docker-nat66"],
    ),
    named(
        "docker-nat66 cleanup --foreign docker-ipv6nat --yes",
        "tests/lab/migration.rs",
        &["cleanup --foreign docker-ipv6nat", "--yes"],
        &["docker-nat66"],
    ),
    named(
        "docker-nat66 cleanup --foreign docker",
        MIGRATION,
        &["cleanup --foreign foreign", "cleanup( docker &docker)"],
        &["docker-nat66", "docker"],
    ),
    named(
        "docker-nat66 cleanup --foreign docker --yes",
        MIGRATION,
        &[
            "cleanup --foreign foreign",
            "cleanup( docker &yes)",
            "--yes",
        ],
        &["docker-nat66", "docker"],
    ),
    named(
        "docker-nat66 cleanup --foreign docker-nat66-go --prefix fdfd:5898:4917:1::/64",
        MIGRATION,
        &["cleanup --foreign docker-nat66-go --prefix fd00::/64"],
        &["docker-nat66", "fdfd:5898:4917:1::/64"],
    ),
    named(
        "docker-nat66 cleanup --foreign docker-nat66-go --prefix fdfd:5898:4917:1::/64 --yes",
        MIGRATION,
        &[
            "cleanup --foreign docker-nat66-go --prefix fd00::/64",
            "--yes",
        ],
        &["docker-nat66", "fdfd:5898:4917:1::/64"],
    ),
];

/// Commands that `tests/shipped/start` types on a host as they are.
pub(super) const TYPED: &[&str] = &[
    "apt install ./docker-nat66_VERSION-1_amd64.deb && systemctl enable --now docker-nat66",
    "docker-nat66 check",
    "docker-nat66 explain 8080",
    "docker load < docker-nat66-VERSION-image.tar",
    "docker run -d --name nat66 --network host --pid host --cap-drop ALL --cap-add NET_ADMIN \
     --read-only --tmpfs /run/docker-nat66 -v nat66:/var/lib/docker-nat66 \
     -v /var/run/docker.sock:/var/run/docker.sock:ro --restart unless-stopped docker-nat66",
    "docker exec nat66 /docker-nat66 check",
    "docker stop nat66 && docker rm nat66 && docker volume rm nat66",
    "docker-nat66 --dev auto --prefix auto",
    "systemctl disable --now docker-nat66",
    "rm -r /usr/local/sbin/docker-nat66 /etc/systemd/system/docker-nat66.service \
     /etc/default/docker-nat66 /var/lib/docker-nat66",
];

/// Commands that a test of the kernel tier takes from the README as they are.
pub(super) const VERBATIM: &[(&str, &str)] = &[
    (
        "tests/kernel/packets/firewalls.rs",
        "sysctl -w net.ipv6.conf.all.forwarding=1",
    ),
    (
        "tests/kernel/packets/firewalls.rs",
        "sysctl -w net.ipv6.conf.eth0.accept_ra=2",
    ),
    (
        "tests/kernel/packets/firewalls.rs",
        "ufw route allow in on eth0 to fdfd:5898:4917:1::/64",
    ),
    (
        "tests/kernel/packets/firewalls.rs",
        "ufw route allow in on docker0 out on eth0",
    ),
    (
        "tests/kernel/packets/firewalls.rs",
        "firewall-cmd --permanent --zone=trusted --add-interface=docker0",
    ),
    ("tests/kernel/packets/firewalls.rs", "firewall-cmd --reload"),
    (
        "tests/kernel/packets/firewalls.rs",
        "nft insert rule inet filter forward ct status dnat,snat accept",
    ),
    (
        "tests/kernel/packets/firewalls.rs",
        "nft insert rule inet filter forward ip6 saddr fdfd:5898:4917:1::/64 oifname eth0 accept",
    ),
];

/// Commands of other programs in the text, the file that runs them, and how.
pub(super) const QUOTED: &[(&str, &str, &str)] = &[
    (
        "systemctl restart docker-nat66",
        PACKAGE,
        "systemctl restart docker-nat66",
    ),
    ("systemctl daemon-reload", FLEET, "systemctl daemon-reload"),
    ("apt remove", PACKAGE, "apt-get -qq remove"),
    (
        "docker load",
        FLEET,
        "docker load --quiet --input /root/image.tar",
    ),
    ("apt purge", PACKAGE, "apt-get -qq purge"),
    (
        "docker run -p 8080:80",
        DEMO,
        "docker run -d --name web --hostname web -p 8080:80",
    ),
    (
        "docker --host URL nat66 …",
        "src/cli/plugin/tests.rs",
        "--host=unix:///s nat66 check",
    ),
    (
        "docker context use",
        "src/cli/plugin/tests.rs",
        "currentContext",
    ),
    (
        "docker exec nat66 /docker-nat66 check",
        START,
        "docker exec nat66 /docker-nat66 check",
    ),
    ("docker rm -f nat66", IMAGE, "docker rm -f nat66"),
    ("docker kill", IMAGE, "docker kill nat66"),
    ("docker stop", IMAGE, "docker stop --time 60 nat66"),
    ("nft flush ruleset", "tests/lab/table.rs", "flush ruleset"),
];
