//! The `weir` binary: daemons, administration, replay, demonstration.

mod arguments;
mod client;
mod command;
mod configuration;
mod demo;
mod failure;
mod files;
mod logging;
mod moment;
mod output;
mod player;
mod process;
mod progress;
mod recording;
mod service;
mod signals;
mod up;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};

/// Sessions come and go on every core, and its arenas keep what one has freed for the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's own text and exit status 2.
    let arguments = Arguments::parse();
    failure::conclude(run(arguments))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let data = || client::data_directory(arguments.data.clone());
    match arguments.command {
        Command::Status(status) => command::status::run(&data()?, &status),
        Command::Ca(ca) => command::ca::run(&data()?, ca),
        Command::Nodes(nodes) => command::nodes::run(&data()?, nodes),
        Command::Users(users) => command::users::run(&data()?, users),
        Command::Roles(roles) => command::roles::run(&data()?, roles),
        Command::Sessions(sessions) => command::sessions::run(&data()?, sessions),
        Command::Audit(audit) => command::audit::run(&data()?, audit),
        Command::Recordings(recordings) => command::recordings::run(&data()?, recordings),
        Command::Play(play) => command::play::run(&data()?, play),
        Command::Up(up) => up::run(&data()?, up),
        Command::Demo(demo) => demo::run(&demo),
    }
}
