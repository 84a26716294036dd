//! Tests in network namespaces of their own.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Set in the process inside: the namespace outside, to be sure that it was left.
const OUTSIDE: &str = "DOCKER_NAT66_TEST_OUTSIDE";

/// Runs the calling test's `body` in a fresh network and mount namespace, by executing this
/// test alone once more under `unshare`; with an empty `/run`, where ip6tables-legacy has its
/// lock. Needs no root where user namespaces are allowed, but inside one the nft variant's
/// socket takes no more than about 400 rules at once (`SO_SNDBUFFORCE` is refused), and
/// `/proc/net/ip6_tables_names` cannot be read: tests that need these say so.
pub(crate) fn fresh<F: FnOnce()>(body: F) {
    let network = here();
    if let Some(outside) = env::var_os(OUTSIDE) {
        assert_ne!(network.as_os_str(), outside, "the namespace was not left");
        body();
        return;
    }
    let flags = match rustix::process::geteuid().is_root() {
        true => "-nm",
        false => "-rnm",
    };
    // The closure's type is named after its test: `kernel::real::test::{{closure}}`.
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, test) = name.split_once("::").expect("a crate's name");
    let output = Command::new("unshare")
        .args([flags, "sh", "-c"])
        .args(["mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"])
        .arg(env::current_exe().expect("this test"))
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .env(OUTSIDE, network)
        .output()
        .expect("unshare is installed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    eprint!("{stderr}");
}

/// The calling thread's network namespace.
pub(crate) fn here() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").expect("a network namespace")
}
