//! The recording format: encode, chain, seal, verify, read, export.
