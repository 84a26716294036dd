//! A shell script in the place of the tools.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use docker_nat66::backend::ip6tables::Settings;

/// What a healthy tool prints when it lists an empty table.
pub(crate) const EMPTY: &str = "empty";

/// A directory with `ip6tables-save` and `ip6tables-restore`, both the same script.
pub(crate) struct Scripted(tempfile::TempDir);

impl Scripted {
    /// `behaviour` is shell text for every call but `--version`; `$here` is the directory.
    ///
    /// The script itself is a fixed file: one that was just written may not be executed while
    /// another test's child still has it open (ETXTBSY).
    pub(crate) fn new(behaviour: &str) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/tool.sh");
        for tool in ["ip6tables-save", "ip6tables-restore"] {
            symlink(&script, dir.path().join(tool)).expect("link");
        }
        let scripted = Self(dir);
        scripted.behave(behaviour);
        scripted
    }

    /// Another behaviour from now on.
    pub(crate) fn behave(&self, behaviour: &str) {
        fs::write(self.path("behaviour"), behaviour).expect("written");
    }

    /// The variant that `--version` tells from now on.
    pub(crate) fn claim(&self, variant: &str) {
        fs::write(self.path("variant"), variant).expect("written");
    }

    /// A file beside the script.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Settings that find the script and nothing else.
    pub(crate) fn settings(&self) -> Settings {
        settings_in(self.0.path())
    }
}

/// Settings that find the tools in `dir` and nowhere else.
pub(crate) fn settings_in(dir: &Path) -> Settings {
    Settings {
        tool_dirs: vec![dir.to_owned()],
        ..Settings::default()
    }
}

/// Waits for what must come; 10 s is far beyond what any of it takes.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The process id that a script wrote to `file`.
pub(crate) fn pid_in(file: &Path) -> i32 {
    eventually("a pid file", || {
        fs::read_to_string(file)
            .ok()?
            .strip_suffix('\n')?
            .parse()
            .ok()
    })
}

/// Whether the process is there and not a zombie.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
