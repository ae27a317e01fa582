//! End-to-end: real OpenSSH clients and servers, bad input, faults.
