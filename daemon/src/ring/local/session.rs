//! One life of this member on the ring, from its join to its end: the loop of the ring's thread.
//!
//! ```text
//!   wait for the log to grow, a peer, the daemon, or the next question
//!     -> answer and ask the peers
//!     -> read the log to its end, hand out what counts
//!     -> write what is wanted and not there yet: join, remove who is gone, the daemon's messages, leave
//! ```
//!
//! What to write is worked out anew after each reading to the end, from what the log then says. So nothing needs to be
//! remembered about earlier attempts: what was beaten by another record or torn is simply written again.

use super::book::Effect;
use super::claim::Claim;
use super::log::Log;
use super::outbox::Outbox;
use super::peers::Peers;
use super::record::{Reason, Record};
use super::{LocalError, LocalSettings};
use crate::ring::RingEvent;
use crate::ring::desk::{Desk, Ear};
use belay_proto::{Incarnation, NodeId};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The kernel tells when the log grows; this often it is looked at all the same.
const LOOK_ANYWAY: Duration = Duration::from_millis(250);

/// After a write failed.
const WRITE_AGAIN: Duration = Duration::from_millis(50);

/// A record leads to at most this many events.
const EVENTS_PER_RECORD: usize = 2;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The ring is gone for this member.
    Down(String),
    /// It left as it was asked to.
    Left,
    /// The daemon dropped the ring.
    Stopped,
}

/// How far reading got.
enum Reading {
    /// All of the log is known.
    AtEnd,
    /// There is more, and it was time to look after the peers.
    More,
    /// The daemon must first take some of it.
    NoRoom,
}

/// One life on the ring.
#[derive(Debug)]
pub(super) struct Session<'a> {
    settings: &'a LocalSettings,
    desk: &'a Desk,
    events: &'a mpsc::Sender<RingEvent>,
    incarnation: Incarnation,
    log: Log,
    outbox: Outbox,
    /// The log has shown this life's join.
    joined: bool,
    failing_since: Option<Instant>,
    grown: Option<Inotify>,
    peers: Peers,
    // Last, and so dropped last: the locks say that this life is over, sockets removed and all.
    _claim: Claim,
}

