//! One attempt to fence one victim: its methods in order, of each method the devices in order. A device that fails ends
//! its method; the first method whose devices all succeed ends the attempt. Of a power cycle only the first half belongs
//! to the attempt; the second, switching on again, is told with the outcome, to be done when that is known to all.

use super::cycle::{self, with_action};
use super::driver::{About, Desk};
use super::input::{self, InputError};
use super::{Purpose, RunEnd, RunId};
use crate::Moment;
use belay_config::model::Device;
use belay_engine::mutant::{self, Mutant};
use belay_engine::state::work::FenceWork;
use belay_proto::entry::FenceOutcome;
use belay_proto::history::Severity;
use std::time::Duration;

/// How long an agent may take to describe itself.
const METADATA_WITHIN: Duration = Duration::from_secs(10);
/// The longest reason that goes into the history; eight methods with their agents' last words fit.
pub(super) const REASON_CHARS: usize = 4000;

/// Why a device did not work.
#[derive(Debug, thiserror::Error)]
enum DeviceError {
    #[error("it names no device: add one in cluster.conf")]
    None,
    #[error("there is no fencedevice of this name in cluster.conf")]
    NotConfigured,
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("{0}")]
    Failed(String),
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Nobody wants this victim fenced any more.
    Cancelled,
    /// It came to an outcome.
    Known(FenceOutcome),
}

/// The call of the device whose turn it is.
#[derive(Debug)]
struct Call {
    agent: String,
    arguments: Vec<(String, String)>,
    within: Duration,
}

#[derive(Debug)]
enum Stage {
    /// Another attempt asks the same agent what it does unless told otherwise.
    AwaitsWord(Call),
    /// Asks that itself.
    AsksWord(Call, RunId),
    /// Not a failure of the device: without quorum nothing is fenced (design S3), it waits.
    WaitsForQuorum(Call, Moment),
    /// The agent runs; then what would switch the device on again.
    Fences(Call, RunId),
}

/// An attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) work: FenceWork,
    cancelled: bool,
    method: usize,
    device: usize,
    /// Whether the call under way is the first half of a power cycle.
    cycles: bool,
    /// The devices by which the method under way has switched off what they shall switch on again.
    switch_on: Vec<u32>,
    /// Whether it was told that it waits for quorum, since the last call.
    told: bool,
    reasons: Vec<String>,
    stage: Option<Stage>,
}

impl Attempt {
    pub(super) fn new(work: FenceWork) -> Self {
        Self {
            work,
            cancelled: false,
            method: 0,
            device: 0,
            cycles: false,
            switch_on: Vec::new(),
            told: false,
            reasons: Vec::new(),
            stage: None,
        }
    }

    /// Begins with the first device.
    pub(super) fn begin(&mut self, desk: &mut Desk<'_>) -> Option<Ending> {
        if self.work.methods.is_empty() {
            let victim = &self.work.victim_name;
            let reason = format!(
                "{victim} has no fence method: make sure that it is off and run 'belay ack-fence {victim}', \
                 or give it a <method> in cluster.conf"
            );
            return Some(Ending::Known(FenceOutcome::Failed { reason }));
        }
        self.next(desk)
    }

    /// Nobody wants it any more: ends at once, or when its agent does.
    pub(super) fn cancel(&mut self, desk: &mut Desk<'_>) -> Option<Ending> {
        match &self.stage {
            Some(Stage::AsksWord(_, run) | Stage::Fences(_, run)) => {
                if !std::mem::replace(&mut self.cancelled, true) {
                    desk.stop(*run);
                }
                None
            }
            Some(Stage::AwaitsWord(_) | Stage::WaitsForQuorum(..)) | None => Some(Ending::Cancelled),
        }
    }

    /// The run that this attempt waits for.
    pub(super) fn run(&self) -> Option<RunId> {
        match &self.stage {
            Some(Stage::AsksWord(_, run) | Stage::Fences(_, run)) => Some(*run),
            Some(Stage::AwaitsWord(_) | Stage::WaitsForQuorum(..)) | None => None,
        }
    }

