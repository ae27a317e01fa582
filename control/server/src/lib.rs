//! The control service: resources, authorities, proof-carrying issuance, audit, and the administrators' socket.
//!
//! [`Control::open`] starts it on threads of its own; a data plane in the same process reaches it through
//! [`Control::data_plane`], administrators through the socket in the data directory.

mod admin;
mod audit_log;
mod authorities;
mod clock;
mod control;
mod convert;
mod data_dir;
mod directory;
mod error;
mod export;
mod issuance;
mod journal;
mod key_source;
mod proof_file;
mod recordings;
mod recovery;
mod replay;
mod retention;
mod rewrap;
mod socket;
mod start;
mod state;

pub use control::{Control, ControlConfig};
pub use error::OpenError;
pub use export::{ExportConfig, Facility, FileConfig, SyslogConfig, TlsConfig};
pub use key_source::KeySource;
pub use weir_policy::RecordingMode;
