//! Randomness that can be repeated.

/// A generator whose seed is printed, so that a failure can be run again: `IM_BRIDGE_SEED=<seed> cargo test <name>`.
pub fn seeded(test: &str) -> fastrand::Rng {
    let given = std::env::var("IM_BRIDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: IM_BRIDGE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
