use crate::advice::Explanation;

/// What has become of an admitted handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target has said `USERAUTH_SUCCESS`. Its own slot is freed some milliseconds later.
    Authenticated,
    /// The first packet after authentication has come: the target no longer counts it. After, or in place of, [`Outcome::Authenticated`].
    Counted,
    /// Dropped before the target's identification; it may be tried again without effect.
    Dropped(DropForm),
    /// Ended without success after an attempt to authenticate.
    Rejected,
    /// Ended before any attempt: no common algorithm, a host key that is not trusted, a connection lost.
    Broken,
    /// Accepted, and nothing was said until our patience was over.
    Silent,
    /// The target closed it when its `LoginGraceTime` was over.
    LoginTimeout,
    /// The port is shut: the target is down, or restarts.
    Refused,
    /// No connection came about: no route, no answer.
    Unreachable,
    /// Never dialled.
    NotDialled,
}

/// What the client of a drop sees in place of an identification; it tells the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropForm {
    /// A bare close: 8.1 and older, or TCP wrappers.
    Closed,
    /// A reset, where the text got lost.
    Reset,
    /// `Exceeded MaxStartups`: 8.2 to 9.7.
    ExceededMaxStartups,
    /// `Not allowed at this time`: 9.8 and newer, for a ban too.
    NotAllowed,
}

/// What the caller that reports an [`Outcome`] has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the ticket has ended, or its slot is given back without further help.
    Done,
    /// Wait for [`Event::Admit`] again: the same ticket will be tried once more.
    Wait,
    /// Tell the user: the wait limit is over.
    GiveUp(Explanation),
}
