//! Dense matrix products: the full-precision baseline, and the layers that stay full.
