//! The environment variables by which `tests/torture` makes tests do everything instead of a sample.

/// N: only every N-th step of a life. Where it is set, tests run all their cases.
pub(crate) const STRIDE: &str = "DOCKER_NAT66_TORTURE_STRIDE";
/// How many daemons are killed at random moments, for each backend.
pub(crate) const KILLS: &str = "DOCKER_NAT66_TORTURE_KILLS";
/// How many bits of the journal are flipped, one at a time.
pub(crate) const FLIPS: &str = "DOCKER_NAT66_TORTURE_FLIPS";
/// How many power cuts.
pub(crate) const CUTS: &str = "DOCKER_NAT66_TORTURE_CUTS";
/// How many connections the client opens that must not lose one.
pub(crate) const CONNECTS: &str = "DOCKER_NAT66_TORTURE_CONNECTS";
/// For how many seconds a real Engine churns.
pub(crate) const SOAK: &str = "DOCKER_NAT66_TORTURE_SOAK";
/// For how many seconds `dump --diff` is asked beside churn on a fake Engine.
pub(crate) const CHURN: &str = "DOCKER_NAT66_TORTURE_CHURN";
/// The seed of what is drawn by lot; also the step with which a sample begins.
pub(crate) const SEED: &str = "DOCKER_NAT66_TORTURE_SEED";

/// The number in a variable, or `default`.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    given(name).unwrap_or(default)
}

/// The number in a variable, if it is set.
pub(crate) fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Whether to run all cases instead of the sample.
pub(crate) fn in_full() -> bool {
    given(STRIDE).is_some()
}
