//! One attempt to fence one victim: its methods in order, of each method the devices in order. A device that fails ends
//! its method; the first method whose devices all succeed ends the attempt. Of a power cycle only the first half belongs
//! to the attempt; the second, switching on again, is handed back to be done after the outcome is known.

use super::cycle::{Defaults, with_action};
use super::input::{self, InputError};
use super::mask::Mask;
use super::program::{self, Ended, ProgramError};
use super::{FenceSettings, QuorumProbe};
use belay_config::model::{Device, Method};
use belay_engine::state::work::FenceWork;
use belay_proto::entry::FenceOutcome;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest reason that goes into the history; eight methods with their agents' last words fit.
const REASON_CHARS: usize = 4000;

/// How much of what an agent said goes into the reason.
const WORDS_CHARS: usize = 300;

/// Why a device did not work.
#[derive(Debug, thiserror::Error)]
enum DeviceError {
    #[error("it names no device: add one in cluster.conf")]
    None,
    #[error("there is no fencedevice of this name in cluster.conf")]
    NotConfigured,
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{ended}{words}")]
    Ended { ended: Ended, words: String },
    /// Not a failure: nobody wants this victim fenced any more.
    #[error("given up")]
    Cancelled,
}

/// How an attempt ended, and what is left to switch on.
pub(super) struct Ending {
    pub(super) outcome: FenceOutcome,
    pub(super) power_on: Vec<PowerOn>,
}

/// The second half of a power cycle of one device.
pub(super) struct PowerOn {
    victim: String,
    name: String,
    agent: PathBuf,
    arguments: Vec<(String, String)>,
    limit: Duration,
}

impl PowerOn {
    /// Switches it on. That it fails is no failure to fence: the host stays off until somebody looks.
    pub(super) async fn run(self, settings: &FenceSettings) {
        let (_keep, mut never) = watch::channel(false);
        let mask = Mask::new(&self.arguments);
        let input = input::text(&self.arguments);
        let (victim, name) = (&self.victim, &self.name);
        match program::run(&self.agent, input, self.limit, settings.kill_grace, &mut never).await {
            Ok((Ended::Success, _)) => {
                tracing::info!(belay_node = %victim, agent = %name, "{victim} is switched on again")
            }
            Ok((ended, output)) => {
                let words = last_words(&mask.apply(&output));
                tracing::warn!(
                    belay_node = %victim, agent = %name,
                    "{victim} is off and could not be switched on again, look after it: {ended}{words}"
                );
            }
            Err(error) => tracing::warn!(belay_node = %victim, agent = %name, "{victim} is off and stays so: {error}"),
        }
    }
}

/// Runs the attempt; `None` if it was cancelled.
pub(super) async fn run(
    work: FenceWork,
    settings: Arc<FenceSettings>,
    defaults: Arc<Defaults>,
    quorate: QuorumProbe,
    cancelled: watch::Receiver<bool>,
) -> Option<Ending> {
    let power_on = Vec::new();
    let mut attempt = Attempt { work: &work, settings: &settings, defaults: &defaults, quorate, cancelled, power_on };
    let outcome = attempt.run().await;
    let power_on = std::mem::take(&mut attempt.power_on);
    let (victim, number) = (&work.victim_name, work.attempt);
    match &outcome {
        None => tracing::info!(belay_node = %victim, attempt = number, "fencing {victim} is no longer wanted"),
        Some(FenceOutcome::Confirmed { method }) => {
            tracing::info!(belay_node = %victim, attempt = number, %method, "fencing {victim} confirmed by method {method}");
        }
        Some(FenceOutcome::Failed { reason }) => {
            tracing::error!(belay_node = %victim, attempt = number, "fencing {victim} failed: {reason}");
        }
    }
    outcome.map(|outcome| Ending { outcome, power_on })
}

