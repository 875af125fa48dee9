//! What happened, one line each, for whoever has to understand a failure.

use belay_proto::NodeId;
use belay_proto::history::{EventId, HistoryEvent};
use std::collections::VecDeque;
use std::fmt::Write;

/// How many lines are kept.
const KEPT: usize = 160;

/// The newest lines, and a hash of everything.
#[derive(Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    /// Print each line when it is written.
    pub live: bool,
    /// Also note every message that a member is delivered.
    pub wire: bool,
    /// Keep every line.
    pub keep_all: bool,
    newest: Option<EventId>,
    /// What the cluster said of itself, for stories that look at it.
    history: Option<Vec<HistoryEvent>>,
}

impl Trace {
    /// A number that two runs share only when the same things happened at the same times.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    /// Something a host did or met.
    pub(crate) fn note(&mut self, now: u64, host: NodeId, text: impl FnOnce() -> String) {
        let text = text();
        self.line(now, &format!("node{host}"), &text);
    }

    /// Something the simulator did to the world.
    pub(crate) fn fault(&mut self, now: u64, text: &str) {
        self.line(now, "*****", text);
    }

    /// Keeps the whole history from now on.
    pub(crate) fn keep_history(&mut self) {
        self.history = Some(Vec::new());
    }

    /// What was kept of it.
    pub(crate) fn history(&self) -> &[HistoryEvent] {
        self.history.as_deref().unwrap_or_default()
    }

    /// What the cluster says of itself: the first member to say it.
    pub(crate) fn published(&mut self, now: u64, host: NodeId, event: &HistoryEvent) {
        // Two sides of a split may each have an event of this number.
        if let Some(history) = &mut self.history
            && !history.iter().rev().any(|known| known.id == event.id && known.text == event.text)
        {
            history.push(event.clone());
        }
        if self.newest.is_some_and(|newest| event.id <= newest) {
            return;
        }
        self.newest = Some(event.id);
        let service = event.service.as_ref().map_or("", |service| service.as_str());
        self.line(now, &format!("  ({host})"), &format!("#{} {service} {}", event.id.index, event.text));
    }

    fn line(&mut self, now: u64, who: &str, text: &str) {
        let line = format!("{:>9}  {who:<6} {text}", Seconds(now));
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.live {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > KEPT && !self.keep_all {
            self.lines.pop_front();
        }
    }

    /// The newest lines.
    #[must_use]
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}
