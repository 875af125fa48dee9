//! Why the store refuses or fails, in sentences that name the file and what to do next.

use belay_proto::Index;
use std::path::{Path, PathBuf};

/// Why a store cannot be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another daemon holds the state directory.
    #[error("{dir} is in use by another belayd: stop that one, or give this one its own --state-dir", dir = dir.display())]
    InUse {
        /// The state directory.
        dir: PathBuf,
    },
    /// The state directory cannot be made or locked.
    #[error("cannot use {dir} as state directory: {detail}; see to it that root can write there, or choose another with --state-dir", dir = dir.display())]
    Directory {
        /// The state directory.
        dir: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The file is something else.
    #[error("{file} is no Belay store: {detail}; nothing was changed. Move the file away, or choose another --state-dir", file = file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// How one can tell.
        detail: String,
    },
    /// A later Belay wrote the file.
    #[error("{file} was written by a newer Belay (layout {found}, this one knows {known}); nothing was changed. Install the newer version again, or move the file away to take the state from the other members", file = file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its layout.
        found: u32,
        /// The layout of this build.
        known: u32,
    },
    /// The file was a store and is damaged.
    #[error("{file} is damaged: {detail}; nothing was changed. Move it away together with its -wal and -shm files; belayd then takes the state from the other members", file = file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The store belongs to another cluster or another member.
    #[error("{file} belongs to {found}, but this is {wanted}: choose another --state-dir, or move the file away", file = file.display())]
    Another {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asks.
        wanted: String,
    },
    /// No room on the disk. Trying again later works without reopening.
    #[error("no room to write {file}: {detail}; free some space there, nothing is acknowledged until then", file = file.display())]
    Full {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// The disk failed. Trying again later works without reopening, if the disk comes back.
    #[error("cannot write {file}: {detail}; look at its disk, nothing is acknowledged until it works", file = file.display())]
    Disk {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// Somebody else holds the database's write lock.
    #[error("{file} is locked by another program (an open transaction in sqlite3?): close it, nothing is acknowledged until then", file = file.display())]
    Busy {
        /// The file.
        file: PathBuf,
    },
    /// The caller skipped or repeated an entry. Accepting it would leave a hole that only the next start finds.
    #[error("entry {found} was to be stored where entry {expected} belongs: this is a fault of belayd, report it")]
    Order {
        /// What comes next.
        expected: Index,
        /// What came.
        found: Index,
    },
    /// Something that cannot be stored, or that SQLite refuses for a reason not named above.
    #[error("{file}: {detail}: this is a fault of belayd, report it", file = file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// What it was.
        detail: String,
    },
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may work later on the same open store: the disk is full or failing, or somebody holds the
    /// database. Whoever gets one of these stops acknowledging and tries again.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Disk { .. } | Self::Busy { .. })
    }

    /// What an error of SQLite's means for the store in `file`.
    pub(super) fn from_sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let (file, detail) = (file.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::Full { file, detail },
            // A shared-memory file that cannot grow is how a full disk shows when the -shm file is new.
            Some(Code::SystemIoFailure | Code::CannotOpen | Code::ReadOnly | Code::PermissionDenied) => {
                Self::Disk { file, detail }
            }
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy { file },
            Some(Code::DatabaseCorrupt) => Self::Damaged { file, detail },
            Some(Code::NotADatabase) => Self::Foreign { file, detail },
            _ => Self::Refused { file, detail },
        }
    }
}
