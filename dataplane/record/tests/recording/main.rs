//! Recordings as a whole: written, altered, read, exported, and compared with the specification.

mod content;
mod example;
mod export;
mod mutation;
mod rewrap;
mod sample;
