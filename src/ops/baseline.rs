//! Binary and ternary baselines (method section 6).
