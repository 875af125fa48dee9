//! `start`: a transient domain from its definition.
//!
//! A domain of this name and UUID that runs already is what was wanted. One whose process is dead but which libvirt still
//! holds is waited for: libvirt lets go of it when the process has left the process table. One that runs without libvirt
//! knowing it is never started a second time.

use super::{Active, Office, failed};
use crate::desk::Ticket;
use crate::link::Connection;
use belay_agent_libvirt::definition::{self, Definition};
use belay_proto::agent::{Answer, Fault};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use virt::error::ErrorNumber;

/// How often to look whether libvirt has let go of a dead domain.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long libvirt may take to let go of one. After that it may have missed the death, and is told to destroy the domain.
const LET_GO: Duration = Duration::from_secs(2);

pub(super) fn start(office: &Office, ticket: &Arc<Ticket>, name: &str, xml: &str) -> Result<Answer, Fault> {
    let definition = definition::check(xml, name)?;
    let connection = office.link.connection(ticket.left())?;
    let begun = Instant::now();
    let mut told_to_let_go = false;
    loop {
        ticket.check()?;
        let Some(active) = office.active(&connection, ticket, name)? else {
            refuse_unknown_process(office, name)?;
            let patient = begun.elapsed() < LET_GO;
            if let Some(answer) = create(office, &connection, ticket, (name, xml), patient)? {
                return Ok(answer);
            }
            thread::sleep(LOOK_AGAIN);
            continue;
        };
        if is_dying(office, name, &active) {
            if begun.elapsed() > LET_GO && !std::mem::replace(&mut told_to_let_go, true) {
                let _ = ticket.in_libvirt("destroying what is left of the domain", || active.domain.destroy())?;
            }
            thread::sleep(LOOK_AGAIN);
            continue;
        }
        return already(office, name, &active, &definition);
    }
}

fn is_dying(office: &Office, name: &str, active: &Active) -> bool {
    let dead = office.world.sees_processes() && office.world.emulator(name, &active.uuid).is_none();
    dead || active.state == virt_sys::VIR_DOMAIN_SHUTDOWN
}

fn already(office: &Office, name: &str, active: &Active, definition: &Definition) -> Result<Answer, Fault> {
    match &definition.uuid {
        Some(uuid) if *uuid != active.uuid => Err(failed(format!(
            "a domain named {name} with another UUID ({}, not {uuid}) runs here; stop it, or correct the definition",
            active.uuid
        ))),
        _ => {
            let paused = active.state == virt_sys::VIR_DOMAIN_PAUSED;
            Ok(Answer::Started { pid: office.world.started(name, &active.uuid, paused), already: true })
        }
    }
}

fn refuse_unknown_process(office: &Office, name: &str) -> Result<(), Fault> {
    match office.world.living(name) {
        Some(process) => Err(failed(format!(
            "process {} runs {name}, but libvirt does not know it; it is not started twice: end that process first",
            process.pid()
        ))),
        None => Ok(()),
    }
}

/// `None` when libvirt refused because of an earlier life of the domain: look again.
///
/// There is a moment in which libvirt no longer finds the dead domain, and yet refuses the new one ("already being
/// removed"), with an error number that it uses for other failures too. So while there is patience, that number means
/// to try again.
fn create(
    office: &Office,
    connection: &Connection,
    ticket: &Arc<Ticket>,
    (name, xml): (&str, &str),
    patient: bool,
) -> Result<Option<Answer>, Fault> {
    let created = ticket.in_libvirt("starting the domain", || {
        connection.connect().create_domain_xml(xml, virt_sys::VIR_DOMAIN_NONE)?.uuid_string()
    })?;
    match created {
        Ok(uuid) => match office.world.started(name, &uuid, false) {
            None if office.world.sees_processes() => {
                Err(failed(format!("{name} ended right after its start; see its log in libvirt's log directory")))
            }
            pid => Ok(Some(Answer::Started { pid, already: false })),
        },
        Err(error) if patient && error.code() == ErrorNumber::OperationFailed.into() => Ok(None),
        Err(error) => {
            let fault = office.fault(connection, &error);
            if office.active(connection, ticket, name)?.is_some() { Ok(None) } else { Err(fault) }
        }
    }
}
