//! One attempt to switch a victim on again that is proven off: its devices in order, all of them, whatever the one before
//! said. One that is tried again is told to do what it has done already, which does no harm.

use super::attempt::REASON_CHARS;
use super::cycle::{self, with_action};
use super::driver::{About, Desk};
use super::input;
use super::{Purpose, RunEnd, RunId};
use belay_engine::state::work::SwitchOnWork;
use belay_proto::entry::FenceOutcome;

/// An attempt.
#[derive(Debug)]
pub(super) struct SwitchingOn {
    pub(super) work: SwitchOnWork,
    /// How many of its devices have had their turn.
    begun: usize,
    run: Option<RunId>,
    cancelled: bool,
    reasons: Vec<String>,
}

impl SwitchingOn {
    pub(super) fn new(work: SwitchOnWork) -> Self {
        Self { work, begun: 0, run: None, cancelled: false, reasons: Vec::new() }
    }

    /// The run that it waits for.
    pub(super) fn run(&self) -> Option<RunId> {
        self.run
    }

    /// Whether nobody wants it any more and nothing runs.
    pub(super) fn is_over(&self) -> bool {
        self.cancelled && self.run.is_none()
    }

    /// Nobody wants it any more. Until its agent has ended nobody else may work on the victim.
    pub(super) fn cancel(&mut self, desk: &mut Desk<'_>) {
        if !std::mem::replace(&mut self.cancelled, true)
            && let Some(run) = self.run
        {
            desk.stop(run);
        }
    }

    /// Its run ended.
    pub(super) fn ended(&mut self, desk: &mut Desk<'_>, how: RunEnd) -> Option<FenceOutcome> {
        self.run = None;
        match how {
            RunEnd::Succeeded { .. } => {}
            RunEnd::Failed { why } => self.failed(&why),
            RunEnd::Cancelled | RunEnd::NotQuorate => self.failed("it was stopped"),
        }
        self.next(desk)
    }

    /// The device whose turn it is; or the end, when there is none left.
    pub(super) fn next(&mut self, desk: &mut Desk<'_>) -> Option<FenceOutcome> {
        while !self.cancelled {
            let Some(device) = self.work.uses.get(self.begun) else {
                let reason: String = self.reasons.join("; ").chars().take(REASON_CHARS).collect();
                return Some(if self.reasons.is_empty() {
                    FenceOutcome::SwitchedOn
                } else {
                    FenceOutcome::StaysOff { reason }
                });
            };
            self.begun += 1;
            let Some(fence_device) = self.work.devices.get(&device.fence_device) else {
                self.failed("there is no fencedevice of this name in cluster.conf");
                continue;
            };
            match input::arguments(device, fence_device, &self.work.victim_name) {
                Ok(arguments) => {
                    let arguments = with_action(&arguments, cycle::ON);
                    let within = desk.settings.time_limit + input::told_to_wait(&arguments);
                    let purpose = Purpose::SwitchOn { device: device.fence_device.clone() };
                    self.run = Some(desk.run(About::from(&self.work), &fence_device.agent, arguments, within, purpose));
                    return None;
                }
                Err(error) => self.failed(&error.to_string()),
            }
        }
        None
    }

    fn failed(&mut self, why: &str) {
        let device = self.begun.checked_sub(1).and_then(|place| self.work.uses.get(place));
        let device = device.map_or("", |device| device.fence_device.as_str());
        let agent = self.work.devices.get(device).map_or("no agent", |d| d.agent.as_str());
        self.reasons.push(format!("device {device} ({agent}): {why}"));
    }
}
