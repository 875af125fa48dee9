//! The states of a service, with the names and numbers that `clustat` shows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a service is doing, as far as the cluster knows. Names and numbers follow rgmanager 3.1.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Runs nowhere for the moment; looked at again at the next event.
    Stopped,
    /// Its owner is starting it.
    Starting,
    /// Runs on its owner.
    Started,
    /// Its owner is stopping it.
    Stopping,
    /// A stop failed: nobody knows what is left. Only `disable` gets out.
    Failed,
    /// Failed, and its owner is cleaning up before recovery.
    Recoverable,
    /// Cleaned up, and about to be started again.
    Recovering,
    /// Kept stopped until an administrator enables it.
    Disabled,
    /// On its way from its owner to another member without a stop.
    Migrating,
}

impl ServiceState {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Stopped,
        Self::Starting,
        Self::Started,
        Self::Stopping,
        Self::Failed,
        Self::Recoverable,
        Self::Recovering,
        Self::Disabled,
        Self::Migrating,
    ];

    /// The number that `clustat -s` exits with and `clustat -x` prints.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Stopped => 110,
            Self::Starting => 111,
            Self::Started => 112,
            Self::Stopping => 113,
            Self::Failed => 114,
            Self::Recoverable => 117,
            Self::Recovering => 118,
            Self::Disabled => 119,
            Self::Migrating => 120,
        }
    }

    /// The word that `clustat` shows.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Recoverable => "recoverable",
            Self::Recovering => "recovering",
            Self::Disabled => "disabled",
            Self::Migrating => "migrating",
        }
    }

    /// Whether the owner named by the record may have a running copy.
    #[must_use]
    pub fn has_owner(self) -> bool {
        match self {
            Self::Starting | Self::Started | Self::Stopping | Self::Migrating | Self::Recoverable => true,
            Self::Stopped | Self::Failed | Self::Recovering | Self::Disabled => false,
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
