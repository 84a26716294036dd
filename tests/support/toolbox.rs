//! Tools of ip6tables that behave as a test says: a script in their place, with or without the tools
//! themselves behind it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use docker_nat66::backend::ip6tables::ToolSettings;

use super::shell::sh;
use super::wait::{SOON, eventually};

/// What a healthy tool prints when it lists an empty table.
pub(crate) const EMPTY: &str = "empty";

/// Where the real tools are while a toolbox is installed.
pub(crate) const REAL: &str = "/run/tools/real";

/// Mounts a new `/usr/sbin` with links to every file of the real one.
const INSTALL: &str = "mkdir -p /run/tools/real
mount --bind /usr/sbin /run/tools/real
mount -t tmpfs tmpfs /usr/sbin
ln -s /run/tools/real /run/tools/real/* /usr/sbin/
mount -t tmpfs tmpfs /etc/alternatives";

/// The directory of the tools.
pub(crate) struct Toolbox {
    dir: PathBuf,
    /// Its own directory, removed with this value.
    _own: Option<tempfile::TempDir>,
}

impl Toolbox {
    /// A directory with `ip6tables-save` and `ip6tables-restore`, which do what [`Self::behave`] says
    /// for every call but `--version`, and nothing else.
    pub(crate) fn scripted(behaviour: &str) -> Self {
        let own = tempfile::tempdir().expect("temp dir");
        let toolbox = Self {
            dir: own.path().to_owned(),
            _own: Some(own),
        };
        for tool in ["ip6tables-save", "ip6tables-restore"] {
            symlink(script(), toolbox.path(tool)).expect("link");
        }
        toolbox.claim("nf_tables");
        toolbox.behave(behaviour);
        toolbox
    }

    /// Takes the place of `/usr/sbin` in this mount namespace: tools of a variant, `nft` or `legacy`,
    /// that work as they should until [`Self::behave`] changes that.
    pub(crate) fn installed(variant: &str) -> Self {
        sh(INSTALL);
        let toolbox = Self {
            dir: PathBuf::from("/usr/sbin"),
            _own: None,
        };
        toolbox.claim(variant);
        toolbox.behave("");
        for tool in ["", "-save", "-restore"] {
            sh(&format!(
                "ln -s /usr/sbin/ip6tables-{variant}{tool} /etc/alternatives/ip6tables{tool}"
            ));
        }
        toolbox.put_back();
        toolbox
    }

    /// From now on the tools do this first: shell text in which `$what` is `save` or `restore`,
    /// `$here` the directory, [`EMPTY`] prints an empty listing, and `real "$@"` does what the tool
    /// would.
    pub(crate) fn behave(&self, behaviour: &str) {
        let new = self.path("behaviour.new");
        fs::write(&new, behaviour).expect("written");
        fs::rename(new, self.path("behaviour")).expect("renamed");
    }

    /// Sets the variant that `--version` prints from now on.
    pub(crate) fn claim(&self, variant: &str) {
        fs::write(self.path("variant"), format!("{variant}\n")).expect("written");
    }

    /// Removes the tools, as if the package were removed.
    pub(crate) fn remove(&self) {
        sh("rm /usr/sbin/ip6tables-*-save /usr/sbin/ip6tables-*-restore");
    }

    /// Puts the script in the place of the tools again.
    pub(crate) fn put_back(&self) {
        let script = script();
        for tool in ["nft-save", "nft-restore", "legacy-save", "legacy-restore"] {
            let script = script.display();
            sh(&format!("ln -sf {script} /usr/sbin/ip6tables-{tool}"));
        }
    }

    /// A file beside the script.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Settings that find these tools and nothing else.
    pub(crate) fn settings(&self) -> ToolSettings {
        settings_in(&self.dir)
    }
}

/// The script is a fixed file: one that was just written cannot be executed while a child of another
/// test still has it open (ETXTBSY).
fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/toolbox.sh")
}

/// Settings that find the tools in `dir` and nowhere else.
pub(crate) fn settings_in(dir: &Path) -> ToolSettings {
    ToolSettings {
        tool_dirs: vec![dir.to_owned()],
        ..ToolSettings::default()
    }
}

/// The process id that a script wrote to `file`.
pub(crate) fn pid_in(file: &Path) -> u32 {
    eventually(SOON, "a pid file", || {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.strip_suffix('\n').ok_or("no line")?;
        line.parse().map_err(|_| "no number")
    })
}
