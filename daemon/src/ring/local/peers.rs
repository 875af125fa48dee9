//! Who is alive: every member watches every other over a Unix socket.
//!
//! A member listens on a socket named after itself and its present life, connects to every other member's, and asks in
//! intervals. When a process dies the kernel closes its end at once: *died*. When it is there but does not answer for
//! the token's time, as a stopped process does, it is *silent*. This module only finds out; what follows from it is
//! decided by the order of the log.

use super::record::{Reason, Seat};
use belay_proto::{Incarnation, NodeId};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// More connections than any ring has members; a further one is closed at once.
const MAX_INCOMING: usize = 256;

/// This member's sockets.
#[derive(Debug)]
pub(super) struct Peers {
    dir: PathBuf,
    own: PathBuf,
    token: Duration,
    listener: UnixListener,
    incoming: Vec<UnixStream>,
    watched: BTreeMap<(NodeId, Incarnation), Watch>,
}

/// One watched member.
#[derive(Debug)]
struct Watch {
    stream: Option<UnixStream>,
    /// When the oldest question without an answer was asked.
    asked: Option<Instant>,
    next_question: Instant,
    verdict: Option<Reason>,
}

impl Peers {
    /// Listens. `dir` is a short path, see [`super::claim::Claim::short_path`].
    pub(super) fn listen(dir: &Path, node: NodeId, incarnation: Incarnation, token: Duration) -> io::Result<Self> {
        let own = address(dir, node, incarnation);
        let listener = UnixListener::bind(&own)?;
        listener.set_nonblocking(true)?;
        Ok(Self { dir: dir.to_owned(), own, token, listener, incoming: Vec::new(), watched: BTreeMap::new() })
    }

    /// Watches these members and no others.
    pub(super) fn follow(&mut self, members: &BTreeMap<NodeId, Seat>, except: NodeId, now: Instant) {
        let listed =
            |node: &NodeId, life: &Incarnation| members.get(node).is_some_and(|seat| seat.incarnation == *life);
        let dir = &self.dir;
        self.watched.retain(|(node, life), _| {
            let stays = listed(node, life);
            if !stays {
                // A process that died could not remove its socket; one that is frozen has no more use for it.
                let _ = std::fs::remove_file(address(dir, *node, *life));
            }
            stays
        });
        for (node, seat) in members.iter().filter(|(node, _)| **node != except) {
            let fresh = || Watch { stream: None, asked: None, next_question: now, verdict: None };
            self.watched.entry((*node, seat.incarnation)).or_insert_with(fresh);
        }
    }

    /// The descriptors to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let watched = self.watched.values().filter(|watch| watch.verdict.is_none());
        let watched = watched.filter_map(|watch| watch.stream.as_ref().map(AsFd::as_fd));
        std::iter::once(self.listener.as_fd()).chain(self.incoming.iter().map(AsFd::as_fd)).chain(watched)
    }

    /// When to come back at the latest.
    pub(super) fn next_question(&self) -> Option<Instant> {
        self.watched.values().filter(|watch| watch.verdict.is_none()).map(|watch| watch.next_question).min()
    }

    /// Answers, asks, and judges.
    pub(super) fn work(&mut self, now: Instant) {
        self.accept();
        self.incoming.retain_mut(answer);
        for ((node, life), watch) in &mut self.watched {
            if watch.verdict.is_none() {
                watch.work(&self.dir, *node, *life, self.token, now);
            }
        }
    }

    /// This process was itself asleep: nobody can be blamed for not having been heard by it.
    pub(super) fn forgive(&mut self, now: Instant) {
        for watch in self.watched.values_mut() {
            watch.asked = watch.asked.map(|_| now);
            if watch.verdict == Some(Reason::Silent) {
                watch.verdict = None;
            }
        }
    }

    /// The members that are gone.
    pub(super) fn gone(&self) -> impl Iterator<Item = (NodeId, Incarnation, Reason)> {
        self.watched.iter().filter_map(|((node, life), watch)| Some((*node, *life, watch.verdict?)))
    }

    fn accept(&mut self) {
        // An error (descriptors used up) is left for the next round.
        while let Ok((stream, _)) = self.listener.accept() {
            if self.incoming.len() < MAX_INCOMING && stream.set_nonblocking(true).is_ok() {
                self.incoming.push(stream);
            }
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.own);
    }
}

impl Watch {
    fn work(&mut self, dir: &Path, node: NodeId, life: Incarnation, token: Duration, now: Instant) {
        if self.stream.is_none() {
            match dial(&address(dir, node, life)) {
                Ok(stream) => self.stream = Some(stream),
                Err(Errno::ECONNREFUSED | Errno::ENOENT) => self.verdict = Some(Reason::Died),
                // Its queue is full, or this process is short of something: silence will tell.
                Err(_) => {}
            }
        }
        match self.stream.as_mut().map(heard) {
            Some(Heard::Answer) => self.asked = None,
            Some(Heard::End) => self.verdict = Some(Reason::Died),
            Some(Heard::Nothing) | None => {}
        }
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) > token) && self.verdict.is_none() {
            self.verdict = Some(Reason::Silent);
        }
        if now >= self.next_question {
            self.next_question = now + token / 4;
            self.asked.get_or_insert(now);
            if let Some(stream) = &mut self.stream {
                // A full buffer means that questions lie there unanswered already; an end is seen when reading.
                let _ = stream.write(&[0]);
            }
        }
    }
}

enum Heard {
    Answer,
    Nothing,
    End,
}

fn heard(stream: &mut UnixStream) -> Heard {
    let mut answered = Heard::Nothing;
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Heard::End,
            Ok(_) => answered = Heard::Answer,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return answered,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Heard::End,
        }
    }
}

/// Sends back what came. Whether the connection stays.
fn answer(stream: &mut UnixStream) -> bool {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            // What the asker does not take it does not miss: one answer is as good as many.
            Ok(count) => drop(stream.write(&buffer[..count])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

fn address(dir: &Path, node: NodeId, life: Incarnation) -> PathBuf {
    dir.join(format!("{node}.{life}.sock"))
}

/// Connects without waiting: the queue of a frozen member may be full.
fn dial(path: &Path) -> Result<UnixStream, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}
