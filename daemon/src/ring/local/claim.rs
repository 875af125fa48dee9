//! What a daemon holds while it takes part: the right to its node id, and the knowledge that the ring is in use.
//!
//! Both are file locks, which the kernel takes back from a process that dies, however it dies. So the lock on the node
//! id proves that this node's former daemon is gone, and a log that nobody holds can be started afresh.

use super::LocalError;
use super::log::Log;
use belay_proto::NodeId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock may be held by a process that is between fork and exec, or that sets the ring up.
const PATIENCE: Duration = Duration::from_secs(1);

/// The locks, and the directory.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    handle: File,
    _node: Flock<File>,
    _ring: Flock<File>,
}

impl Claim {
    /// Takes the locks, and starts the log afresh if nobody uses it.
    pub(super) fn take(dir: &Path, node: NodeId) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Directory { dir: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let handle = File::open(dir).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        let own = lock(dir, &format!("node.{node}.lock"), FlockArg::LockExclusiveNonblock, deadline).map_err(failed)?;
        let own = own.ok_or_else(|| LocalError::Duplicate { node, dir: dir.to_owned() })?;
        // No deadline: whoever uses the ring holds this one for as long as it does.
        if let Some(exclusive) = lock(dir, RING, FlockArg::LockExclusiveNonblock, Instant::now()).map_err(failed)? {
            remove_sockets(dir).map_err(failed)?;
            Log::start_afresh(dir).map_err(failed)?;
            drop(exclusive);
        }
        let shared = lock(dir, RING, FlockArg::LockSharedNonblock, deadline).map_err(failed)?;
        let shared = shared.ok_or_else(|| LocalError::Occupied { dir: dir.to_owned() })?;
        Ok(Self { path: dir.to_owned(), handle, _node: own, _ring: shared })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory under a name that is always short: a socket's address has room for 107 bytes.
    pub(super) fn short_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }
}

const RING: &str = "ring.lock";

/// Locks a file, created if need be. `None` when somebody else holds it until the deadline.
fn lock(dir: &Path, name: &str, how: FlockArg, deadline: Instant) -> io::Result<Option<Flock<File>>> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(name))?;
    loop {
        file = match Flock::lock(file, how) {
            Ok(locked) => return Ok(Some(locked)),
            Err((_, errno)) if errno != Errno::EWOULDBLOCK => return Err(errno.into()),
            Err(_) if Instant::now() >= deadline => return Ok(None),
            Err((file, _)) => file,
        };
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn remove_sockets(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
