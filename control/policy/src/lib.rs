//! Pure decisions: (user, login, node) to grant or deny.
//!
//! Roles are TOML documents, read once when a [`PolicySet`] is made of a snapshot; a decision then allocates for its
//! answer alone. What cannot be read never widens access: a user who holds a role that does not exist or does not parse is
//! denied everything, since that role may have been the one that denies.
#![forbid(unsafe_code)]

mod grant;
mod inventory;
mod matcher;
mod role;
mod set;

pub use grant::{Deny, Feature, FeatureSet, Grant, Record, RecordInput, RecordingMode, Rule};
pub use inventory::{Labels, Node, split_user_name, styled_login};
pub use role::{Role, RoleError};
pub use set::{PolicySet, User};

/// The role that exists from the first start on: every node, every login the user has, nothing withheld.
pub const ACCESS_ROLE: &str = include_str!("access.toml");
