//! `list`: what runs, from libvirt and the process table together; from the process table alone when libvirt is gone
//! or silent. A hung libvirt never makes a list hang, and never makes a domain look stopped.

use super::Office;
use crate::desk::Ticket;
use crate::link::{Connection, Link};
use crate::native::{self, Row};
use crate::sizes::Sizes;
use belay_proto::agent::{Answer, Fault, FaultKind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use virt::error::Error;

/// libvirt is given this long to answer a list, if the call's own deadline is not nearer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn list(office: &Office, ticket: &Arc<Ticket>) -> Result<Answer, Fault> {
    let connection = match office.link.connection(ticket.left()) {
        Ok(connection) => connection,
        Err(fault) if !office.world.sees_processes() => return Err(fault),
        Err(_) => return Ok(Answer::Domains(office.world.processes_alive())),
    };
    // Half of what is left: the other half is for the answer that does without libvirt.
    let patience = if office.world.sees_processes() { PATIENCE.min(ticket.left() / 2) } else { ticket.left() };
    match office.prober.probe(&office.link, &connection, patience) {
        Some(Ok((rows, asked))) => Ok(Answer::Domains(office.world.reconcile(&rows, asked, true))),
        Some(Err(error)) => {
            let fault = office.fault(&connection, &error);
            if office.world.sees_processes() && fault.kind == FaultKind::Unreachable {
                return Ok(Answer::Domains(office.world.processes_alive()));
            }
            Err(fault)
        }
        None => {
            office.link.silent(&connection);
            if !office.world.sees_processes() {
                let message = "libvirt does not answer; nothing is known of its domains".to_owned();
                return Err(Fault { kind: FaultKind::Deadline, message });
            }
            Ok(Answer::Domains(office.world.processes_alive()))
        }
    }
}

type Probed = Result<(Vec<Row>, Instant), Error>;

/// Asks libvirt for the states of all domains, on a thread of its own, of which a connection never has more than one:
/// a hung libvirt costs one thread, however often it is asked.
#[derive(Default)]
pub(crate) struct Prober {
    slot: Arc<(Mutex<Slot>, Condvar)>,
    sizes: Arc<Sizes>,
}

#[derive(Default)]
struct Slot {
    started: u64,
    /// The probe under way and the connection it asks. It is held so that its address cannot come to mean another.
    asking: Option<(u64, Arc<Connection>)>,
    answered: Option<(u64, Probed)>,
}

impl Prober {
    /// `None` if libvirt did not answer for `patience`.
    fn probe(&self, link: &Arc<Link>, connection: &Arc<Connection>, patience: Duration) -> Option<Probed> {
        let until = Instant::now() + patience;
        let (mutex, changed) = &*self.slot;
        let mut slot = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        // A probe that is under way began before this one was wanted, so it is not the answer. One that asks a
        // connection which was given up meanwhile may hang for ever, and is left to itself.
        while slot.asking.as_ref().is_some_and(|(_, asked)| Arc::ptr_eq(asked, connection)) {
            let left = until.checked_duration_since(Instant::now())?;
            slot = changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        slot.started += 1;
        let mine = slot.started;
        slot.asking = Some((mine, Arc::clone(connection)));
        self.ask(link, connection, mine);
        loop {
            if let Some((_, result)) = slot.answered.as_ref().filter(|(number, _)| *number >= mine) {
                return Some(result.clone());
            }
            let left = until.checked_duration_since(Instant::now())?;
            slot = changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask(&self, link: &Arc<Link>, connection: &Arc<Connection>, number: u64) {
        let (shared, link, connection) = (Arc::clone(&self.slot), Arc::clone(link), Arc::clone(connection));
        let sizes = Arc::clone(&self.sizes);
        crate::spawn("list", move || {
            let asked = Instant::now();
            let result = native::active_domains(connection.connect()).map(|mut rows| {
                sizes.fill(connection.connect(), &mut rows);
                (rows, asked)
            });
            let answers = result.is_ok();
            let (mutex, changed) = &*shared;
            let mut slot = mutex.lock().unwrap_or_else(PoisonError::into_inner);
            slot.asking.take_if(|(asking, _)| *asking == number);
            if slot.answered.as_ref().is_none_or(|(last, _)| *last < number) {
                slot.answered = Some((number, result));
            }
            drop(slot);
            changed.notify_all();
            // Also when nobody waits any more: this is how the end of a silence is noticed.
            if answers {
                link.answers(&connection);
            }
        });
    }
}
