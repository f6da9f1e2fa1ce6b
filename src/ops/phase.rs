//! Products with {1, i, -1, -i} weights: add, subtract and swap (method section 4).
