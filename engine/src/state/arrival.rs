//! Hosts that come and go: what a member's arrival says of the past of its host, and what is known of one that is gone.

use super::State;
use super::fencing::proof::FencedProof;
use super::history::node_event;
use super::member::{NodeRecord, Standing};
use crate::mutant::{self, Mutant};
use belay_proto::NodeId;
use belay_proto::entry::Member;
use belay_proto::history::{EventKind, Severity};

impl State {
    /// The host's record; a configured host always has one.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&id)
    }

    /// The hosts whose daemons are in the view, ascending.
    pub fn online(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, record)| record.in_view()).map(|(id, _)| *id)
    }

    /// The host's name, or its number.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> String {
        self.config.as_ref().map_or_else(|| format!("node {id}"), |config| config.node_name(id))
    }

    /// Whether a member of the new view was in the last one, in the same life of its daemon.
    pub(crate) fn stays(&self, member: &Member) -> bool {
        let record = self.nodes.get(&member.node);
        record.is_some_and(|r| r.in_view() && r.incarnation == Some(member.incarnation)) && !member.diverged
    }

    /// A member is in the view: it joined, came back, or stayed.
    pub(crate) fn member_in_view(&mut self, member: &Member) {
        if self.stays(member) {
            return;
        }
        let time = self.time;
        let mut record = self.nodes.remove(&member.node).unwrap_or_else(|| NodeRecord::new(time));
        let same_boot = record.boot.as_ref() == Some(&member.boot) && !mutant::is(Mutant::SameBootIsNewBoot);
        let was = record.standing.clone();
        let known = record.boot.is_some();
        record.boot = Some(member.boot.clone());
        record.incarnation = Some(member.incarnation);
        record.standing = Standing::Online;
        record.since = time;
        record.ready = false;
        record.running.clear();
        record.unverified = !known || member.diverged;
        let text = self.arrival_text(member, &was, known, same_boot);
        let severity = if member.diverged { Severity::Error } else { Severity::Notice };
        let id = self.note(node_event(EventKind::Member, severity, member.node, text), record.last_event);
        record.last_event = Some(id);
        self.nodes.insert(member.node, record);
        if known && !same_boot {
            self.release(member.node, FencedProof::new_boot(id), "was restarted");
        } else {
            self.avert_fencing(member.node, id);
        }
    }

    fn arrival_text(&self, member: &Member, was: &Standing, known: bool, same_boot: bool) -> String {
        let name = self.node_name(member.node);
        if member.diverged {
            return format!("{name} comes from the other side of a split; what it runs against the state is stopped");
        }
        match was {
            Standing::Unknown if !known => format!("{name} joined"),
            Standing::Online | Standing::Leaving { .. } if same_boot => {
                format!("the daemon on {name} was restarted; its VMs were not touched")
            }
            _ if same_boot => format!("{name} is back, without having been restarted"),
            _ => format!("{name} is back after a restart"),
        }
    }

    /// A host that was in the last view is not in this one.
    pub(crate) fn member_gone(&mut self, node: NodeId, host_alive: bool) {
        let Some(record) = self.nodes.get(&node) else { return };
        let name = self.node_name(node);
        let empty = self.services.on(node).next().is_none();
        let (standing, severity, text) = match record.standing {
            Standing::Leaving { .. } if empty => {
                (Standing::Left { stopped: true }, Severity::Notice, format!("{name} left; no VM runs there"))
            }
            Standing::Leaving { .. } if host_alive => (
                Standing::Left { stopped: false },
                Severity::Notice,
                format!("{name} left; its VMs keep running there without supervision"),
            ),
            _ if host_alive => (
                Standing::Lost { host_alive },
                Severity::Warning,
                format!("the daemon on {name} is gone, the host is alive"),
            ),
            _ => (Standing::Lost { host_alive }, Severity::Error, format!("{name} is lost; its VMs may still run")),
        };
        let unclean = standing == Standing::Left { stopped: false };
        self.set_standing(node, standing, severity, text);
        if unclean
            && mutant::is(Mutant::LeaveRunningIsClean)
            && let Some(id) = self.nodes.get(&node).and_then(|record| record.last_event)
        {
            self.release(node, FencedProof::new_boot(id), "left");
        }
    }

    /// Changes what is known of a host and records why.
    pub(crate) fn set_standing(&mut self, node: NodeId, standing: Standing, severity: Severity, text: String) {
        let id = self.note(node_event(EventKind::Member, severity, node, text), None);
        let time = self.time;
        let record = self.nodes.entry(node).or_insert_with(|| NodeRecord::new(time));
        record.standing = standing;
        record.since = time;
        record.ready = false;
        record.unverified = false;
        record.last_event = Some(id);
    }
}
