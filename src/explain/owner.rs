//! Who wrote a rule. The kernel does not record it, so names of tables and chains decide. Pure.

use super::place::Hook;
use super::trace::ChainName;
use crate::backend::authors::{Author, author, is_ours};

/// Whose a rule or a policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// docker-nat66 itself.
    Ours,
    /// A program that names its tables or chains so that it is known.
    Program(&'static str),
    /// Docker, as the chains beside it suggest.
    ProbablyDocker,
    /// Chains that Docker keeps for the administrator.
    Human,
    /// The kernel says that this process owns the table.
    Process(u32, String),
    /// No name gives it away.
    Unknown,
}

impl Owner {
    /// For the end of a sentence: "… by X, **written by ufw**".
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Ours => "which is docker-nat66's own".to_owned(),
            Self::Program(name) => format!("written by {name}"),
            Self::ProbablyDocker => "probably set by Docker".to_owned(),
            Self::Human => "where a human writes rules".to_owned(),
            Self::Process(pid, name) if name.is_empty() => {
                format!("which process {pid} owns")
            }
            Self::Process(pid, name) => format!("which process {pid} ({name}) owns"),
            Self::Unknown => "written by a human or a program that leaves no name".to_owned(),
        }
    }

    /// A short name, for JSON.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Ours => Some("docker-nat66"),
            Self::Program(name) => Some(name),
            Self::ProbablyDocker => Some("Docker"),
            Self::Human => Some("a human"),
            Self::Process(_, name) => Some(name),
            Self::Unknown => None,
        }
    }
}

/// What is known about a spot besides its names.
#[derive(Debug, Clone, Default)]
pub(super) struct Clues<'c> {
    pub(super) comment: Option<&'c str>,
    /// The process that owns the table, and what it is called.
    pub(super) process: Option<(u32, String)>,
    /// The hook, of the policy of a base chain.
    pub(super) policy_at: Option<Hook>,
    /// Whether Docker's chains are in the same table.
    pub(super) beside_docker: bool,
    /// Whether ufw's chains are in the same table.
    pub(super) beside_ufw: bool,
}

/// Whose a rule of this chain is, or its policy.
pub(super) fn owner(chain: &ChainName, clues: &Clues<'_>) -> Owner {
    if clues.comment.is_some_and(is_ours) {
        return Owner::Ours;
    }
    match author(&chain.table, &chain.chain) {
        Some(Author::Ours) => return Owner::Ours,
        Some(Author::Human) => return Owner::Human,
        Some(Author::Program(name)) => return Owner::Program(name),
        None => {}
    }
    if let Some((pid, name)) = &clues.process {
        return Owner::Process(*pid, name.clone());
    }
    match clues.policy_at {
        Some(_) if clues.beside_ufw => Owner::Program("ufw"),
        Some(Hook::Forward) if clues.beside_docker => Owner::ProbablyDocker,
        _ => Owner::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, chain: &str) -> ChainName {
        ChainName {
            family: 10,
            table: table.to_owned(),
            chain: chain.to_owned(),
        }
    }

    #[test]
    fn programs_are_known_by_the_names_that_they_use() {
        let cases = [
            (chain("filter", "ufw6-user-forward"), Owner::Program("ufw")),
            (
                chain("firewalld", "filter_FORWARD"),
                Owner::Program("firewalld"),
            ),
            (
                chain("filter", "DOCKER-ISOLATION-STAGE-1"),
                Owner::Program("Docker"),
            ),
            (chain("filter", "DOCKER-USER"), Owner::Human),
            (chain("filter", "DOCKER-NAT66"), Owner::Ours),
            (chain("docker_nat66", "forward"), Owner::Ours),
            (
                chain("docker-bridges", "raw-PREROUTING"),
                Owner::Program("Docker"),
            ),
            (chain("filter", "FORWARD"), Owner::Unknown),
        ];
        for (chain, expected) in cases {
            assert_eq!(owner(&chain, &Clues::default()), expected, "{chain:?}");
        }
    }

    #[test]
    fn what_stands_beside_it_tells_whose_a_policy_is() {
        let forward = chain("filter", "FORWARD");
        let clues = |beside_docker, beside_ufw, policy| Clues {
            beside_docker,
            beside_ufw,
            policy_at: Some(Hook::Forward).filter(|_| policy),
            ..Clues::default()
        };
        let of = |clues: Clues<'_>| owner(&forward, &clues);
        assert_eq!(of(clues(true, false, true)), Owner::ProbablyDocker);
        assert_eq!(of(clues(true, true, true)), Owner::Program("ufw"));
        assert_eq!(of(clues(true, false, false)), Owner::Unknown);
        let process = Clues {
            process: Some((9, "fwd".into())),
            ..Clues::default()
        };
        assert_eq!(of(process), Owner::Process(9, "fwd".into()));
        let ours = Clues {
            comment: Some("docker-nat66:0123"),
            ..Clues::default()
        };
        assert_eq!(of(ours), Owner::Ours);
    }
}
