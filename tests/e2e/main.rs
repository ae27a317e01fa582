//! End-to-end scenarios, one file each.
//!
//! A claim that must hold through Weir as it does without is listed in [`claims::transparent`] and run both ways.

mod claims;

mod algorithms;
mod audit;
mod bad_input;
mod banner;
mod bulk;
mod cli_as_typed;
mod client_killed_mid_transfer;
mod control_master;
mod demo;
mod disk_fails;
mod drivers;
mod environment;
mod exit_status;
mod forwarding;
mod full_disk;
mod git;
mod half_close;
mod hop_local;
mod killed;
mod killed_under_load;
mod leaks;
mod load_tool;
mod misbehaving_client;
mod pacing_crowds;
mod pacing_outage;
mod pacing_penalties;
mod pacing_seen;
mod pacing_settings;
mod pacing_small;
mod pacing_sources;
mod pacing_untuned;
mod policy;
mod recording_keys;
mod recordings;
mod restart;
mod rsync;
mod scp;
mod server_killed_mid_transfer;
mod sftp;
mod stalled_peer;
mod stdout_stderr_apart;
mod store_away;
mod store_credentials;
mod store_s3;
mod target_forms;
mod terminal_resize;
mod transfers;
mod upstream_certificate;
mod upstream_errors;
mod user_certificates;
mod yes_head;
