//! What the agent does for each call, on the call's own thread.

mod list;
mod migrate;
mod start;
mod stop;

pub(crate) use list::Prober;

use crate::desk::Ticket;
use crate::link::{Connection, Link};
use crate::world::World;
use belay_proto::agent::{Answer, CallKind, Fault, FaultKind};
use std::sync::Arc;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

/// What calls work with.
pub(crate) struct Office {
    pub(crate) world: Arc<World>,
    pub(crate) link: Arc<Link>,
    pub(crate) prober: Prober,
    /// Why this hypervisor cannot migrate, if it cannot.
    pub(crate) cannot_migrate: Option<&'static str>,
}

impl Office {
    /// Carries out a call.
    pub(crate) fn carry_out(&self, what: &CallKind, ticket: &Arc<Ticket>) -> Result<Answer, Fault> {
        match what {
            CallKind::List => list::list(self, ticket),
            CallKind::Start { name, xml } => start::start(self, ticket, name, xml),
            CallKind::Stop { name, grace_ms, destroy } => stop::stop(self, ticket, name, *grace_ms, *destroy),
            CallKind::Migrate { name, to, live, tunnelled } => {
                migrate::migrate(self, ticket, name, &migrate::Order { to, live: *live, tunnelled: *tunnelled })
            }
            CallKind::CancelMigration { name } => migrate::cancel(self, ticket, name),
        }
    }

    /// The active domain of this name, or `None` if libvirt has none.
    fn active(&self, connection: &Connection, ticket: &Arc<Ticket>, name: &str) -> Result<Option<Active>, Fault> {
        let found: Result<Option<Active>, Error> = ticket.in_libvirt("looking the domain up", || {
            let domain = connection.connect().lookup_domain_by_name(name)?;
            let state = domain.state()?.0.to_raw();
            // An id is what libvirt gives to active domains only.
            let active = domain.id().is_some() && state != virt_sys::VIR_DOMAIN_SHUTOFF;
            Ok(if active { Some(Active { uuid: domain.uuid_string()?, domain, state }) } else { None })
        })?;
        match found {
            Err(error) if error.code() == ErrorNumber::NoDomain.into() => Ok(None),
            other => other.map_err(|error| self.fault(connection, &error)),
        }
    }

    /// What an error of libvirt's means for the daemon.
    fn fault(&self, connection: &Connection, error: &Error) -> Fault {
        let message = error.message().to_owned();
        let is = |number: ErrorNumber| error.code() == number.into();
        // By the connection's own state: an error about a connection may be about one to a migration's target.
        let kind = if !self.link.check(connection) {
            FaultKind::Unreachable
        } else if is(ErrorNumber::XmlError) || is(ErrorNumber::XmlDetail) || is(ErrorNumber::XmlInvalidSchema) {
            FaultKind::BadDefinition
        } else if is(ErrorNumber::NoSupport)
            || is(ErrorNumber::OperationUnsupported)
            || is(ErrorNumber::ArgumentUnsupported)
        {
            FaultKind::Unsupported
        } else {
            FaultKind::Failed
        };
        Fault { kind, message }
    }
}

/// An active domain of libvirt's.
struct Active {
    domain: Domain,
    uuid: String,
    state: u32,
}

fn failed(message: String) -> Fault {
    Fault { kind: FaultKind::Failed, message }
}
