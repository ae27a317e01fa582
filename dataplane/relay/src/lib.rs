//! Two hops become one session: filter, policy hooks, taps.
