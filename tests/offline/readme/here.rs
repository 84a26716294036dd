//! Commands of the README that the offline tier runs as they are. `VERSION` stands for the program's own.

use std::fs;
use std::path::Path;

/// What a command that is run by the offline tier has printed, and the directory that is `/` to it.
type Check = fn(&str, &Path);

/// Commands that need no host: they are run, in a directory of their own.
pub(super) const HERE: &[(&str, Check)] = &[
    (
        "printf 'fd%s:%s%s:%s%s:1::/64\\n' $(od -An -N5 -tx1 /dev/urandom)",
        |said, _| assert!(said.starts_with("fd"), "{said}"),
    ),
    (
        "install -m 0755 docker-nat66-VERSION-x86_64-unknown-linux-gnu /usr/local/sbin/docker-nat66",
        |_, root| assert!(root.join("sbin/docker-nat66").is_file()),
    ),
    (
        "install -m 0755 target/release/docker-nat66 /usr/local/sbin/",
        |_, root| assert!(root.join("sbin/docker-nat66").is_file()),
    ),
    (
        "docker-nat66 print unit > /etc/systemd/system/docker-nat66.service",
        |_, root| has(root, "etc/systemd/system/docker-nat66.service", "[Service]"),
    ),
    (
        "docker-nat66 print config --dev auto --prefix auto > settings && \
         install -m 644 settings /etc/default/docker-nat66",
        |_, root| has(root, "etc/default/docker-nat66", "DOCKER_NAT66_DEV=auto"),
    ),
    (
        "docker-nat66 print unit > docker-nat66.service",
        |_, root| has(root, "docker-nat66.service", "[Service]"),
    ),
    (
        "docker-nat66 print config --dev auto --prefix auto > settings",
        |_, root| has(root, "settings", "DOCKER_NAT66_DEV=auto"),
    ),
    (
        "docker-nat66 print compose --swarm > stack.yaml",
        |_, root| has(root, "stack.yaml", "mode: global"),
    ),
    ("docker-nat66 print compose > compose.yaml", |_, root| {
        has(root, "compose.yaml", "image: docker-nat66");
    }),
    (
        "mkdir -p ~/.docker/cli-plugins && \
         ln -s /usr/local/sbin/docker-nat66 ~/.docker/cli-plugins/docker-nat66",
        |_, root| {
            let link = root.join(".docker/cli-plugins/docker-nat66");
            let target = fs::read_link(link).expect("a link");
            assert!(target.ends_with("sbin/docker-nat66"), "{target:?}");
        },
    ),
];

fn has(root: &Path, file: &str, words: &str) {
    let text = fs::read_to_string(root.join(file)).expect("it is there");
    assert!(text.contains(words), "{file} has no {words:?}: {text}");
}
