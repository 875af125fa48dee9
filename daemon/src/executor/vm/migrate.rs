//! Migrating: asks libvirt to move the domain and reports that it ended, however it did. Whether the domain moved is
//! found out by looking at both ends, which is not this task's business (design S10).

use super::job::{DROPPED, End, Job, Standing, unsure};
use belay_config::model::{Migration, Vm};
use belay_proto::agent::{Answer, CallKind, Fault};
use belay_proto::entry::WorkOutcome;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Where VMs go whose configuration does not say.
const DEFAULT_URI: &str = "qemu+ssh://%s/system";
/// How often a migration that must end is told so.
const CANCEL_EVERY: Duration = Duration::from_secs(5);

/// The URI to migrate to (rgmanager.md §7.1).
fn target_uri(vm: &Vm, to_name: &str) -> String {
    let host = vm.migration_mapping.get(to_name).map_or(to_name, String::as_str);
    vm.migration_uri.as_deref().unwrap_or(DEFAULT_URI).replace("%s", host)
}

impl Job {
    /// Moves the domain.
    pub(super) async fn migrate(&mut self) -> End {
        // Waited for before the question about quorum, so that the call follows it at once.
        self.agent_within(self.settings.slack).await;
        if !self.wanted() || !(self.quorate)() {
            return DROPPED;
        }
        let result = self.move_it().await;
        if result.as_ref().is_err_and(unsure) {
            // The agent that drove it is gone or hangs, the migration perhaps not. Best effort: there may be none.
            self.agent.up_within(self.settings.slack).await;
            let _ = self.cancel().await;
        }
        let (ok, reason) = match result {
            Ok(_) => (true, String::new()),
            Err(fault) => (false, fault.message),
        };
        (Some(WorkOutcome::MigrateEnded { ok, reason }), None)
    }

    /// The call, and its cancellation when time is over or other work needs the domain. The call's own deadline lies
    /// later, so that it normally ends with libvirt's word that the migration was cancelled, not with a guess.
    async fn move_it(&self) -> Result<Answer, Fault> {
        let vm = &self.task.vm;
        let limit = Duration::from(vm.migrate_timeout);
        let what = CallKind::Migrate {
            name: vm.name.clone(),
            to: target_uri(vm, &self.task.to_name),
            live: vm.migrate == Migration::Live,
            tunnelled: vm.tunnelled,
        };
        let call = self.agent.call(what, limit + self.settings.slack);
        tokio::pin!(call);
        let mut cancel_at = Instant::now() + limit;
        let mut standing = self.standing.clone();
        let mut superseded = false;
        loop {
            tokio::select! {
                answer = &mut call => return answer,
                () = sleep_until(cancel_at) => {
                    cancel_at = Instant::now() + CANCEL_EVERY;
                    if let Err(fault) = self.cancel().await {
                        tracing::warn!(service = %self.task.key.service, "the migration cannot be cancelled: {fault}");
                    }
                }
                other_work_waits = superseded_by(&mut standing), if !superseded => {
                    superseded = true;
                    if other_work_waits {
                        cancel_at = Instant::now();
                    }
                }
            }
        }
    }

    async fn cancel(&self) -> Result<Answer, Fault> {
        let what = CallKind::CancelMigration { name: self.domain().to_owned() };
        self.agent.call(what, self.settings.list_within).await
    }
}

/// Waits until other work on the same service waits for this one; `false` if nobody can say so any more.
async fn superseded_by(standing: &mut watch::Receiver<Standing>) -> bool {
    standing.wait_for(|standing| *standing == Standing::Superseded).await.is_ok()
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
