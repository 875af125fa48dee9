//! `migrate` and `cancel_migration`: libvirt's own peer-to-peer migration, which goes on without this agent.
//!
//! What it answers is libvirt's word. Whether the domain is here or there is for the daemon to look up at both ends.

use super::{Office, failed};
use crate::desk::Ticket;
use crate::native;
use belay_proto::agent::{Answer, Fault, FaultKind};
use std::sync::Arc;
use std::time::Duration;
use virt::domain::MigrateParameters;
use virt::error::ErrorNumber;

/// How a domain is to be moved.
pub(super) struct Order<'a> {
    pub(super) to: &'a str,
    pub(super) live: bool,
    pub(super) tunnelled: bool,
}

pub(super) fn migrate(office: &Office, ticket: &Arc<Ticket>, name: &str, order: &Order<'_>) -> Result<Answer, Fault> {
    if let Some(reason) = office.cannot_migrate {
        return Err(Fault { kind: FaultKind::Unsupported, message: reason.to_owned() });
    }
    if order.to.is_empty() || order.to.contains('\0') {
        return Err(Fault { kind: FaultKind::BadCall, message: "the target is not a libvirt URI".into() });
    }
    let connection = office.link.connection(ticket.left())?;
    let Some(active) = office.active(&connection, ticket, name)? else {
        return Err(failed(format!("{name} does not run here, so it cannot be moved away")));
    };
    let process = office.world.emulator(name, &active.uuid).map(|emulator| emulator.process);
    // A guest that stops on an I/O error in the middle stays here: the target would not do better with half of it.
    let mut flags = virt_sys::VIR_MIGRATE_PEER2PEER | virt_sys::VIR_MIGRATE_ABORT_ON_ERROR;
    if order.live {
        flags |= virt_sys::VIR_MIGRATE_LIVE;
    }
    if order.tunnelled {
        flags |= virt_sys::VIR_MIGRATE_TUNNELLED;
    }
    office.world.migrating(&active.uuid, true);
    let result = ticket.in_libvirt("migrating the domain", || {
        active.domain.migrate_to_uri3(Some(order.to), MigrateParameters::default(), flags)
    });
    let Ok(Ok(())) = result else {
        office.world.migrating(&active.uuid, false);
        return Err(result?.map_or_else(|error| office.fault(&connection, &error), |()| failed(String::new())));
    };
    if process.is_some() && !office.world.wait_gone(&active.uuid, process.as_deref(), Duration::from_secs(5)) {
        return Err(failed(format!("libvirt has moved {name}, but its process here still lives; look at both ends")));
    }
    Ok(Answer::Migrated)
}

pub(super) fn cancel(office: &Office, ticket: &Arc<Ticket>, name: &str) -> Result<Answer, Fault> {
    let connection = office.link.connection(ticket.left())?;
    let Some(active) = office.active(&connection, ticket, name)? else {
        return Err(failed(format!("{name} does not run here (any more), so there is no migration to give up")));
    };
    match ticket.in_libvirt("giving the migration up", || native::abort_job(&active.domain))? {
        Ok(()) => Ok(Answer::Cancelled),
        // There is none: that is what was wanted.
        Err(error) if error.code() == ErrorNumber::OperationInvalid.into() => Ok(Answer::Cancelled),
        Err(error) => Err(office.fault(&connection, &error)),
    }
}
