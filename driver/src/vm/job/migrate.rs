//! Migrating: asks libvirt to move the domain and reports that it ended, however it did. Whether the domain moved is
//! found out by looking at both ends, which is not this job's business (design S10).

use super::cancel::Cancelling;
use super::desk::{Core, Desk, WAITS};
use super::{DROPPED, End, Input, Standing, Wait};
use crate::Moment;
use crate::vm::{CallId, Reply, VmAction, nonsense};
use belay_config::model::{Migration, Vm};
use belay_engine::mutant::{self, Mutant};
use belay_proto::agent::{Answer, CallKind, Fault};
use belay_proto::entry::WorkOutcome;
use std::time::Duration;

/// Where VMs go whose configuration does not say.
const DEFAULT_URI: &str = "qemu+ssh://%s/system";
/// How often a migration that must end is told so.
const CANCEL_EVERY: Duration = Duration::from_secs(5);

/// The URI to migrate to (rgmanager.md §7.1).
fn target_uri(vm: &Vm, to_name: &str) -> String {
    let host = vm.migration_mapping.get(to_name).map_or(to_name, String::as_str);
    vm.migration_uri.as_deref().unwrap_or(DEFAULT_URI).replace("%s", host)
}

/// A migration.
#[derive(Debug)]
pub(super) struct Migrate(Stage);

#[derive(Debug)]
enum Stage {
    /// For its turn.
    Waits,
    /// Waited for before the question about quorum, so that the call follows it at once.
    WaitsForAgent,
    Moves(Moving),
    /// The call failed, which does not say that nothing moves: the agent that drove it may be gone and the migration not,
    /// and one that was begun before this daemon came makes it fail too. What is reported as ended must not move on.
    Cancels(Cancelling, String),
}

/// The call, and its cancellation when time is over or other work needs the domain. The call's own deadline lies later,
/// so that it normally ends with libvirt's word that the migration was cancelled, not with a guess.
#[derive(Debug)]
struct Moving {
    cancel_at: Moment,
    /// A cancellation that is not answered yet.
    cancelling: Option<CallId>,
    /// Other work has come to wait for the end.
    superseded: bool,
}

impl Migrate {
    pub(super) fn new() -> Self {
        Self(Stage::Waits)
    }

    /// When it is to be cancelled next.
    pub(super) fn cancel_at(&self) -> Option<Moment> {
        match &self.0 {
            Stage::Moves(moving) => Some(moving.cancel_at),
            _ => None,
        }
    }

    pub(super) fn step(&mut self, core: &mut Core, desk: &mut Desk<'_>, input: Input) -> Option<End> {
        match (&mut self.0, input) {
            (Stage::Waits, _) if core.wanted() && !desk.agent_up => {
                self.0 = Stage::WaitsForAgent;
                core.wait = Wait::Agent(desk.now + desk.settings.slack);
                WAITS
            }
            (Stage::Waits | Stage::WaitsForAgent, _) => self.moves(core, desk),
            (Stage::Moves(_), Input::Reply(Reply::NotQuorate)) => Some(DROPPED),
            (Stage::Moves(_), Input::Reply(reply)) => match moved(reply) {
                Ok(()) => Some(ended(true, String::new())),
                Err(fault) if mutant::is(Mutant::FailedMigrationGoesOn) => Some(ended(false, fault.message)),
                Err(fault) => {
                    self.0 = Stage::Cancels(Cancelling::begin(core, desk), fault.message);
                    WAITS
                }
            },
            (Stage::Moves(moving), Input::GoOn) => {
                moving.goes_on(core, desk);
                WAITS
            }
            (Stage::Cancels(cancelling, reason), input) => {
                cancelling.step(core, desk, input).then(|| ended(false, std::mem::take(reason)))
            }
        }
    }

    fn moves(&mut self, core: &mut Core, desk: &mut Desk<'_>) -> Option<End> {
        if !core.wanted() {
            return Some(DROPPED);
        }
        let vm = &core.task.vm;
        let limit = Duration::from(vm.migrate_timeout);
        let what = CallKind::Migrate {
            name: vm.name.clone(),
            to: target_uri(vm, &core.task.to_name),
            live: vm.migrate == Migration::Live,
            tunnelled: vm.tunnelled,
        };
        core.ask_with_quorum(desk, what, limit + desk.settings.slack);
        self.0 = Stage::Moves(Moving { cancel_at: desk.now + limit, cancelling: None, superseded: false });
        WAITS
    }

    /// A cancellation that was made beside the call was answered.
    pub(super) fn cancelled(&mut self, core: &Core, desk: &mut Desk<'_>, call: CallId, reply: Reply) {
        let Stage::Moves(moving) = &mut self.0 else { return };
        if moving.cancelling != Some(call) {
            return;
        }
        moving.cancelling = None;
        if let Err(fault) = reply.answer() {
            let service = core.task.id.service.clone();
            desk.out.push(VmAction::Warn { service, text: format!("the migration cannot be cancelled: {fault}") });
        }
    }
}

impl Moving {
    /// Time passed, or the work's standing changed.
    fn goes_on(&mut self, core: &Core, desk: &mut Desk<'_>) {
        if core.standing == Standing::Superseded && !self.superseded {
            self.superseded = true;
            self.cancel_at = desk.now;
        }
        if self.cancel_at > desk.now {
            return;
        }
        self.cancel_at = desk.now + CANCEL_EVERY;
        if self.cancelling.is_none() {
            let what = CallKind::CancelMigration { name: core.domain() };
            self.cancelling = Some(core.ask_besides(desk, what, desk.settings.list_within));
        }
    }
}

fn ended(ok: bool, reason: String) -> End {
    (Some(WorkOutcome::MigrateEnded { ok, reason }), None)
}

fn moved(reply: Reply) -> Result<(), Fault> {
    match reply.answer()? {
        Answer::Migrated => Ok(()),
        other => Err(nonsense(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_put_into_the_uri_by_its_mapped_name() {
        let mut vm = Vm::new("web1");
        assert_eq!(target_uri(&vm, "node2"), "qemu+ssh://node2/system");
        vm.migration_mapping.insert("node2".into(), "10.0.0.2".into());
        vm.migration_uri = Some("qemu+tcp://%s/system".into());
        assert_eq!(target_uri(&vm, "node2"), "qemu+tcp://10.0.0.2/system");
        assert_eq!(target_uri(&vm, "node3"), "qemu+tcp://node3/system");
    }
}
