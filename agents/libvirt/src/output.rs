//! Lines to the daemon: one queue, one thread that writes, and no one who waits for a daemon that does not read.
//!
//! Whoever sees a death must not be held up by a full pipe, so pushing never blocks. The queue is bounded all the same:
//! answers by the number of calls that the agent accepts at once, events by folding repetitions into one and, in the
//! end, by telling the daemon that it has missed some and has to list afresh.

use belay_proto::HostFacts;
use belay_proto::agent::{AgentEvent, AgentLine, Answer, Fault};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From this many waiting events on, a repetition replaces what it repeats.
const FOLD_FROM: usize = 256;
/// This many events wait at most.
const EVENTS_MAX: usize = 4096;
/// With this many answers waiting, no more calls are read.
const ANSWERS_MAX: usize = 256;

/// The queue of lines to the daemon.
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<AgentLine>,
    events: usize,
    connected: bool,
    /// How big the host is, as it was last told.
    host: Option<HostFacts>,
    writing: bool,
    broken: bool,
}

impl Output {
    /// Starts the thread that writes to `sink`. When the sink is closed, `on_close` is called and no more is written.
    pub(crate) fn start(sink: impl Write + Send + 'static, on_close: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let this = Arc::new(Self::default());
        let writer = Arc::clone(&this);
        crate::spawn("output", move || {
            if let Err(error) = writer.write_all(sink) {
                crate::log!("error: cannot write to the daemon: {error}");
                writer.lock().broken = true;
                writer.changed.notify_all();
                on_close();
            }
        });
        this
    }

    /// Queues the first line.
    pub(crate) fn hello(&self, uri: &str) {
        self.push(AgentLine::Hello { version: belay_proto::agent::AGENT_VERSION, uri: uri.to_owned() });
    }

    /// Queues an answer. Calls are bounded, each has one answer, so these are too.
    pub(crate) fn answer(&self, id: u64, result: Result<Answer, Fault>) {
        self.push(AgentLine::Answer { id, result });
    }

    /// Queues an event.
    pub(crate) fn event(&self, event: AgentEvent) {
        let mut queue = self.lock();
        match &event {
            AgentEvent::Connected => queue.connected = true,
            AgentEvent::Host(facts) => queue.host = Some(*facts),
            AgentEvent::Disconnected { .. } => queue.connected = false,
            _ => {}
        }
        if queue.events >= FOLD_FROM {
            queue.fold(&event);
        }
        if queue.events >= EVENTS_MAX {
            queue.give_up_events();
        }
        queue.events += 1;
        queue.lines.push_back(AgentLine::Event(event));
        self.changed.notify_all();
    }

    /// Waits until few enough lines are queued that more calls may be taken in. A daemon that calls without reading
    /// the answers is not read from either.
    pub(crate) fn wait_for_room(&self) {
        let mut queue = self.lock();
        while queue.lines.len() - queue.events >= ANSWERS_MAX && !queue.broken {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything is written, or for `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.lock();
        while !(queue.broken || queue.lines.is_empty() && !queue.writing) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn push(&self, line: AgentLine) {
        self.lock().lines.push_back(line);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A thread that panicked with the lock held left a queue that is still a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> AgentLine {
        let mut queue = self.lock();
        queue.writing = false;
        self.changed.notify_all();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.writing = true;
                queue.events -= usize::from(matches!(line, AgentLine::Event(_)));
                return line;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all(&self, mut sink: impl Write) -> io::Result<()> {
        loop {
            let mut line = serde_json::to_vec(&self.next())?;
            line.push(b'\n');
            sink.write_all(&line)?;
            sink.flush()?;
        }
    }
}

impl Queue {
    /// Takes out an earlier event that `event` repeats or makes old: one guest that reboots in a circle must not fill
    /// the queue. Deaths and starts are never folded.
    fn fold(&mut self, event: &AgentEvent) {
        let Some((topic, name)) = topic(event) else { return };
        let old = |line: &AgentLine| matches!(line, AgentLine::Event(e) if topic_is(e, topic, name));
        if let Some(position) = self.lines.iter().rposition(old) {
            self.lines.remove(position);
            self.events -= 1;
        }
    }

    /// Replaces all waiting events by what makes the daemon look for itself.
    fn give_up_events(&mut self) {
        crate::log!("warning: the daemon does not read: {} events dropped, it will have to list", self.events);
        self.lines.retain(|line| !matches!(line, AgentLine::Event(_)));
        let reason = "events were dropped because they were not read".to_owned();
        self.lines.push_back(AgentLine::Event(AgentEvent::Disconnected { reason }));
        if let Some(facts) = self.host {
            self.lines.push_back(AgentLine::Event(AgentEvent::Host(facts)));
        }
        if self.connected {
            self.lines.push_back(AgentLine::Event(AgentEvent::Connected));
        }
        self.events = self.lines.iter().filter(|line| matches!(line, AgentLine::Event(_))).count();
    }
}

fn topic(event: &AgentEvent) -> Option<(u8, &str)> {
    match event {
        AgentEvent::Paused { name, .. } | AgentEvent::Resumed { name } => Some((0, name)),
        AgentEvent::Rebooted { name } => Some((1, name)),
        AgentEvent::IoError { name, .. } => Some((2, name)),
        _ => None,
    }
}

fn topic_is(event: &AgentEvent, number: u8, name: &str) -> bool {
    topic(event) == Some((number, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody writes: what would be written is still there.
    fn waiting(output: &Output) -> Vec<AgentLine> {
        output.lock().lines.iter().cloned().collect()
    }

    #[test]
    fn a_guest_that_reboots_in_a_circle_does_not_push_out_a_death() {
        let output = Output::default();
        output.event(AgentEvent::Started { name: "b".into(), pid: None });
        for _ in 0..100_000 {
            output.event(AgentEvent::Rebooted { name: "a".into() });
        }
        let lines = waiting(&output);
        assert!(lines.len() <= FOLD_FROM + 1, "{}", lines.len());
        assert_eq!(lines[0], AgentLine::Event(AgentEvent::Started { name: "b".into(), pid: None }));
    }

    #[test]
    fn a_daemon_that_does_not_read_is_told_to_list_afresh() {
        let output = Output::default();
        let host = HostFacts { memory_mib: 4096, cpus: 4 };
        output.event(AgentEvent::Host(host));
        output.event(AgentEvent::Connected);
        output.answer(7, Ok(Answer::Migrated));
        for n in 0..=EVENTS_MAX {
            output.event(AgentEvent::Started { name: format!("vm{n}"), pid: None });
        }
        let lines = waiting(&output);
        assert!(lines.len() <= EVENTS_MAX + 1);
        assert_eq!(lines[0], AgentLine::Answer { id: 7, result: Ok(Answer::Migrated) });
        assert!(matches!(lines[1], AgentLine::Event(AgentEvent::Disconnected { .. })), "{:?}", lines[1]);
        assert_eq!(lines[2..4], [AgentLine::Event(AgentEvent::Host(host)), AgentLine::Event(AgentEvent::Connected)]);
    }
}
