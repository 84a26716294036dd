//! What the probe's table does without where the kernel is older than a feature that it uses. Pure.

use rustix::io::Errno;

/// A feature that the probe's table can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    /// A table that ends with its socket (Linux 5.12).
    Owner,
    /// The hook at ingress, in a table of the family inet (Linux 5.10).
    InetIngress,
    /// The same in a table of the family netdev (Linux 4.2, `CONFIG_NETFILTER_INGRESS`).
    NetdevIngress,
}

impl Feature {
    /// Whether this is how kernels without the feature refuse it. The last is for a hook that is
    /// known and was not built in.
    pub(super) fn is_missing(errno: Errno) -> bool {
        [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOENT].contains(&errno)
    }
}

/// Where the chain at ingress stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingress {
    Inet,
    Netdev,
    /// There is none.
    Nowhere,
}

/// What the table uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Means {
    pub(super) is_owned: bool,
    pub(super) ingress: Ingress,
}

impl Means {
    /// Everything.
    pub(super) const ALL: Self = Self {
        is_owned: true,
        ingress: Ingress::Inet,
    };

    /// Without a feature that the kernel has refused.
    pub(super) fn without(self, feature: Feature) -> Self {
        match feature {
            Feature::Owner => Self {
                is_owned: false,
                ..self
            },
            Feature::InetIngress => Self {
                ingress: Ingress::Netdev,
                ..self
            },
            Feature::NetdevIngress => Self {
                ingress: Ingress::Nowhere,
                ..self
            },
        }
    }

    /// What is to be said of it, one sentence each.
    pub(super) fn notes(self) -> Vec<&'static str> {
        let mut notes = Vec::new();
        if !self.is_owned {
            notes.push(
                "this kernel has no tables that end with their process (Linux 5.12 has them): if \
                 explain is killed, the next one removes its table",
            );
        }
        match self.ingress {
            Ingress::Inet => {}
            Ingress::Netdev => notes.push(
                "this kernel has no ingress hook for tables of family inet (Linux 5.10 has it): a \
                 table of family netdev was used",
            ),
            Ingress::Nowhere => notes.push(
                "this kernel has no ingress hook: what takes a packet before prerouting is not \
                 seen",
            ),
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_done_without_and_named() {
        assert!(Means::ALL.notes().is_empty());
        let old = Means::ALL.without(Feature::InetIngress);
        assert_eq!((old.is_owned, old.ingress), (true, Ingress::Netdev));
        let older = old.without(Feature::Owner).without(Feature::NetdevIngress);
        assert_eq!((older.is_owned, older.ingress), (false, Ingress::Nowhere));
        let notes = older.notes().join("\n");
        assert!(
            notes.contains("Linux 5.12") && notes.contains("is not seen"),
            "{notes}"
        );
    }
}
