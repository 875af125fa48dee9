//! Disarmed: for a time, nothing is fenced, and what a host that vanishes ran is not started elsewhere.
//!
//! This is for work on the network. Hosts will lose sight of each other, and whoever does the work knows that they are all
//! alive. It ends by itself, since what is forgotten must not leave a cluster without protection; it always has a reason,
//! and everybody is shown it. Then whatever is due is looked at afresh: hosts that are still lost are fenced after the
//! usual delays, counted from that moment, as if they had just been lost.
//!
//! Being disarmed makes nothing unsafe: it only leaves out what would be done. A VM that dies on a host that is there is
//! recovered as ever, as that concerns no host that is away. What administrators ask for is done, and a host that they
//! vouch for (`belay ack-fence`) is believed, and its VMs start elsewhere.

use super::State;
use super::history::event;
use super::service::{Phase, Wanted};
use crate::mutant::{self, Mutant};
use belay_proto::control::Disarmed;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, NodeId, RequestId, Span, Timestamp};

/// The longest time a cluster can be disarmed for at once.
pub(super) const DISARMED_MAX: Span = Span::seconds(24 * 3600);

impl State {
    /// Somebody disarms the cluster, or sets another time for it.
    pub(super) fn disarm(&mut self, id: &RequestId, by: &str, span: Span, reason: &str) {
        let reason = reason.trim();
        let refusal = if span.is_zero() {
            Some("say for how long, for example 30m".to_owned())
        } else if span > DISARMED_MAX {
            Some(format!("{span} is too long: at most {DISARMED_MAX} at once, and it can be repeated"))
        } else if reason.is_empty() {
            Some("give a reason: everybody is shown it for as long as nothing is protected".to_owned())
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.set_answer(id, Code::Invalid, refusal, None);
        }
        self.disarmed = Some(Disarmed { until: self.time + span, reason: reason.to_owned(), by: by.to_owned() });
        let text = format!("{by} disarmed the cluster for {span}: nothing is fenced or recovered ({reason})");
        self.note(event(EventKind::Request, Severity::Critical, text), None);
        for victim in self.victims.values_mut() {
            // An attempt whose agent cannot be called back any more may still confirm: a proof is a proof.
            victim.attempt = None;
        }
        self.hold_switching_on();
        self.set_answer(id, Code::Success, String::new(), None);
    }

    /// Somebody ends it early.
    pub(super) fn arm(&mut self, id: &RequestId, by: &str) {
        if self.disarmed.is_some() {
            self.arm_again(&format!("{by} armed the cluster again"));
            self.set_answer(id, Code::Success, String::new(), None);
        } else {
            self.set_answer(id, Code::Success, "it was armed".into(), None);
        }
    }

    /// Ends it when its time is over.
    pub(crate) fn advance_arming(&mut self) {
        if self.disarmed_until().is_some_and(|until| until <= self.time) && !mutant::is(Mutant::DisarmedForEver) {
            self.arm_again("the disarmed time is over: the cluster is armed again");
        }
    }

    /// When it ends by itself.
    pub(super) fn disarmed_until(&self) -> Option<Timestamp> {
        self.disarmed.as_ref().map(|disarmed| disarmed.until)
    }

    fn arm_again(&mut self, text: &str) {
        self.disarmed = None;
        self.note(event(EventKind::Request, Severity::Notice, text), None);
        let victims: Vec<NodeId> = self.victims.keys().copied().collect();
        for node in victims {
            let record = self.nodes.get(&node).filter(|_| !mutant::is(Mutant::ArmedWithoutDelay));
            let delay = record.map_or(Span::ZERO, |record| self.fencing_delay(&record.standing, false));
            if let Some(victim) = self.victims.get_mut(&node) {
                victim.not_before = self.time + delay;
            }
        }
        self.judge_absent(false);
        self.change_each(|record| {
            if record.phase == (Phase::Stopped { wanted: Wanted::WhenArmed }) {
                record.phase = Phase::Stopped { wanted: Wanted::Now };
                record.waiting = None;
            }
        });
    }

    /// When a service whose host is proven to run nothing is to be started again.
    pub(super) fn wanted_after_loss(&self, by_hand: bool) -> Wanted {
        if self.disarmed.is_some() && !by_hand { Wanted::WhenArmed } else { Wanted::Now }
    }

    /// What a service that is not recovered waits for.
    pub(super) fn disarmed_reason(&self) -> Option<String> {
        let disarmed = self.disarmed.as_ref()?;
        Some(format!("the cluster is disarmed ({}); enable it to start it now", disarmed.reason))
    }

    /// The first thing anybody should see.
    pub(super) fn disarmed_alarm(&self) -> Option<String> {
        let disarmed = self.disarmed.as_ref()?;
        let left = Span::seconds(disarmed.until.since(self.time).0.div_ceil(1000));
        Some(format!(
            "the cluster is disarmed for another {left} by {}: nothing is fenced or recovered ({}); end it with: belay arm",
            disarmed.by, disarmed.reason
        ))
    }
}
