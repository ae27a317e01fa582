//! The data plane: workers, buffers, listeners, dialling, spool.
