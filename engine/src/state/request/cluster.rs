//! Requests about the cluster or one of its hosts, rather than about one service.

use super::super::State;
use super::super::fencing::proof::FencedProof;
use super::super::history::node_event;
use super::super::member::Standing;
use belay_proto::entry::Request;
use belay_proto::history::{EventKind, Severity};
use belay_proto::{Code, NodeId, RequestId};

impl State {
    /// Carries out a request that names no service, and answers it. Each kind has its logic in a function of its own.
    pub(super) fn apply_cluster_request(&mut self, id: &RequestId, by: &str, request: &Request) {
        match request {
            Request::AcknowledgeFence { node } => self.acknowledge(id, by, *node),
            Request::Lock {} => self.lock(id, by),
            Request::Unlock {} => self.unlock(id, by),
            Request::SetMode { node, mode, reason } => self.set_mode(id, by, *node, *mode, reason),
            Request::Disarm { span, reason } => self.disarm(id, by, *span, reason),
            Request::Arm {} => self.arm(id, by),
            // These name a service and never come here.
            Request::Enable { .. }
            | Request::Disable { .. }
            | Request::Stop { .. }
            | Request::Restart { .. }
            | Request::Relocate { .. }
            | Request::Migrate { .. }
            | Request::Freeze { .. }
            | Request::Unfreeze { .. }
            | Request::Convalesce { .. } => {}
        }
    }

    /// A person vouches that a host is off.
    pub(super) fn acknowledge(&mut self, id: &RequestId, by: &str, node: NodeId) {
        let name = self.node_name(node);
        let absent = self.nodes.get(&node).map(|record| {
            matches!(record.standing, Standing::Unknown | Standing::Lost { .. } | Standing::Left { stopped: false })
        });
        match absent {
            None => self.set_answer(id, Code::NoNode, format!("there is no member {name}"), None),
            Some(false) => {
                let reason = format!("{name} is not waiting to be fenced");
                self.set_answer(id, Code::Invalid, reason, None);
            }
            Some(true) => {
                let cause = self.victims.get(&node).and_then(|victim| victim.cause);
                let text = format!("{by} vouches that {name} is off: fencing is overridden");
                let event = self.note(node_event(EventKind::Fence, Severity::Warning, node, text), cause);
                self.stand_down(node, FencedProof::acknowledged(event), "an administrator vouched to be off");
                self.set_answer(id, Code::Success, String::new(), None);
            }
        }
    }
}
