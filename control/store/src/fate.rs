/// What becomes of a session's recording. Times are microseconds since 1970-01-01 UTC; 0: not so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Since when nobody may delete it.
    pub held_us: u64,
    /// Why.
    pub hold_reason: String,
    /// Since when it is being deleted: the object may be there or not.
    pub deleting_us: u64,
    /// When it was deleted.
    pub deleted_us: u64,
}

/// What came of the wish to hold a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is held from now on.
    Now,
    /// It is held from now on; it was about to be deleted, so that its object may be gone.
    AtTheLastMoment,
    /// It is held already.
    Before,
    /// It is deleted.
    Deleted,
    /// There is no such session.
    Unknown,
}
