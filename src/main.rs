//! docker-nat66: parse, run, and map the outcome to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).collect();
    match docker_nat66::cli::main(args) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            docker_nat66::logging::last_words(&failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}
