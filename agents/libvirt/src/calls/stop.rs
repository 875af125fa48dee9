//! `stop`: ask the guest, wait, and destroy it when it has not obeyed; done when the process is gone, not when libvirt
//! says so.
//!
//! Asking happens on a thread of its own: a hung emulator makes libvirt wait for it without end, and the wait must not
//! keep the destroying from its time, which needs no answer from the emulator.

use super::{Active, Office, failed};
use crate::desk::Ticket;
use crate::link::Connection;
use crate::pidfd::Process;
use belay_proto::agent::{Answer, Fault};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A guest that boots loses the first request, so it is repeated.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long after libvirt's word a process may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(5);

pub(super) fn stop(
    office: &Office,
    ticket: &Arc<Ticket>,
    name: &str,
    grace_ms: u64,
    destroy: bool,
) -> Result<Answer, Fault> {
    let connection = office.link.connection(ticket.left())?;
    let Some(active) = office.active(&connection, ticket, name)? else {
        return match office.world.living(name) {
            Some(process) => Err(failed(format!(
                "libvirt does not know {name}, but process {} runs it; end that process by hand",
                process.pid()
            ))),
            None => Ok(Answer::Stopped { destroyed: false }),
        };
    };
    let process = office.world.emulator(name, &active.uuid).map(|emulator| emulator.process);
    if process.is_none() && office.world.sees_processes() {
        // libvirt has not noticed yet that its process is dead.
        return Ok(Answer::Stopped { destroyed: false });
    }
    office.world.started(name, &active.uuid, active.state == virt_sys::VIR_DOMAIN_PAUSED);
    let stop = Stop { office, ticket, connection: &connection, active: Arc::new(active), name, process };
    let grace = Duration::from_millis(grace_ms);
    if grace.is_zero() {
        return stop.destroy();
    }
    match (stop.can_obey(), destroy) {
        (true, _) if stop.ask_and_wait(grace)? => Ok(Answer::Stopped { destroyed: false }),
        (_, true) => stop.destroy(),
        (true, false) => Err(failed(format!(
            "{name} has not shut down within {} s and is not to be destroyed; look at its console",
            grace.as_secs()
        ))),
        (false, false) => Err(failed(format!(
            "{name} stands still, so it cannot shut itself down, and is not to be destroyed; resume it first"
        ))),
    }
}

struct Stop<'a> {
    office: &'a Office,
    ticket: &'a Arc<Ticket>,
    connection: &'a Connection,
    active: Arc<Active>,
    name: &'a str,
    process: Option<Arc<Process>>,
}

impl Stop<'_> {
    /// Whether its CPUs run, so that it can react to anything.
    fn can_obey(&self) -> bool {
        let still = [virt_sys::VIR_DOMAIN_PAUSED, virt_sys::VIR_DOMAIN_CRASHED, virt_sys::VIR_DOMAIN_PMSUSPENDED];
        !still.contains(&self.active.state)
    }

    /// Gives whether the guest is gone.
    fn ask_and_wait(&self, grace: Duration) -> Result<bool, Fault> {
        let until = Instant::now() + grace;
        loop {
            self.ask();
            let left = until.saturating_duration_since(Instant::now());
            if self.gone_within(left.min(ASK_AGAIN).min(self.ticket.left())) {
                return Ok(true);
            }
            self.ticket.check()?;
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    fn ask(&self) {
        let (ticket, active) = (Arc::clone(self.ticket), Arc::clone(&self.active));
        let name = self.name.to_owned();
        crate::spawn("shutdown", move || {
            // That the guest has gone meanwhile is no failure, and any other one ends in destroying.
            if let Ok(Err(error)) = ticket.in_libvirt("asking the guest to shut down", || active.domain.shutdown()) {
                crate::log!("note: {name} could not be asked to shut down: {}", error.message());
            }
        });
    }

    fn destroy(&self) -> Result<Answer, Fault> {
        self.ticket.check()?;
        let result = self.ticket.in_libvirt("destroying the domain", || self.active.domain.destroy())?;
        let patience = if result.is_ok() { LAST_BREATH } else { Duration::from_millis(50) };
        match (self.gone_within(patience.min(self.ticket.left())), result) {
            (true, _) => Ok(Answer::Stopped { destroyed: true }),
            (false, Err(error)) => Err(self.office.fault(self.connection, &error)),
            (false, Ok(())) => Err(failed(format!(
                "libvirt has destroyed {}, but its process {} still lives; look what it waits for",
                self.name,
                self.process.as_ref().map_or(0, |process| process.pid())
            ))),
        }
    }

    fn gone_within(&self, patience: Duration) -> bool {
        self.office.world.wait_gone(&self.active.uuid, self.process.as_deref(), patience)
    }
}
