use std::fmt;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person or machine that signs in.
    User,
    /// A role's document.
    Role,
    /// A target.
    Node,
    /// A certificate authority; its private key is sealed.
    Authority,
    /// Some other key of the control plane's own, sealed.
    Identity,
    /// The public key of a data plane.
    DataPlane,
    /// Settings of the cluster.
    Settings,
}

impl Kind {
    pub(crate) const ALL: [Kind; 7] = [
        Kind::User,
        Kind::Role,
        Kind::Node,
        Kind::Authority,
        Kind::Identity,
        Kind::DataPlane,
        Kind::Settings,
    ];

    /// The word for it, in the database and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Role => "role",
            Kind::Node => "node",
            Kind::Authority => "authority",
            Kind::Identity => "identity",
            Kind::DataPlane => "data plane",
            Kind::Settings => "settings",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One resource as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// Unique within its kind.
    pub name: String,
    /// The store's revision after the change that wrote it.
    pub revision: u64,
    /// JSON.
    pub body: String,
    /// A secret, encrypted by the caller.
    pub sealed: Option<Vec<u8>>,
}

/// All resources, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Grows with every commit.
    pub revision: u64,
    /// By kind and name.
    pub resources: Vec<Resource>,
}

/// One change of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub kind: Kind,
    /// Which.
    pub name: String,
    /// What the caller believes about what is stored.
    pub expect: Expect,
    /// What becomes of it.
    pub action: Action,
}

/// What must hold for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing of that name is there.
    Absent,
    /// Something of that name is there.
    Present,
    /// It is there, unchanged since it was read with this revision.
    Revision(u64),
    /// Either way.
    Any,
}

/// What becomes of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made or replaced.
    Put {
        /// JSON.
        body: String,
        /// A secret, encrypted by the caller.
        sealed: Option<Vec<u8>>,
    },
    /// It is removed.
    Remove,
}
