//! What systemd is told: ready, alive, what it is doing, stopping.
//!
//! The watchdog is petted from the daemon's loop and from nowhere else, so that a loop that hangs is noticed and the
//! daemon restarted (sd_notify(3), sd_watchdog_enabled(3)).

use belay_proto::control::{Phase, Status};
use sd_notify::NotifyState;
use std::time::Duration;

/// How often the status line is renewed where no watchdog asks for more.
const PULSE: Duration = Duration::from_secs(5);

/// The connection to systemd; does nothing where there is none.
pub(super) struct Systemd {
    watchdog: Option<Duration>,
    shown: String,
}

impl Systemd {
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), shown: String::new() }
    }

    /// How often [`Systemd::alive`] should be called: well within the watchdog's time.
    pub(super) fn pulse(&self) -> Duration {
        self.watchdog.map_or(PULSE, |limit| (limit / 3).min(PULSE))
    }

    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn alive(&mut self, status: &Status) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let text = line(status);
        if text != self.shown {
            tell(&[NotifyState::Status(&text)]);
            self.shown = text;
        }
    }

    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn line(status: &Status) -> String {
    let online = status.members.iter().filter(|member| member.online).count();
    let phase = match status.phase {
        Phase::Joining => "joining",
        Phase::Synchronising => "synchronising",
        Phase::Working if status.quorate => "quorate",
        Phase::Working => "inquorate",
        Phase::Leaving => "leaving",
    };
    let mine = status.services.iter().filter(|service| service.owner == Some(status.node)).count();
    format!("{phase}, {online} of {} members online, {mine} VMs here", status.members.len())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}
