//! The kernel's witness: one thread that sleeps until a watched process ends.
//!
//! It also reaps, when the agent is asked to be a subreaper: whoever waits for the processes' deaths anyway is the one
//! who can take them off the process table at once.

use crate::reap::Reaper;
use crate::world::World;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Makes the watch look at its list of processes again.
#[derive(Debug)]
pub(crate) struct Waker(UnixStream);

impl Waker {
    /// Does nothing if the watch has been woken already.
    pub(crate) fn wake(&self) {
        let _ = (&self.0).write(&[0]);
    }
}

/// The sleeping end of a [`Waker`].
#[derive(Debug)]
pub(crate) struct Sleeper(UnixStream);

/// A waker and its sleeper.
pub(crate) fn waker() -> io::Result<(Waker, Sleeper)> {
    let (near, far) = UnixStream::pair()?;
    // A full socket means that the watch will wake: nobody has to wait to say so twice.
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((Waker(near), Sleeper(far)))
}

/// Starts the thread.
pub(crate) fn start(world: Arc<World>, mut sleeper: Sleeper, reaper: Option<Reaper>) {
    crate::spawn("watch", move || {
        loop {
            let patience = world.settle();
            turn(&world, &mut sleeper, reaper.as_ref(), patience);
        }
    });
}

fn turn(world: &World, sleeper: &mut Sleeper, reaper: Option<&Reaper>, patience: Option<Duration>) {
    let processes = world.watched();
    let mut fds = vec![PollFd::new(sleeper.0.as_fd(), PollFlags::POLLIN)];
    fds.extend(processes.iter().map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)));
    fds.extend(reaper.map(|reaper| PollFd::new(reaper.as_fd(), PollFlags::POLLIN)));
    // One millisecond more, so that a wait of half a one is not a busy loop.
    let timeout = patience.map_or(PollTimeout::NONE, |p| {
        PollTimeout::try_from(p.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
    });
    if let Err(error) = poll(&mut fds, timeout) {
        if error != nix::errno::Errno::EINTR {
            crate::log!("warning: cannot wait for processes: {error}");
            std::thread::sleep(Duration::from_millis(200));
        }
        return;
    }
    let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
    drop(fds);
    let died: Vec<u32> =
        processes.iter().zip(ready.iter().skip(1)).filter(|(_, ready)| **ready).map(|(p, _)| p.pid()).collect();
    if !died.is_empty() {
        world.processes_died(&died);
    }
    if let Some(reaper) = reaper.filter(|_| ready.last() == Some(&true)) {
        reaper.reap();
    }
    if ready.first() == Some(&true) {
        let mut buffer = [0; 256];
        while sleeper.0.read(&mut buffer).is_ok_and(|n| n > 0) {}
    }
}
