//! Where calls are taken in and answered: each call has a thread, a deadline, and exactly one answer.
//!
//! A call into libvirt can hang for ever, and nothing can interrupt it. So the answer does not depend on it: a clock
//! thread answers `deadline` when the time has come, and what the hung call says later is thrown away. A call that has
//! been answered begins nothing new: it stops at its next step. The number of threads inside libvirt is bounded
//! ([`Ticket::in_libvirt`]), and for each domain no more than one does the same thing there, so that one hung domain
//! cannot take all places. Whoever finds no place waits for one until the call's deadline, and its answer says so. Lists,
//! migrations and cancellations have places of their own, so that stuck starts do not stop them.

use crate::output::Output;
use belay_proto::agent::{Answer, Call, CallKind, Fault, FaultKind};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// This many calls are under way at most; more are refused.
pub(crate) const CALLS_MAX: usize = 512;

/// How many threads may be inside libvirt at once, by the kind of call.
const PLACES: [(Lane, usize); 3] = [(Lane::Domain, 64), (Lane::Migration, 16), (Lane::Cancellation, 4)];

/// The longest deadline that makes sense; a longer one is taken as this.
const DEADLINE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Which places a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Domain,
    Migration,
    Cancellation,
}

impl Lane {
    fn of(what: &CallKind) -> Self {
        match what {
            CallKind::Migrate { .. } => Self::Migration,
            CallKind::CancelMigration { .. } => Self::Cancellation,
            CallKind::List | CallKind::Start { .. } | CallKind::Stop { .. } => Self::Domain,
        }
    }

    /// The domain a call is about.
    fn domain(what: &CallKind) -> Option<String> {
        match what {
            CallKind::List => None,
            CallKind::Start { name, .. }
            | CallKind::Stop { name, .. }
            | CallKind::Migrate { name, .. }
            | CallKind::CancelMigration { name } => Some(name.clone()),
        }
    }

    fn places(self) -> usize {
        PLACES.iter().find(|(lane, _)| *lane == self).map_or(1, |(_, places)| *places)
    }
}

/// See the module.
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    output: Arc<Output>,
}

#[derive(Default)]
struct State {
    /// Calls that have a thread, and how many of these may take as long as a guest likes.
    calls: usize,
    long_calls: usize,
    /// The threads that are inside libvirt.
    visits: Vec<Visit>,
    deadlines: BinaryHeap<Reverse<Due>>,
    numbered: u64,
}

/// One thread inside libvirt. It is stuck when its call was answered without it.
struct Visit {
    ticket: Arc<Ticket>,
    doing: &'static str,
}

struct Due(Instant, u64, Arc<Ticket>);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One call's right to one answer.
pub(crate) struct Ticket {
    id: u64,
    deadline: Instant,
    lane: Lane,
    /// Which domain it is about.
    domain: Option<String>,
    desk: Arc<Desk>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    answered: bool,
    /// Whether it waits for a place inside libvirt.
    queued: bool,
}

