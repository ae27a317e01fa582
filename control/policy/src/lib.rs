//! Pure decisions: (identity, target, action, time) to grant or deny.
