//! The socket in the file system: made for everybody to connect to, taken over from a daemon that was killed, never
//! from one that lives.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlListenError {
    /// Another daemon serves it.
    #[error("another daemon already answers on {0}: stop it first, or give this one another --socket")]
    InUse(PathBuf),
    /// Something else has its name.
    #[error("{0} exists and is not a socket: move it away, or give another --socket")]
    NotASocket(PathBuf),
    /// The file system or the kernel refuses.
    #[error("cannot make the control socket {path}: {error}")]
    Io {
        /// The socket's path, or its directory or lock.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// A socket that is ready to be served. Dropping it removes the socket from the file system.
#[derive(Debug)]
pub struct ControlListener {
    pub(super) socket: UnixListener,
    pub(super) path: PathBuf,
    _lock: Flock<File>,
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // The lock is still held, so this is nobody else's socket.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the control socket at `path`, and its directory if need be.
///
/// A file beside it, `path` with `.lock` added, is locked for as long as the listener lives: two daemons that start at
/// the same moment would otherwise both find the socket of a third that was killed, and the second would remove what
/// the first had just made.
///
/// # Errors
/// When another daemon has it, when the name is taken by something else, or when the kernel refuses.
pub fn bind(path: &Path) -> Result<ControlListener, ControlListenError> {
    let failed = |path: &Path, error| ControlListenError::Io { path: path.to_owned(), error };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        make_directory(directory).map_err(|error| failed(directory, error))?;
    }
    let lock = take_lock(path)?;
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ControlListenError::NotASocket(path.to_owned())),
        Ok(_) if somebody_listens(path).map_err(|error| failed(path, error))? => {
            return Err(ControlListenError::InUse(path.to_owned()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(|error| failed(path, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(path, error)),
    }
    let socket = UnixListener::bind(path).map_err(|error| failed(path, error))?;
    let listener = ControlListener { socket, path: path.to_owned(), _lock: lock };
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(|error| failed(path, error))?;
    listener.socket.set_nonblocking(true).map_err(|error| failed(path, error))?;
    Ok(listener)
}

/// Makes the directory so that everybody can get to the socket, whatever the daemon's umask. One that is already there
/// is left as it is: it may be `/tmp`.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o755))
}

fn take_lock(path: &Path) -> Result<Flock<File>, ControlListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |error| ControlListenError::Io { path: name.clone(), error };
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => ControlListenError::InUse(path.to_owned()),
        other => failed(other.into()),
    })
}

/// Whether a connection would be taken, or at least queued. Never waits, however busy the other side is.
fn somebody_listens(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
