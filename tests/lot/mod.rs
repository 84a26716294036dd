//! What is drawn by lot in tests, the same again for the same seed.

/// The seed, for those who want to see a run again; it is printed.
const SEED: &str = "DOCKER_NAT66_TORTURE_SEED";

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and some mixing per number.
#[derive(Debug)]
pub(crate) struct Lot(u64);

impl Lot {
    /// Of the seed in the environment, or else of one that is always the same.
    pub(crate) fn new() -> Self {
        let named = std::env::var(SEED);
        let seed = named.map_or(1, |text| text.parse().expect("a number"));
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        usize::try_from(x % end as u64).expect("it is below a usize")
    }
}