impl Desk {
    /// A desk whose clock runs.
    pub(crate) fn start(output: Arc<Output>) -> Arc<Self> {
        let this = Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), output });
        let clock = Arc::clone(&this);
        crate::spawn("deadlines", move || clock.watch_deadlines());
        this
    }

    /// Takes a call in and returns; `work` runs on the call's thread.
    pub(crate) fn take(
        self: &Arc<Self>,
        call: Call,
        work: impl FnOnce(&CallKind, &Arc<Ticket>) -> Result<Answer, Fault> + Send + 'static,
    ) {
        let deadline = Instant::now() + Duration::from_millis(call.deadline_ms).min(DEADLINE_MAX);
        let ticket = Arc::new(Ticket {
            id: call.id,
            deadline,
            lane: Lane::of(&call.what),
            domain: Lane::domain(&call.what),
            desk: Arc::clone(self),
            progress: Mutex::default(),
        });
        let mut state = self.lock();
        if state.calls >= CALLS_MAX {
            drop(state);
            let message = format!("{CALLS_MAX} calls are under way; nothing was done");
            return ticket.answer(Err(Fault { kind: FaultKind::Unreachable, message }));
        }
        let long = !matches!(call.what, CallKind::List | CallKind::Start { .. });
        state.calls += 1;
        state.long_calls += usize::from(long);
        state.numbered += 1;
        let number = state.numbered;
        state.deadlines.push(Reverse(Due(deadline, number, Arc::clone(&ticket))));
        drop(state);
        self.changed.notify_all();
        let desk = Arc::clone(self);
        let begun = crate::spawn("call", move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&call.what, &ticket)));
            ticket.answer(result.unwrap_or_else(|_| {
                let message = "the agent stumbled over this call; see its log".to_owned();
                // What was done before that is not known.
                Err(Fault { kind: FaultKind::Unreachable, message })
            }));
            ticket.desk.leave(long);
        });
        if !begun {
            // Its deadline will answer it.
            desk.leave(long);
        }
    }

    fn leave(&self, long: bool) {
        let mut state = self.lock();
        state.calls -= 1;
        state.long_calls -= usize::from(long);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits, at most for `patience`, until no start or list is under way: a start that is cut off would leave half a
    /// domain behind. Whoever waits for a guest or a migration is not waited for.
    pub(crate) fn drain(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.calls > state.long_calls {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn watch_deadlines(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let Some(Reverse(next)) = state.deadlines.peek() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if next.0 > now {
                let left = next.0.duration_since(now);
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(Reverse(due)) = state.deadlines.pop() {
                due.2.expire(&state);
            }
            state.deadlines.retain(|Reverse(due)| !due.2.progress().answered);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn visitors(&self, lane: Lane) -> impl Iterator<Item = &Visit> {
        self.visits.iter().filter(move |visit| visit.ticket.lane == lane)
    }

    fn is_full_for(&self, ticket: &Ticket, doing: &str) -> bool {
        let same = |visit: &Visit| visit.doing == doing && visit.ticket.domain == ticket.domain;
        self.visitors(ticket.lane).count() >= ticket.lane.places() || self.visits.iter().any(same)
    }

    fn crowd(&self, lane: Lane) -> String {
        let stuck = self.visitors(lane).filter(|visit| visit.ticket.progress().answered).count();
        format!("{} of its {} places are taken, {stuck} by stuck calls", self.visitors(lane).count(), lane.places())
    }
}

impl Ticket {
    /// How much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Fails if the call has been answered meanwhile. Asked before every step that changes something.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.progress().answered || self.left().is_zero() { Err(self.overdue("")) } else { Ok(()) }
    }

    /// Goes into libvirt for one call, when there is a place and still time.
    pub(crate) fn in_libvirt<T>(self: &Arc<Self>, doing: &'static str, work: impl FnOnce() -> T) -> Result<T, Fault> {
        self.enter(doing)?;
        // A panic in a binding must not keep the place for ever.
        let result = catch_unwind(AssertUnwindSafe(work));
        self.leave(doing);
        result.map_err(|_| Fault {
            kind: FaultKind::Unreachable,
            message: format!("the libvirt binding stumbled while {doing}; see the agent's log"),
        })
    }

    fn enter(self: &Arc<Self>, doing: &'static str) -> Result<(), Fault> {
        let mut state = self.desk.lock();
        while state.is_full_for(self, doing) {
            self.progress().queued = true;
            let left = self.left();
            if left.is_zero() || self.progress().answered {
                return Err(self.overdue(&state.crowd(self.lane)));
            }
            state = self.desk.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.check()?;
        state.visits.push(Visit { ticket: Arc::clone(self), doing });
        self.progress().queued = false;
        Ok(())
    }

    fn leave(self: &Arc<Self>, doing: &'static str) {
        let mut state = self.desk.lock();
        let mine = |visit: &Visit| Arc::ptr_eq(&visit.ticket, self) && visit.doing == doing;
        if let Some(place) = state.visits.iter().position(mine) {
            state.visits.swap_remove(place);
        }
        if self.progress().answered {
            crate::log!("note: libvirt has come back from {doing} (call {}) after the call was answered", self.id);
        }
        drop(state);
        self.desk.changed.notify_all();
    }

    /// The deadline has come.
    fn expire(self: &Arc<Self>, state: &State) {
        let queued = {
            let mut progress = self.progress();
            if std::mem::replace(&mut progress.answered, true) {
                return;
            }
            progress.queued
        };
        let inside = state.visits.iter().find(|visit| Arc::ptr_eq(&visit.ticket, self));
        let detail = match inside {
            Some(Visit { doing, .. }) => {
                crate::log!("warning: call {} is stuck in libvirt while {doing}; {}", self.id, state.crowd(self.lane));
                format!(": libvirt has not come back from {doing}; {}", state.crowd(self.lane))
            }
            None if queued => format!(": it could not go into libvirt; {}", state.crowd(self.lane)),
            None => String::new(),
        };
        self.desk.output.answer(self.id, Err(self.overdue(&detail)));
    }

    fn overdue(&self, detail: &str) -> Fault {
        let message =
            format!("the call's time is up and its outcome unknown{detail}; look what runs before you repeat it");
        Fault { kind: FaultKind::Deadline, message }
    }

    fn answer(&self, result: Result<Answer, Fault>) {
        if !std::mem::replace(&mut self.progress().answered, true) {
            self.desk.output.answer(self.id, result);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