    /// The agent that it asks what it does unless told otherwise.
    pub(super) fn asks(&self) -> Option<&str> {
        match &self.stage {
            Some(Stage::AsksWord(call, _)) => Some(&call.agent),
            _ => None,
        }
    }

    /// The agent whose word it awaits through another attempt.
    pub(super) fn awaits(&self) -> Option<&str> {
        match &self.stage {
            Some(Stage::AwaitsWord(call)) => Some(&call.agent),
            _ => None,
        }
    }

    /// When it goes on by itself.
    pub(super) fn due(&self) -> Option<Moment> {
        match &self.stage {
            Some(Stage::WaitsForQuorum(_, until)) => Some(*until),
            _ => None,
        }
    }

    /// Its time has come, or the word it awaited is known or has to be asked for by itself.
    pub(super) fn goes_on(&mut self, desk: &mut Desk<'_>) -> Option<Ending> {
        match self.stage.take() {
            Some(Stage::WaitsForQuorum(call, _)) => self.fence(desk, call),
            Some(Stage::AwaitsWord(call)) => self.split(desk, call),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Its run ended.
    pub(super) fn ended(&mut self, desk: &mut Desk<'_>, how: RunEnd) -> Option<Ending> {
        match (self.stage.take(), how) {
            (Some(Stage::AsksWord(call, _)), RunEnd::Succeeded { output }) => {
                desk.defaults.insert(call.agent.clone(), cycle::default_in(&output));
                self.split(desk, call)
            }
            // It can still fence: it is called as it is configured, and asked again next time.
            (Some(Stage::AsksWord(call, _)), _) => self.fence(desk, call),
            (Some(Stage::Fences(..)), RunEnd::Failed { .. }) if mutant::is(Mutant::FailedAgentConfirms) => {
                self.device += 1;
                self.next(desk)
            }
            (Some(Stage::Fences(..)), RunEnd::Succeeded { .. }) => {
                if std::mem::take(&mut self.cycles) {
                    self.switch_on.extend(u32::try_from(self.device));
                }
                self.device += 1;
                self.next(desk)
            }
            (Some(Stage::Fences(..)), RunEnd::Failed { why }) => self.device_failed(desk, DeviceError::Failed(why)),
            (Some(Stage::Fences(..)), RunEnd::Cancelled) => Some(Ending::Cancelled),
            (Some(Stage::Fences(call, _)), RunEnd::NotQuorate) => {
                if self.cancelled {
                    return Some(Ending::Cancelled);
                }
                if !std::mem::replace(&mut self.told, true) {
                    let victim = &self.work.victim_name;
                    desk.tell(About::from(&self.work), Severity::Warning, format!("fencing {victim} waits for quorum"));
                }
                self.stage = Some(Stage::WaitsForQuorum(call, desk.now + desk.settings.quorum_poll));
                None
            }
            (other, _) => {
                self.stage = other;
                None
            }
        }
    }

    /// The device whose turn it is; or the end, when there is none left.
    fn next(&mut self, desk: &mut Desk<'_>) -> Option<Ending> {
        loop {
            let Some(method) = self.work.methods.get(self.method) else {
                let reason: String = self.reasons.join("; ").chars().take(REASON_CHARS).collect();
                return Some(Ending::Known(FenceOutcome::Failed { reason }));
            };
            if method.devices.is_empty() {
                self.method_failed("", &DeviceError::None);
                continue;
            }
            let (done, left) = method.devices.split_at(self.device.min(method.devices.len()));
            let only_on = |device: &Device| self.only_switches_on(device);
            // All that switch it off have: those that only switch it on are the second half, as with a power cycle. Without
            // one that switches off there is no proof.
            if left.iter().all(only_on) && !done.iter().all(only_on) {
                let rest = self.device..method.devices.len();
                self.switch_on.extend(rest.filter_map(|place| u32::try_from(place).ok()));
                let (method, switch_on) = (method.name.clone(), std::mem::take(&mut self.switch_on));
                return Some(Ending::Known(FenceOutcome::Confirmed { method, switch_on }));
            }
            match self.call(desk) {
                Ok(call) => return self.split(desk, call),
                Err(error) => self.method_failed(&self.device_words(), &error),
            }
        }
    }

    fn only_switches_on(&self, device: &Device) -> bool {
        let Some(fence_device) = self.work.devices.get(&device.fence_device) else { return false };
        let arguments = input::arguments(device, fence_device, &self.work.victim_name);
        arguments.is_ok_and(|arguments| cycle::action(&arguments) == Some(cycle::ON))
    }

    fn call(&self, desk: &Desk<'_>) -> Result<Call, DeviceError> {
        let device = self.work.methods.get(self.method).and_then(|method| method.devices.get(self.device));
        let device = device.ok_or(DeviceError::None)?;
        let fence_device = self.work.devices.get(&device.fence_device).ok_or(DeviceError::NotConfigured)?;
        let arguments = input::arguments(device, fence_device, &self.work.victim_name)?;
        let within = desk.settings.time_limit + input::told_to_wait(&arguments);
        Ok(Call { agent: fence_device.agent.clone(), arguments, within })
    }

    /// Splits a power cycle: the call says that it is one, or says nothing and the agent's metadata do.
    fn split(&mut self, desk: &mut Desk<'_>, call: Call) -> Option<Ending> {
        let is_cycle = match cycle::action(&call.arguments) {
            Some(action) => action == cycle::REBOOT,
            None => match desk.defaults.get(&call.agent) {
                Some(default) => default.as_deref() == Some(cycle::REBOOT),
                None if self.cancelled => return Some(Ending::Cancelled),
                None if desk.asked.contains(&call.agent) => {
                    self.stage = Some(Stage::AwaitsWord(call));
                    return None;
                }
                None => {
                    let about = About::from(&self.work);
                    let run = desk.run(about, &call.agent, cycle::question(), METADATA_WITHIN, Purpose::Metadata);
                    self.stage = Some(Stage::AsksWord(call, run));
                    return None;
                }
            },
        };
        if !is_cycle {
            return self.fence(desk, call);
        }
        self.cycles = true;
        self.fence(desk, Call { arguments: with_action(&call.arguments, cycle::OFF), ..call })
    }

    fn fence(&mut self, desk: &mut Desk<'_>, call: Call) -> Option<Ending> {
        if self.cancelled {
            return Some(Ending::Cancelled);
        }
        let method = self.work.methods.get(self.method);
        let device = method.and_then(|method| method.devices.get(self.device));
        let purpose = Purpose::Fence {
            method: method.map(|method| method.name.clone()).unwrap_or_default(),
            device: device.map(|device| device.fence_device.clone()).unwrap_or_default(),
        };
        let run = desk.run(About::from(&self.work), &call.agent, call.arguments.clone(), call.within, purpose);
        self.stage = Some(Stage::Fences(call, run));
        None
    }

    fn device_failed(&mut self, desk: &mut Desk<'_>, error: DeviceError) -> Option<Ending> {
        self.method_failed(&self.device_words(), &error);
        self.next(desk)
    }

    /// The first device of the next method is the next.
    fn method_failed(&mut self, what: &str, error: &DeviceError) {
        let name = self.work.methods.get(self.method).map_or("", |method| method.name.as_str());
        self.reasons.push(format!("method {name}: {what}{error}"));
        self.method += 1;
        self.device = 0;
        self.told = false;
        self.cycles = false;
        self.switch_on.clear();
    }

    fn device_words(&self) -> String {
        let device = self.work.methods.get(self.method).and_then(|method| method.devices.get(self.device));
        let Some(device) = device else { return String::new() };
        let agent = self.work.devices.get(&device.fence_device).map_or("no agent", |d| d.agent.as_str());
        format!("device {} ({agent}): ", device.fence_device)
    }
}
