//! A test that needs a process of its own executes itself once more.

use std::any::type_name;
use std::env;
use std::process::Command;

/// A command that runs one test of this program alone. `_test` is the test function, or the closure
/// that is its body.
pub(crate) fn again<F>(_test: &F) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(arguments::<F>());
    command
}

/// The arguments that make the test program run that test alone, with its output shown.
fn arguments<F>() -> [&'static str; 4] {
    // `kernel::real::test`, or `kernel::real::test::{{closure}}` for a closure in it.
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, test) = name.split_once("::").expect("a crate's name");
    [test, "--exact", "--include-ignored", "--nocapture"]
}
