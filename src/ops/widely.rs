//! Widely-linear split and merge (method section 1).