struct Attempt<'a> {
    work: &'a FenceWork,
    settings: &'a FenceSettings,
    defaults: &'a Defaults,
    /// What the method under way has switched off and shall switch on again.
    power_on: Vec<PowerOn>,
    quorate: QuorumProbe,
    cancelled: watch::Receiver<bool>,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Option<FenceOutcome> {
        let victim = &self.work.victim_name;
        if self.work.methods.is_empty() {
            return Some(FenceOutcome::Failed {
                reason: format!(
                    "{victim} has no fence method: make sure that it is off and run 'belay ack-fence {victim}', \
                     or give it a <method> in cluster.conf"
                ),
            });
        }
        let mut reasons = Vec::new();
        for method in &self.work.methods {
            match self.method(method).await {
                Ok(()) => return Some(FenceOutcome::Confirmed { method: method.name.clone() }),
                Err((_, DeviceError::Cancelled)) => return None,
                Err((what, error)) => reasons.push(format!("method {}: {what}{error}", method.name)),
            }
        }
        let reason: String = reasons.join("; ").chars().take(REASON_CHARS).collect();
        Some(FenceOutcome::Failed { reason })
    }

    /// All devices of a method, or the first that failed.
    async fn method(&mut self, method: &Method) -> Result<(), (String, DeviceError)> {
        if method.devices.is_empty() {
            return Err((String::new(), DeviceError::None));
        }
        self.power_on.clear();
        for device in &method.devices {
            self.device(method, device).await.map_err(|error| {
                let agent = self.work.devices.get(&device.fence_device).map_or("no agent", |d| d.agent.as_str());
                (format!("device {} ({agent}): ", device.fence_device), error)
            })?;
        }
        Ok(())
    }

    async fn device(&mut self, method: &Method, device: &Device) -> Result<(), DeviceError> {
        let fence_device = self.work.devices.get(&device.fence_device).ok_or(DeviceError::NotConfigured)?;
        let arguments = input::arguments(device, fence_device, &self.work.victim_name)?;
        let limit = self.settings.time_limit + input::told_to_wait(&arguments);
        let mask = Mask::new(&arguments);
        let agent = program::find(&fence_device.agent, self.settings.path.as_deref())?;
        let cycle = self.defaults.is_cycle(&agent, &arguments, self.settings, &mut self.cancelled).await;
        let (arguments, on) = if cycle {
            (with_action(&arguments, "off"), Some(with_action(&arguments, "on")))
        } else {
            (arguments, None)
        };
        self.wait_for_quorum().await?;
        let (victim, name) = (&self.work.victim_name, &fence_device.agent);
        let (method, device) = (&method.name, &device.fence_device);
        tracing::info!(belay_node = %victim, attempt = self.work.attempt, %method, %device, agent = %name, "fencing {victim} with {name}");
        let begun = Instant::now();
        let (ended, captured) =
            program::run(&agent, input::text(&arguments), limit, self.settings.kill_grace, &mut self.cancelled).await?;
        let output = mask.apply(&captured);
        tracing::info!(
            belay_node = %victim, attempt = self.work.attempt, %method, %device, agent = %name, result = %ended,
            took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), discarded = captured.discarded(),
            output = %output, "{name} for {victim}: {ended}"
        );
        match ended {
            Ended::Success => {
                let (victim, name) = (victim.clone(), name.clone());
                self.power_on.extend(on.map(|arguments| PowerOn { victim, name, agent, arguments, limit }));
                Ok(())
            }
            Ended::Cancelled => Err(DeviceError::Cancelled),
            ended => Err(DeviceError::Ended { ended, words: last_words(&output) }),
        }
    }

    /// Without quorum nothing is fenced (design S3), and it is no failure of the device either: it waits.
    async fn wait_for_quorum(&mut self) -> Result<(), DeviceError> {
        let mut told = false;
        while !(self.quorate)() {
            if !told {
                tracing::warn!(belay_node = %self.work.victim_name, "fencing {} waits for quorum", self.work.victim_name);
                told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(self.settings.quorum_poll) => {}
                _ = self.cancelled.wait_for(|cancelled| *cancelled) => return Err(DeviceError::Cancelled),
            }
        }
        if *self.cancelled.borrow() { Err(DeviceError::Cancelled) } else { Ok(()) }
    }
}

/// The last lines of an agent's output, where the reason is, in one line.
fn last_words(output: &str) -> String {
    let lines: Vec<_> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" / ");
    if last.is_empty() {
        return ", and said nothing".to_owned();
    }
    let skip = last.chars().count().saturating_sub(WORDS_CHARS);
    let words: String = last.chars().skip(skip).filter(|c| !c.is_control()).collect();
    format!(", saying '{words}'")
}
