//! Podman behind its Docker-compatible socket: netavark does IPv6 NAT itself, and Podman shows a
//! port without an address of its own as bound to `0.0.0.0`.

use std::process::Child;

use crate::native::{native, nothing_of_ours, stands};
use crate::support::backend::in_use;
use crate::support::lab::daemon::{Daemon, command};
use crate::support::lab::image;
use crate::support::lab::release;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::process::kill;
use crate::support::wait::{SOON, eventually, same};

const SOCKET: &str = "unix:///run/podman.sock";

const ARGS: [&str; 6] = ["--dev", "eth0", "--prefix", PREFIX, "--docker-host", SOCKET];

/// Podman's storage, like all its files, is the lab's own and in memory.
const PODMAN: [&str; 5] = [
    "podman",
    "--root",
    "/run/lab/podman",
    "--runroot",
    "/run/lab/podman-run",
];

/// Runs Podman with these arguments.
#[track_caller]
fn podman(lab: &Lab, args: &[&str]) -> String {
    lab.host().run(&[&PODMAN, args].concat())
}

/// Runs the container `web`, which publishes its port 80 by these options.
#[track_caller]
fn run_web(lab: &Lab, publish: &[&str]) {
    let web = ["--name", "web", "--hostname", "web", "--network", "six"];
    let run = ["run", "--detach", "--cgroups=disabled"];
    podman(
        lab,
        &[&run[..], &web, publish, &["localhost/lab", "tcp:80"]].concat(),
    );
}

/// The process ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

/// What `status` prints.
fn screen(lab: &Lab) -> String {
    let output = command(lab, &["status"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn serves(lab: &Lab, ports: u64) {
    eventually(SOON, &format!("{ports} ports to be served"), || {
        same(native(lab)["served"].as_u64(), Some(ports))
    });
}

#[test]
#[ignore = "needs root and Podman: run by tests/run"]
fn beside_podmans_nat_nothing_of_ours_is_in_the_kernel_while_it_is_there() {
    let lab = Lab::up("podman");
    let version = release::install_podman(lab.host());
    image::load(&lab, &PODMAN, "localhost/lab");
    let six = ["--ipv6", "--subnet", PREFIX, "--disable-dns", "six"];
    podman(&lab, &[&["network", "create"][..], &six].concat());
    let service = [&PODMAN[1..], &["system", "service", "--time=0", SOCKET]].concat();
    let _service = Service(lab.host().spawn("podman", &service, &lab.log("podman")));
    run_web(&lab, &["-p", "8080:80", "-p", "[::]:8081:80"]);
    let [web, other] = [8080, 8081].map(|port| format!("[{HOST}]:{port}"));
    lab.answers(Tcp, &web, "web", CLIENT);

    let mut daemon = Daemon::ready(&lab, &ARGS);
    daemon.says("standing by");
    nothing_of_ours(&lab);
    stands(&lab, "on");
    serves(&lab, 2);
    // Podman shows 8080 as bound to 0.0.0.0, and its NAT serves the port all the same.
    let said = screen(&lab);
    assert!(
        !said.contains("closed"),
        "Podman {version}, {}: {said}",
        in_use().name()
    );
    lab.answers(Tcp, &web, "web", CLIENT);
    lab.answers(Tcp, &other, "web", CLIENT);

    podman(&lab, &["stop", "--time=0", "web"]);
    serves(&lab, 0);
    podman(&lab, &["start", "web"]);
    serves(&lab, 2);
    stands(&lab, "on");
    nothing_of_ours(&lab);

    // Without Podman's NAT, the daemon forwards the port on `::`. For the other, Podman's API shows
    // only 0.0.0.0.
    lab.host()
        .run(&["nft", "delete", "table", "inet", "netavark"]);
    stands(&lab, "off");
    lab.answers(Tcp, &other, "web", CLIENT);
    lab.is_closed(Tcp, &web);
    let dump = command(&lab, &["dump"]).stdout;
    let said = String::from_utf8_lossy(&dump).into_owned();
    assert!(
        said.contains("bound to the IPv4 address 0.0.0.0 only"),
        "{said}"
    );
    daemon.leaves();
}
