//! The options in the file from which systemd gives them to the daemon, for commands that a person
//! runs beside it.

use std::fs;
use std::path::Path;

use super::failure::{Exit, Failure};

/// The file that the unit names in `EnvironmentFile=`.
pub(super) const FILE: &str = "/etc/default/docker-nat66";

/// The settings in the file: names without `DOCKER_NAT66_`, and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Defaults(Vec<(String, String)>);

impl Defaults {
    /// Those of this host; none where the file is missing or not for this user.
    pub(super) fn read() -> Result<Self, Failure> {
        use std::io::ErrorKind;
        match fs::read_to_string(Path::new(FILE)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied => Ok(Self::default()),
                _ => Err(Failure::new(Exit::Usage, format!("{FILE}: {error}"))),
            },
        }
    }

    /// Lines of `NAME=VALUE`, the value perhaps in quotes (systemd.exec(5), EnvironmentFile=).
    pub(super) fn parse(text: &str) -> Self {
        let setting = |line: &str| {
            let (name, value) = line.trim().split_once('=')?;
            let name = name.trim_end().strip_prefix("DOCKER_NAT66_")?;
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|quote| {
                let inner = value.strip_prefix(*quote)?;
                inner.strip_suffix(*quote)
            });
            Some((name.to_owned(), bare.unwrap_or(value).to_owned()))
        };
        Self(text.lines().filter_map(setting).collect())
    }

    /// The last value of a setting.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut settings = self.0.iter().rev();
        let found = settings.find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// What was given, or else the list in the file.
    pub(super) fn list(&self, name: &str, given: &[String]) -> Vec<String> {
        match (given.is_empty(), self.get(name)) {
            (true, Some(value)) => value.split(',').map(str::to_owned).collect(),
            _ => given.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_systemd_reads_it() {
        let text = "# DOCKER_NAT66_DEV=no\nDOCKER_NAT66_DEV=eth0,eth1\n\nOTHER=x\n\
                    DOCKER_NAT66_PREFIX=\"fd00::/64\"\nDOCKER_NAT66_STATE_DIR='/a b'\n\
                    DOCKER_NAT66_BACKEND=\n";
        let defaults = Defaults::parse(text);
        assert_eq!(defaults.list("DEV", &[]), ["eth0", "eth1"]);
        assert_eq!(defaults.list("DEV", &["wan".to_owned()]), ["wan"]);
        assert_eq!(defaults.get("PREFIX"), Some("fd00::/64"));
        assert_eq!(defaults.get("STATE_DIR"), Some("/a b"));
        assert_eq!(defaults.get("BACKEND"), None);
    }

    #[test]
    fn the_last_setting_in_the_file_counts() {
        let text = "# DOCKER_NAT66_DEV=no\nDOCKER_NAT66_DEV=eth0\n\n DOCKER_NAT66_DEV=\"eth1,eth2\"\n\
                    DOCKER_NAT66_DEVICE=x\nDOCKER_NAT66_BACKEND = nftables\n";
        let defaults = Defaults::parse(text);
        assert_eq!(defaults.get("DEV"), Some("eth1,eth2"));
        assert_eq!(defaults.get("PREFIX"), None);
        assert_eq!(defaults.get("BACKEND"), Some("nftables"));
    }
}
