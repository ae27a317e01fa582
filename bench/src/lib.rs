//! Criterion benches and the side-by-side comparisons.