impl<'a> Session<'a> {
    pub(super) fn open(
        settings: &'a LocalSettings,
        claim: Claim,
        incarnation: Incarnation,
        desk: &'a Desk,
        events: &'a mpsc::Sender<RingEvent>,
    ) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Directory { dir: settings.dir.clone(), source };
        let grown = watch(claim.path());
        let log = Log::open(claim.path()).map_err(failed)?;
        let peers = Peers::listen(&claim.short_path(), settings.node, incarnation, settings.token).map_err(failed)?;
        let outbox = Outbox::new(settings.node, incarnation);
        Ok(Self {
            settings,
            desk,
            events,
            incarnation,
            log,
            outbox,
            joined: false,
            failing_since: None,
            grown,
            peers,
            _claim: claim,
        })
    }

    /// Takes part until something ends it.
    pub(super) fn run(mut self, ear: &mut Ear) -> Ending {
        match self.take_part(ear) {
            Ok(ending) | Err(ending) => ending,
        }
    }

    fn take_part(&mut self, ear: &mut Ear) -> Result<Ending, Ending> {
        self.peers.follow(self.log.book().members(), self.settings.node, Instant::now());
        let mut before = Instant::now();
        loop {
            if self.desk.stopping() || self.events.is_closed() {
                return Ok(Ending::Stopped);
            }
            let now = Instant::now();
            if now.saturating_duration_since(before) > self.settings.token / 2 {
                self.peers.forgive(now);
            }
            before = now;
            self.peers.work(now);
            match self.read(now)? {
                Reading::More => continue,
                Reading::NoRoom => {}
                Reading::AtEnd => {
                    if self.joined {
                        self.desk.set_current(now);
                    }
                    if self.write(now)? {
                        continue;
                    }
                }
            }
            self.wait(ear);
        }
    }

    /// Reads the log and hands out what counts.
    fn read(&mut self, started: Instant) -> Result<Reading, Ending> {
        // Peers must not wait for their answers until a long log is read.
        let enough = started + self.settings.token / 16;
        loop {
            if Instant::now() > enough {
                return Ok(Reading::More);
            }
            if self.events.capacity() < EVENTS_PER_RECORD {
                self.desk.set_waiting_for_room();
                if self.events.capacity() < EVENTS_PER_RECORD {
                    return Ok(Reading::NoRoom);
                }
            }
            match self.log.next().map_err(|error| Ending::Down(error.to_string()))? {
                None => return Ok(Reading::AtEnd),
                Some(Effect::View { removed }) => self.on_view(removed)?,
                Some(Effect::Message { from, incarnation, payload }) => {
                    if (from, incarnation) == (self.settings.node, self.incarnation) {
                        self.outbox.accept();
                    }
                    if self.joined {
                        self.hand_out(RingEvent::Message { from, bytes: payload })?;
                    }
                }
                // The log keeps these to itself.
                Some(Effect::Begun | Effect::Contradiction | Effect::Ended) => {}
            }
        }
    }

    fn on_view(&mut self, removed: Option<(NodeId, Incarnation, Reason, NodeId)>) -> Result<(), Ending> {
        let (node, settings) = (self.settings.node, self.settings);
        let book = self.log.book();
        self.peers.follow(book.members(), node, Instant::now());
        if let Some((gone, _, reason, by)) = removed.filter(|_| self.joined) {
            tracing::info!(node = %gone, ?reason, %by, view = book.view(), "a member was removed from the local ring");
        }
        if !book.seats(node, self.incarnation) {
            return match removed {
                Some((_, _, Reason::Left, _)) if self.joined && self.desk.leaving() => Err(Ending::Left),
                Some((_, _, reason, by)) if self.joined => {
                    let why = if reason == Reason::Silent { "it did not answer in time" } else { "it seemed dead" };
                    Err(Ending::Down(format!("member {by} removed this one: {why}")))
                }
                _ => Ok(()),
            };
        }
        if !self.joined {
            self.joined = true;
            self.desk.up();
        }
        let votes = book.members().keys().filter_map(|member| settings.votes.get(member)).sum::<u32>();
        let quorate = votes >= settings.quorum.max(1);
        let (ring, members) = (book.ring(), book.members().keys().copied().collect());
        let hosts = book.hosts().iter().copied().collect();
        self.desk.set_quorate(quorate);
        self.hand_out(RingEvent::View { ring, members, hosts })?;
        self.hand_out(RingEvent::Quorum { ring, quorate })
    }

    fn hand_out(&self, event: RingEvent) -> Result<(), Ending> {
        // There is room: that was made sure before the record was read.
        self.events.try_send(event).map_err(|_| Ending::Stopped)
    }

    /// Writes what is wanted and not in the log. Whether something was written, and so is to be read.
    fn write(&mut self, now: Instant) -> Result<bool, Ending> {
        match self.try_write() {
            Ok(written) => {
                self.failing_since = None;
                Ok(written)
            }
            Err(error) => {
                let since = *self.failing_since.get_or_insert(now);
                if now.saturating_duration_since(since) > self.settings.token {
                    return Err(Ending::Down(format!("cannot write the log: {error}")));
                }
                Ok(false)
            }
        }
    }

    fn try_write(&mut self) -> io::Result<bool> {
        let (node, incarnation) = (self.settings.node, self.incarnation);
        let book = self.log.book();
        let mut written = false;
        if self.log.offset() > self.settings.segment_bytes {
            self.log.rotate()?;
            // What is written behind it has no effect.
            return Ok(true);
        }
        let remove =
            |gone, life, reason| Record::Remove { view: book.view(), node: gone, incarnation: life, reason, by: node };
        let mut wanted = self.peers.gone().find(|(gone, life, _)| book.seats(*gone, *life));
        if let Some(seat) = book.members().get(&node).filter(|seat| seat.incarnation != incarnation) {
            // The lock on the node id is this process's: whoever had it is dead.
            wanted = Some((node, seat.incarnation, Reason::Died));
        }
        let taken = self.desk.take_proposals();
        self.outbox.extend(taken.proposals);
        if self.joined && taken.leaving && self.outbox.is_empty() {
            wanted = wanted.or(Some((node, incarnation, Reason::Left)));
        }
        if let Some((gone, life, reason)) = wanted {
            self.log.append(&remove(gone, life, reason).encode())?;
            written = true;
        } else if !self.joined {
            self.log.append(&Record::Join { node, incarnation }.encode())?;
            written = true;
        }
        if self.joined {
            self.outbox.write_again();
            let batch = self.outbox.batch();
            if !batch.is_empty() {
                self.log.append(&batch)?;
                written = true;
            }
        }
        Ok(written)
    }

    fn wait(&self, ear: &mut Ear) {
        let now = Instant::now();
        let mut until = now + LOOK_ANYWAY.min(self.settings.token / 4);
        if self.failing_since.is_some() {
            until = until.min(now + WRITE_AGAIN);
        }
        if let Some(question) = self.peers.next_question() {
            until = until.min(question);
        }
        // Rounded up: waking a little early would mean spinning until the moment is there.
        let millis = until.saturating_duration_since(now).as_micros().div_ceil(1000);
        let timeout = PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX));
        let mut waiting: Vec<PollFd<'_>> =
            self.peers.descriptors().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        waiting.push(PollFd::new(ear.as_fd(), PollFlags::POLLIN));
        waiting.extend(self.grown.as_ref().map(|grown| PollFd::new(grown.as_fd(), PollFlags::POLLIN)));
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing sensible can be wrong with these descriptors; not spinning is what matters.
            Err(_) => std::thread::sleep(WRITE_AGAIN),
        }
        drop(waiting);
        ear.listen();
        if let Some(grown) = &self.grown {
            // An empty answer only means that something else woke the thread.
            let _ = grown.read_events();
        }
    }
}

/// Without it the log is still looked at, only not at once.
fn watch(dir: &std::path::Path) -> Option<Inotify> {
    let watching = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
        .and_then(|inotify| inotify.add_watch(dir, AddWatchFlags::IN_MODIFY).map(|_| inotify));
    match watching {
        Ok(inotify) => Some(inotify),
        Err(errno) => {
            tracing::warn!("cannot watch {}: {errno}; raise fs.inotify.max_user_instances", dir.display());
            None
        }
    }
}
