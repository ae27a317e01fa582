//! When may the next handshake to a target start?
