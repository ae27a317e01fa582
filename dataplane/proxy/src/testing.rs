//! What the tests of this crate have in common.

/// Runs a future to its end on a runtime of its own, with epoll, which every machine has.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime on epoll needs nothing but descriptors")
        .block_on(future)
}
