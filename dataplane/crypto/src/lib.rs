//! The one place that names a cryptography library.
