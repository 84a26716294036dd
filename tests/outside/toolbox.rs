//! A `/usr/sbin` in which the tools of ip6tables can be made to fail; a case's own mount.

use std::fs;
use std::path::Path;

use crate::scene::sh;

/// Every file of the real one, and a script in the place of the tools that the daemon starts.
const SET_UP: &str = "mkdir -p /run/tools/real
: >/run/tools/behaviour
mount --bind /usr/sbin /run/tools/real
mount -t tmpfs tmpfs /usr/sbin
ln -s /run/tools/real/* /usr/sbin/
mount -t tmpfs tmpfs /etc/alternatives";

/// Behaviour of tools: shell text that is read before the tool does its work. `$what` is `save` or
/// `restore`, and `real \"$@\"` does what the tool would.
pub(crate) struct Toolbox(());

impl Toolbox {
    /// With tools of a variant, `nft` or `legacy`, that do as they should.
    pub(crate) fn new(variant: &str) -> Self {
        sh(SET_UP);
        fs::write("/run/tools/variant", variant).expect("written");
        for tool in ["", "-save", "-restore"] {
            sh(&format!(
                "ln -s /usr/sbin/ip6tables-{variant}{tool} /etc/alternatives/ip6tables{tool}"
            ));
        }
        let toolbox = Self(());
        toolbox.put_back();
        toolbox
    }

    /// From now on this happens.
    pub(crate) fn behave(&self, behaviour: &str) {
        let new = "/run/tools/behaviour.new";
        fs::write(new, behaviour).expect("written");
        fs::rename(new, "/run/tools/behaviour").expect("renamed");
    }

    /// The package is gone.
    pub(crate) fn remove(&self) {
        sh("rm /usr/sbin/ip6tables-*-save /usr/sbin/ip6tables-*-restore");
    }

    /// It is there again.
    pub(crate) fn put_back(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside/tool.sh");
        for tool in ["nft-save", "nft-restore", "legacy-save", "legacy-restore"] {
            let script = script.display();
            sh(&format!("ln -sf {script} /usr/sbin/ip6tables-{tool}"));
        }
    }
}
