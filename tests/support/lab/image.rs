//! The image `lab`, made here and not pulled: busybox, and a server that says whom it sees.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::lab::Lab;
use crate::support::lab::home::{self, Home};

/// The busybox commands that are called by name in a container.
const APPLETS: [&str; 2] = ["sh", "httpd"];

/// The page of the demonstration, for busybox's httpd in `/www`.
const PAGE: &str = r#"#!/bin/sh
read name </proc/sys/kernel/hostname
echo "Content-Type: text/plain"
echo
echo "Hello $REMOTE_ADDR, this is container $name."
"#;

/// Gives the image to the Engine of `lab`, by `docker` or a command like it.
pub(crate) fn load(lab: &Lab, docker: &[&str], name: &str) {
    let tar = made().to_str().expect("a path in UTF-8");
    let entry = r#"ENTRYPOINT ["/bin/answer"]"#;
    // The file is not where every Engine's docker would look for it: the shell opens it.
    let import =
        r#"change=$1 tar=$2 name=$3; shift 3; "$@" import --change "$change" - "$name" <"$tar""#;
    let shell = ["sh", "-ec", import, "import", entry, tar, name];
    lab.host().run(&[&shell, docker].concat());
}

/// The image as a tar file, made once by each process.
fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let home = Home::new("image");
        let bin = home.join("root/bin");
        fs::create_dir_all(&bin).expect("make the image's directory");
        fs::create_dir_all(home.join("root/www/cgi-bin")).expect("make the image's directory");
        let page = home.join("root/www/cgi-bin/hello");
        fs::write(&page, PAGE).expect("write the page");
        fs::set_permissions(&page, Permissions::from_mode(0o755)).expect("make it executable");
        fs::copy("/bin/busybox", bin.join("busybox")).expect("copy busybox-static");
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("link busybox");
        }
        let answer = bin.join("answer");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/lab/answer.rs");
        let mut rustc = Command::new("rustc");
        rustc.args([
            "--edition=2024",
            "-Ctarget-feature=+crt-static",
            "-Cstrip=symbols",
        ]);
        succeed(rustc.arg("-o").arg(&answer).arg(source));
        let made = home.join("image.tar");
        let mut tar = Command::new("tar");
        succeed(
            tar.arg("-C")
                .arg(home.join("root"))
                .arg("-cf")
                .arg(&made)
                .arg("."),
        );
        // Several processes may do this at once: each puts a whole file in the place.
        let place = home::root().join("image.tar");
        fs::rename(&made, &place).expect("put the image in its place");
        home.close(false);
        place
    })
}

fn succeed(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}
