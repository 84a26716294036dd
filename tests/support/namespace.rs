//! Tests in network namespaces of their own.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::again::again;

/// Set for the process inside: the outer namespace, so that it can check that it has left it.
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
    passes_under(
        Command::new("unshare")
            .args([flags, "sh", "-c"])
            .args(["mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"])
            .env(OUTSIDE, network),
        &body,
    );
}

/// Runs the calling test once more under `wrapper`, where it must pass, and prints its standard error.
pub(crate) fn passes_under<F>(wrapper: &mut Command, test: &F) {
    let again = again(test);
    let output = wrapper.arg(again.get_program()).args(again.get_args());
    let output = output.output().expect("it is installed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    eprint!("{stderr}");
}

/// Makes the calling thread stop sharing `what` with the other threads.
#[allow(unsafe_code)]
pub(crate) fn leave(what: UnshareFlags) {
    assert!(!what.contains(UnshareFlags::FILES));
    // SAFETY: only `FILES` is dangerous.
    unsafe { unshare_unsafe(what) }.expect("unshare (root is needed)");
}

/// Moves the calling thread into the network namespace that a file refers to.
pub(crate) fn enter(file: impl AsRef<Path>) {
    let namespace = File::open(file).expect("a namespace");
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).expect("enter the namespace");
}

/// The calling thread's network namespace.
pub(crate) fn here() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").expect("a network namespace")
}
