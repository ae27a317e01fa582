//! A terminal: its type and size arrive, the size follows the near window, control keys work.

use std::time::Duration;

use weir_tests::{Terminal, World};

use crate::claims::transparent;

transparent!(
    the_far_size_follows_the_near_window,
    control_c_interrupts_the_far_program
);

fn the_far_size_follows_the_near_window(world: &World) {
    let config = world.path_text("config");
    let mut terminal = Terminal::start(["ssh", "-F", &config, "target"], 31, 97);
    // Typed apart, so that the echo of the command line is not taken for the answer.
    terminal.type_in("PS1=; stty size; echo $TERM ter''minal\n");
    terminal.expect("31 97");
    terminal.expect("xterm terminal");
    for (rows, columns) in [(40, 120), (24, 80), (55, 211)] {
        terminal.resize(rows, columns);
        terminal.type_in(&format!("until [ \"$(stty size)\" = '{rows} {columns}' ]; do sleep 0.02; done; echo is-{rows}''-{columns}\n"));
        terminal.expect(&format!("is-{rows}-{columns}"));
    }
    terminal.type_in("exit 9\n");
    assert_eq!(
        terminal.wait_within(Duration::from_secs(10)),
        9,
        "{}",
        terminal.screen()
    );
}

fn control_c_interrupts_the_far_program(world: &World) {
    let config = world.path_text("config");
    let mut terminal = Terminal::start(
        ["ssh", "-t", "-F", &config, "target", "echo star''ted; sleep 600"],
        24,
        80,
    );
    terminal.expect("started");
    terminal.type_in("\x03");
    // The far shell died of SIGINT: an exit-signal, for which the client says 255.
    assert_eq!(
        terminal.wait_within(Duration::from_secs(10)),
        255,
        "{}",
        terminal.screen()
    );
}
