//! Who is at the other end of a connection, by the kernel's word as of the moment it connected: uid, gid and
//! supplementary groups. Nothing is looked up by process id, which may belong to somebody else by then.
#![allow(unsafe_code)] // SO_PEERGROUPS has no safe wrapper.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    /// Whether it may change things.
    pub(super) operator: bool,
}

impl Peer {
    /// Looks at a connection. Root is an operator, and so is whoever is in the group `operators`. So is the user whom the
    /// daemon runs as: who may kill it and write its files may as well ask it. (Root, but for the demo of a user.)
    pub(super) fn of(socket: BorrowedFd<'_>, operators: Option<u32>) -> io::Result<Self> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        let credentials = getsockopt(&socket, PeerCredentials)?;
        let uid = credentials.uid();
        let trusted = uid == 0 || uid == nix::unistd::geteuid().as_raw();
        let member = match operators {
            Some(group) if !trusted => credentials.gid() == group || supplementary_groups(socket)?.contains(&group),
            _ => false,
        };
        Ok(Self { uid, operator: trusted || member })
    }

    /// How the history calls it.
    pub(super) fn name(&self) -> String {
        if self.uid == 0 { "root".to_owned() } else { format!("uid {}", self.uid) }
    }
}

/// The group's number, if there is such a group. May ask a directory service, so it is not called for each client.
pub(super) fn group_id(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// The groups the peer's process had when it connected. The kernel allows 65536 at most.
fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(groups.len() * size_of::<u32>()).map_err(io::Error::other)?;
        // SAFETY: `groups` owns `bytes` bytes of initialised memory for the kernel to write to, `bytes` is a valid
        // in-out length for the duration of the call, and the descriptor is borrowed and so open.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let needed = bytes as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || needed <= groups.len() {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_tells_who_is_at_the_other_end() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(here.as_fd(), None).unwrap();
        assert_eq!(peer.uid, nix::unistd::Uid::current().as_raw());
        let mut expected: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        let mut seen = supplementary_groups(here.as_fd()).unwrap();
        expected.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, expected);
    }
}
