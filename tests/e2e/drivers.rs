//! Both drivers carry sessions and write recordings, and Weir runs on the one that is asked for.
//!
//! `make test` runs all scenarios once more on epoll. What is claimed here holds whichever of the two a run is for.

use weir_tests::{Driver, World};

#[test]
fn weir_runs_on_io_uring_where_that_is_demanded() {
    runs_on(Driver::Uring);
}

#[test]
fn weir_runs_on_epoll_where_that_is_demanded() {
    runs_on(Driver::Epoll);
}

fn runs_on(driver: Driver) {
    let world = World::builder().driver(driver).start();
    assert_eq!(world.weir().driver(), driver);
    world.weir().expect_log(&["accepting", &format!("io={driver:?}")]);
    let sent = "a line there and back\n".repeat(20_000);
    assert!(world.exec("cat").input(sent.clone()).succeed().out() == sent);
    let session = world.weir().only_session();
    world.weir().verify(&session).succeeded();
    assert!(world.weir().export(&session, "text") == sent.as_bytes());
}
