//! Two hops, or a hop and a forged peer, in virtual time.

mod attack;
mod exchange;
mod farewell;
mod forged;
mod pair;
mod rekey;
mod steering;
