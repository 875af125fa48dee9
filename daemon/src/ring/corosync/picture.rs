//! From what corosync says to what the ring delivers. Pure.
//!
//! Members, messages and rings come in one order, quorum on another channel, where each verdict names its ring. Two
//! things follow. The first ring is told only by the quorum service: until then everything is kept back, since a view
//! without its ring would be a lie. And when hosts come or go, corosync tells the members first and their ring after it:
//! in between, the verdict about the former ring must not be taken for one about these members (a host that was just cut
//! off would believe itself quorate), so a view is delivered only with the ring it stands on.

use super::arrivals::Arrival;
use crate::ring::RingEvent;
use belay_proto::NodeId;
use belay_proto::ring::RingId;

/// What is known since the connection was made.
#[derive(Debug)]
pub(super) struct Picture {
    node: NodeId,
    ring: Option<RingId>,
    /// The ring is known, and no other has been announced.
    settled: bool,
    hosts: Vec<NodeId>,
    members: Vec<NodeId>,
    verdict: Option<(RingId, bool)>,
    kept_back: Vec<Arrival>,
    /// This member has been in the group: when it is not any more, it has left.
    joined: bool,
}

impl Picture {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            ring: None,
            settled: false,
            hosts: Vec::new(),
            members: Vec::new(),
            verdict: None,
            kept_back: Vec::new(),
            joined: false,
        }
    }

    /// Takes what arrived, and returns what is to be delivered.
    pub(super) fn take(&mut self, arrival: Arrival) -> Vec<RingEvent> {
        match arrival {
            Arrival::Quorum { ring, hosts, quorate } => self.on_verdict(ring, hosts, quorate),
            Arrival::Ring { ring, hosts } => self.stand_on(ring, hosts),
            Arrival::Members { ring_follows: true, .. } => {
                self.settled = false;
                self.kept_back.push(arrival);
                Vec::new()
            }
            _ if !self.settled => {
                self.kept_back.push(arrival);
                Vec::new()
            }
            settled => self.deliver(settled).into_iter().collect(),
        }
    }

    /// Whether views have been delivered that contain this member.
    pub(super) fn is_up(&self) -> bool {
        self.settled && self.is_member()
    }

    /// Whether this member was in the group and is not any more.
    pub(super) fn has_left(&self) -> bool {
        self.joined && !self.is_member()
    }

    /// Whether the latest verdict speaks of the latest ring and is a good one.
    pub(super) fn quorate(&self) -> bool {
        self.is_up() && self.verdict == self.ring.map(|ring| (ring, true))
    }

    fn is_member(&self) -> bool {
        self.members.contains(&self.node)
    }

    fn view(&self) -> Option<RingEvent> {
        let ring = self.ring.filter(|_| self.is_member())?;
        Some(RingEvent::View { ring, members: self.members.clone(), hosts: self.hosts.clone() })
    }

    fn on_verdict(&mut self, ring: RingId, hosts: Vec<NodeId>, quorate: bool) -> Vec<RingEvent> {
        self.verdict = Some((ring, quorate));
        let mut events = Vec::new();
        if !self.settled && self.ring != Some(ring) {
            events = self.stand_on(ring, hosts);
        }
        events.push(RingEvent::Quorum { ring, quorate });
        events
    }

    /// The ring is known from here on: delivers what was kept back, or else the same members on the new ring.
    fn stand_on(&mut self, ring: RingId, hosts: Vec<NodeId>) -> Vec<RingEvent> {
        self.ring = Some(ring);
        self.hosts = hosts;
        self.settled = true;
        let kept_back = std::mem::take(&mut self.kept_back);
        if kept_back.iter().any(|arrival| matches!(arrival, Arrival::Members { .. })) {
            kept_back.into_iter().filter_map(|arrival| self.deliver(arrival)).collect()
        } else {
            let rest = kept_back.into_iter().filter_map(|arrival| self.deliver(arrival)).collect::<Vec<_>>();
            self.view().into_iter().chain(rest).collect()
        }
    }

    fn deliver(&mut self, arrival: Arrival) -> Option<RingEvent> {
        match arrival {
            Arrival::Members { members, .. } => {
                self.members = members;
                self.joined |= self.is_member();
                self.view()
            }
            Arrival::Message { from, bytes } if self.is_member() => Some(RingEvent::Message { from, bytes }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RingId = RingId { representative: NodeId(1), sequence: 4 };
    const TWO: RingId = RingId { representative: NodeId(1), sequence: 8 };

    fn nodes(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn members(ids: &[u32]) -> Arrival {
        Arrival::Members { members: nodes(ids), ring_follows: false }
    }

    fn hosts_changed(ids: &[u32]) -> Arrival {
        Arrival::Members { members: nodes(ids), ring_follows: true }
    }

    fn view(ring: RingId, members: &[u32], hosts: &[u32]) -> RingEvent {
        RingEvent::View { ring, members: nodes(members), hosts: nodes(hosts) }
    }

    fn message(from: u32) -> Arrival {
        Arrival::Message { from: NodeId(from), bytes: vec![7] }
    }

    #[test]
    fn nothing_is_delivered_before_the_first_ring_is_known_and_nothing_is_lost() {
        let mut picture = Picture::new(NodeId(2));
        assert_eq!(picture.take(members(&[1, 2])), []);
        assert_eq!(picture.take(message(1)), []);
        assert!(!picture.is_up());
        let events = picture.take(Arrival::Quorum { ring: ONE, hosts: nodes(&[1, 2, 3]), quorate: true });
        let delivered = RingEvent::Message { from: NodeId(1), bytes: vec![7] };
        let verdict = RingEvent::Quorum { ring: ONE, quorate: true };
        assert_eq!(events, [view(ONE, &[1, 2], &[1, 2, 3]), delivered, verdict]);
        assert!(picture.is_up() && picture.quorate());
    }

    #[test]
    fn a_new_ring_is_not_quorate_until_the_service_says_so_of_this_ring() {
        let mut picture = Picture::new(NodeId(1));
        picture.take(Arrival::Quorum { ring: ONE, hosts: nodes(&[1, 2, 3]), quorate: true });
        picture.take(members(&[1, 2, 3]));
        assert!(picture.quorate());
        assert_eq!(picture.take(hosts_changed(&[1, 2])), []);
        assert!(!picture.quorate(), "the verdict is about the ring before");
        assert_eq!(picture.take(Arrival::Ring { ring: TWO, hosts: nodes(&[1, 2]) }), [view(TWO, &[1, 2], &[1, 2])]);
        assert!(!picture.quorate());
        picture.take(Arrival::Quorum { ring: TWO, hosts: nodes(&[1, 2]), quorate: true });
        assert!(picture.quorate());
    }

    #[test]
    fn who_was_away_sees_that_it_was_and_only_on_the_new_ring() {
        let mut picture = Picture::new(NodeId(2));
        picture.take(Arrival::Quorum { ring: ONE, hosts: nodes(&[1, 2]), quorate: true });
        picture.take(members(&[1, 2]));
        assert_eq!(picture.take(hosts_changed(&[2])), []);
        assert_eq!(picture.take(hosts_changed(&[1, 2])), []);
        let events = picture.take(Arrival::Ring { ring: TWO, hosts: nodes(&[1, 2]) });
        assert_eq!(events, [view(TWO, &[2], &[1, 2]), view(TWO, &[1, 2], &[1, 2])]);
        assert!(!picture.quorate());
    }

    #[test]
    fn a_daemon_that_comes_or_goes_changes_the_view_on_the_same_ring() {
        let mut picture = Picture::new(NodeId(1));
        picture.take(Arrival::Quorum { ring: ONE, hosts: nodes(&[1, 2]), quorate: true });
        assert_eq!(picture.take(members(&[1])), [view(ONE, &[1], &[1, 2])]);
        assert_eq!(picture.take(members(&[1, 2])), [view(ONE, &[1, 2], &[1, 2])]);
        assert!(picture.quorate());
    }

    #[test]
    fn a_verdict_that_comes_before_its_ring_counts_when_the_ring_comes() {
        let mut picture = Picture::new(NodeId(1));
        picture.take(Arrival::Quorum { ring: ONE, hosts: nodes(&[1]), quorate: true });
        picture.take(members(&[1]));
        picture.take(Arrival::Quorum { ring: TWO, hosts: nodes(&[1, 2]), quorate: true });
        assert!(!picture.quorate(), "the view still stands on the ring before");
        picture.take(Arrival::Ring { ring: TWO, hosts: nodes(&[1, 2]) });
        assert!(picture.quorate());
    }

    #[test]
    fn a_member_that_left_delivers_nothing_more() {
        let mut picture = Picture::new(NodeId(1));
        picture.take(Arrival::Quorum { ring: ONE, hosts: nodes(&[1, 2]), quorate: true });
        picture.take(members(&[1, 2]));
        assert_eq!(picture.take(members(&[2])), []);
        assert!(picture.has_left() && !picture.quorate());
        assert_eq!(picture.take(message(2)), []);
    }
}
