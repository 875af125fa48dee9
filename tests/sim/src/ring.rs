//! The simulated ring: order, views, and the quorum service, with what can go wrong in each.
//!
//! Hosts that hear each other form a group under a ring id; the daemons attached to it are the members. A message is
//! put in order for the whole group at once and reaches each member after its own delay. Where the hosts of a group do
//! not all hear each other any more, nothing is ordered until the group is formed anew, and what was ordered last may
//! have reached one side only. The quorum service's verdict comes on a channel of its own, early or late.

use crate::sim::{Daemon, DaemonEv, Ev, Host, Sim, WorldEv};
use belay_engine::node::Event;
use belay_engine::state::work::{Work, WorkKind};
use belay_proto::NodeId;
use belay_proto::entry::What;
use belay_proto::ring::{RingId, RingMessage};
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) ring: RingId,
    pub(crate) hosts: BTreeSet<NodeId>,
    /// Its members changed while it was not whole, and were not told.
    stale: bool,
}

/// How many of its proposals a daemon may repeat.
const SENT_KEPT: usize = 64;

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

/// Something a member is delivered.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    View { ring: RingId, members: Vec<NodeId>, hosts: Vec<NodeId> },
    Message { from: NodeId, message: RingMessage },
    Down,
}

/// What is kept until it has come back, and proposed again until then, may arrive twice: it carries an id, an epoch, or the
/// number of an attempt. What is only seen is said once.
fn may_arrive_twice(message: &RingMessage) -> bool {
    let RingMessage::Entry(entry) = message else { return false };
    matches!(entry.what, What::Request { .. } | What::Outcome { .. } | What::FenceOutcome { .. })
}

impl Sim {
    fn hear(&self, one: NodeId, other: NodeId) -> bool {
        let up = |host: &&Host| host.powered && host.corosync && host.frozen.is_none();
        let both = (self.hosts.get(&one).filter(up), self.hosts.get(&other).filter(up));
        // Who is heard but does not hear cannot hold the token.
        let carries = |from, to| !self.broken.contains(&Link { from, to });
        matches!(both, (Some(one), Some(other)) if one.partition == other.partition)
            && carries(one, other)
            && carries(other, one)
    }

    /// The hosts that can form a ring with this one: each must hear each. Those who hear only some of them are left out,
    /// and will try again.
    fn ring_around(&self, host: NodeId) -> (BTreeSet<NodeId>, Vec<NodeId>) {
        let (mut ring, mut left_out) = (BTreeSet::from([host]), Vec::new());
        for other in self.ids().into_iter().filter(|other| *other != host && self.hear(host, *other)) {
            if self.broken.is_empty() || ring.iter().all(|member| self.hear(*member, other)) {
                ring.insert(other);
            } else {
                left_out.push(other);
            }
        }
        (ring, left_out)
    }

    /// Whether the group's hosts all hear each other and stand on it.
    fn whole(&self, key: u64) -> bool {
        let Some(group) = self.groups.get(&key) else { return false };
        let first = group.hosts.first().copied().unwrap_or_default();
        let stands = |id: &NodeId| self.hosts.get(id).is_some_and(|host| host.group == Some(key));
        group.hosts.iter().all(|id| self.hear(first, *id) && stands(id))
            && (self.broken.is_empty()
                || group.hosts.iter().all(|one| group.hosts.iter().all(|other| self.hear(*one, *other))))
    }

    /// How many hosts stand on the same ring as this one.
    #[must_use]
    pub fn ring_of(&self, host: NodeId) -> usize {
        self.group_of(host).map_or(0, |group| group.hosts.len())
    }

    pub(crate) fn group_of(&self, host: NodeId) -> Option<&Group> {
        self.groups.get(&self.hosts.get(&host)?.group?)
    }

    /// Something changed in who hears whom. Each host notices after its own time.
    pub(crate) fn connectivity_changed(&mut self) {
        let keys: Vec<u64> = self.groups.keys().copied().collect();
        let lost = keys.into_iter().any(|key| !self.whole(key));
        let base = if lost { self.rng.range(1900, 2300) } else { self.rng.range(200, 700) };
        for host in self.ids() {
            let delay = base + self.rng.range(0, 150);
            self.after(delay, Ev::World(WorldEv::Reform(host)));
        }
    }

    /// A host forms a ring with all it hears.
    pub(crate) fn reform(&mut self, host: NodeId) {
        if !self.hear(host, host) {
            return;
        }
        let (heard, left_out) = self.ring_around(host);
        let key = self.hosts.get(&host).and_then(|h| h.group);
        if let Some(key) = key
            && self.whole(key)
            && self.groups.get(&key).is_some_and(|group| group.hosts == heard)
        {
            if self.groups.get_mut(&key).is_some_and(|group| std::mem::take(&mut group.stale)) {
                self.push_view(key);
            }
            return self.order_waiting(&heard);
        }
        self.lose_tails(&heard);
        self.left_behind(&heard, left_out);
        self.rings += 4;
        let ring = RingId { representative: heard.first().copied().unwrap_or_default(), sequence: self.rings };
        let new = self.rings;
        let all = heard.len() == self.hosts.len();
        for id in &heard {
            if let Some(host) = self.hosts.get_mut(id) {
                host.group = Some(new);
                host.waits_for_all &= !all;
            }
        }
        let quorate = self.votes_suffice(&heard);
        self.groups.insert(new, Group { ring, hosts: heard.clone(), stale: false });
        let used: BTreeSet<u64> = self.hosts.values().filter_map(|h| h.group).collect();
        self.groups.retain(|key, _| used.contains(key));
        self.push_view(new);
        let names: Vec<String> = heard.iter().map(ToString::to_string).collect();
        let text =
            format!("ring {ring} of hosts {} ({})", names.join(","), if quorate { "quorate" } else { "inquorate" });
        self.trace.fault(self.now, &text);
        for id in &heard {
            if let Some(host) = self.hosts.get_mut(id) {
                host.verdict = Some((ring, quorate));
            }
            let delay = self.rng.range(0, 300);
            self.tell_verdict(*id, delay, ring, quorate);
        }
        self.order_waiting(&heard);
    }

    /// Hosts that stand on a ring from which others went, or that were left out of this one, form one of their own, and
    /// tear this one apart if it has a host that they hear: the network flaps for as long as it is lame.
    fn left_behind(&mut self, heard: &BTreeSet<NodeId>, left_out: Vec<NodeId>) {
        if self.broken.is_empty() {
            return;
        }
        let old: BTreeSet<u64> = heard.iter().filter_map(|id| self.hosts.get(id)?.group).collect();
        let stands = |host: &&Host| host.group.is_some_and(|key| old.contains(&key)) && !heard.contains(&host.id);
        let mut behind: BTreeSet<NodeId> = self.hosts.values().filter(stands).map(|host| host.id).collect();
        behind.extend(left_out);
        for id in behind {
            let delay = self.rng.range(1900, 6000);
            self.after(delay, Ev::World(WorldEv::Reform(id)));
        }
    }

    /// A channel of its own, but verdicts keep their order on it.
    fn tell_verdict(&mut self, host: NodeId, delay: u64, ring: RingId, quorate: bool) {
        let now = self.now;
        let Some(daemon) = self.daemon_mut(host) else { return };
        daemon.last_verdict = daemon.last_verdict.max(now + delay);
        let at = daemon.last_verdict;
        self.daemon_after(host, at - now, DaemonEv::Quorum { ring, quorate });
    }

    fn votes_suffice(&self, hosts: &BTreeSet<NodeId>) -> bool {
        if self.shape.two_node {
            return hosts.iter().any(|id| self.hosts.get(id).is_some_and(|host| !host.waits_for_all));
        }
        if self.shape.quorum > 0 {
            return hosts.iter().filter_map(|id| self.shape.votes.get(id)).sum::<u32>() >= self.shape.quorum;
        }
        hosts.len() * 2 > self.hosts.len()
    }

    /// Of what was ordered last and nobody on this side has been given yet, a part never got here, unless it was sent
    /// from here.
    fn lose_tails(&mut self, heard: &BTreeSet<NodeId>) {
        let old: BTreeSet<u64> = heard.iter().filter_map(|id| self.hosts.get(id)?.group).collect();
        for key in old {
            let Some(group) = self.groups.get(&key) else { continue };
            let stay: BTreeSet<NodeId> = group.hosts.intersection(heard).copied().collect();
            let lost_some = group.hosts.len() > stay.len();
            if !lost_some || !self.rng.chance(self.odds.tail_lost) {
                continue;
            }
            let together: BTreeSet<NodeId> =
                stay.into_iter().filter(|id| self.hosts.get(id).is_some_and(|h| h.group == Some(key))).collect();
            let delivered =
                together.iter().filter_map(|id| self.daemon(*id)).map(|daemon| daemon.delivered).max().unwrap_or(0);
            let cut = self.rng.range(delivered, self.position.max(delivered));
            for id in &together {
                if let Some(daemon) = self.daemon_mut(*id) {
                    daemon.inbox.retain(|(position, item)| match item {
                        Item::Message { from, .. } => *position <= cut || together.contains(from),
                        Item::View { .. } | Item::Down => true,
                    });
                }
            }
        }
    }

    fn members(&self, key: u64) -> Vec<NodeId> {
        let Some(group) = self.groups.get(&key) else { return Vec::new() };
        let stands = |id: &&NodeId| {
            let host = self.hosts.get(id);
            host.is_some_and(|host| host.group == Some(key) && host.daemon.as_ref().is_some_and(|d| d.attached))
        };
        group.hosts.iter().filter(stands).copied().collect()
    }

    fn push_view(&mut self, key: u64) {
        let members = self.members(key);
        let Some(group) = self.groups.get(&key) else { return };
        let item =
            Item::View { ring: group.ring, members: members.clone(), hosts: group.hosts.iter().copied().collect() };
        self.push(&members, &item);
    }

    fn push(&mut self, members: &[NodeId], item: &Item) {
        self.position += 1;
        let (position, now) = (self.position, self.now);
        for id in members {
            let slow = self.rng.chance(self.odds.message_slow);
            let lag = if slow { self.rng.range(20, 500) } else { self.rng.range(0, 6) };
            let Some(daemon) = self.daemon_mut(*id) else { continue };
            daemon.inbox.push_back((position, item.clone()));
            let at = (now + lag).max(daemon.last_delivery);
            daemon.last_delivery = at;
            self.daemon_after(*id, at - now, DaemonEv::Deliver);
        }
    }

    /// The members are told, at once or when all hosts of the ring hear each other again.
    fn members_changed(&mut self, key: u64) {
        if self.whole(key) {
            self.push_view(key);
        } else if let Some(group) = self.groups.get_mut(&key) {
            group.stale = true;
        }
    }

    /// A daemon joins the group of its host.
    pub(crate) fn attach(&mut self, host: NodeId) {
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.corosync) else { return };
        let (key, verdict) = (h.group, h.verdict);
        let Some(daemon) = h.daemon.as_mut() else { return };
        daemon.attached = true;
        self.truth.joins(host);
        if let Some(key) = key {
            self.members_changed(key);
        }
        if let Some((ring, quorate)) = verdict {
            let delay = self.rng.range(0, 50);
            self.tell_verdict(host, delay, ring, quorate);
        }
    }

    /// A daemon is gone: the others are told, unless they have lost the whole host.
    pub(crate) fn detached(&mut self, host: NodeId, mut gone: Daemon) {
        // What it had handed to corosync goes out; what it had not is lost with it.
        let key = self.hosts.get(&host).and_then(|h| h.group);
        let Some(key) = key.filter(|_| gone.attached) else { return };
        if !self.whole(key) {
            return self.members_changed(key);
        }
        let sent = self.rng.range(0, gone.outgoing.len() as u64);
        for _ in 0..sent {
            let Some(message) = gone.outgoing.pop_front() else { break };
            let members = self.members(key);
            self.push(&members, &Item::Message { from: host, message });
        }
        self.push_view(key);
    }

    pub(crate) fn propose(&mut self, host: NodeId, message: RingMessage) {
        let delay = self.rng.range(0, 3);
        if self.daemon(host).is_none_or(|daemon| !daemon.attached) {
            return;
        }
        if may_arrive_twice(&message) {
            self.keep_for_echo(host, &message);
        }
        let Some(daemon) = self.daemon_mut(host) else { return };
        daemon.outgoing.push_back(message);
        self.daemon_after(host, delay, DaemonEv::Order);
    }

    /// What a member proposed may be proposed once more: moments or a minute later, after the next change of membership,
    /// or when there is other work on the same service.
    fn keep_for_echo(&mut self, host: NodeId, message: &RingMessage) {
        let latest = if self.rng.chance(50) { 3000 } else { 90_000 };
        self.echo_later(host, latest, Some(message.clone()));
        let Some(daemon) = self.daemon_mut(host) else { return };
        daemon.sent.push_back(message.clone());
        if daemon.sent.len() > SENT_KEPT {
            daemon.sent.pop_front();
        }
    }

    fn echo_later(&mut self, host: NodeId, latest: u64, message: Option<RingMessage>) {
        if let Some(message) = message.filter(|_| self.rng.chance(self.odds.echo)) {
            let again = self.rng.range(0, latest);
            self.daemon_after(host, again, DaemonEv::Echo(Box::new(message)));
        }
    }

    /// Something old comes again when the membership has changed.
    fn echo_after_view(&mut self, host: NodeId) {
        let sent: Vec<RingMessage> = self.daemon(host).map(|d| d.sent.iter().cloned().collect()).unwrap_or_default();
        for _ in 0..3 {
            let message = self.rng.pick(&sent);
            self.echo_later(host, 3000, message);
        }
    }

    /// Something old about a service comes again when there is new work on it.
    pub(crate) fn echo_with_work(&mut self, host: NodeId, work: &[Work]) {
        if self.odds.echo == 0 {
            return;
        }
        for work in work {
            let about = match &work.what {
                WorkKind::Start(vm) | WorkKind::Stop(vm) | WorkKind::Look(vm) | WorkKind::StopStray(vm) => &vm.service,
                WorkKind::Migrate { vm, .. } => &vm.service,
                WorkKind::Fence(_) | WorkKind::SwitchOn(_) => continue,
            };
            let of_service = |message: &&RingMessage| {
                matches!(message, RingMessage::Entry(entry)
                    if matches!(&entry.what, What::Outcome { service, .. } if service == about))
            };
            let sent = self.daemon(host).map(|d| d.sent.iter().filter(of_service).cloned().collect::<Vec<_>>());
            let message = self.rng.pick(&sent.unwrap_or_default());
            self.echo_later(host, 1000, message);
        }
    }

    /// A proposal goes out once more, as after a change of membership of which nobody knows whether it lost the first.
    pub(crate) fn echo(&mut self, host: NodeId, message: RingMessage) {
        let Some(daemon) = self.daemon_mut(host).filter(|daemon| daemon.attached) else { return };
        daemon.outgoing.push_back(message);
        self.daemon_after(host, 0, DaemonEv::Order);
    }

    fn order_waiting(&mut self, hosts: &BTreeSet<NodeId>) {
        for id in hosts {
            for _ in 0..self.daemon(*id).map_or(0, |daemon| daemon.outgoing.len()) {
                self.daemon_after(*id, 0, DaemonEv::Order);
            }
        }
    }

    /// The next message of this host gets its place in the order.
    pub(crate) fn order(&mut self, host: NodeId) {
        let Some(key) = self.hosts.get(&host).and_then(|h| h.group).filter(|key| self.whole(*key)) else {
            if self.daemon(host).is_some_and(|daemon| !daemon.outgoing.is_empty()) {
                self.daemon_after(host, 100, DaemonEv::Order);
            }
            return;
        };
        let Some(message) = self.daemon_mut(host).and_then(|daemon| daemon.outgoing.pop_front()) else { return };
        let members = self.members(key);
        self.push(&members, &Item::Message { from: host, message });
    }

    pub(crate) fn deliver(&mut self, host: NodeId) {
        let Some((position, item)) = self.daemon_mut(host).and_then(|daemon| daemon.inbox.pop_front()) else { return };
        if self.trace.wire {
            self.trace.note(self.now, host, || format!("<- {item:?}").chars().take(300).collect());
        }
        let Some(daemon) = self.daemon_mut(host) else { return };
        daemon.delivered = position;
        let event = match item {
            Item::View { ring, members, hosts } => {
                self.echo_after_view(host);
                Event::RingView { ring, members, hosts }
            }
            Item::Message { from, message } => Event::RingMessage { from, message },
            Item::Down => {
                if let Some(daemon) = self.daemon_mut(host) {
                    daemon.may_act = false;
                }
                Event::RingDown { reason: "corosync is gone".into() }
            }
        };
        self.node_event(host, event);
    }

    /// Corosync dies under the daemon; the host lives.
    pub(crate) fn corosync_dies(&mut self, host: NodeId) {
        let back = self.rng.range(500, 8000);
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered && h.corosync) else { return };
        let boot = h.boots;
        (h.corosync, h.group, h.verdict) = (false, None, None);
        if let Some(daemon) = h.daemon.as_mut().filter(|daemon| daemon.attached) {
            daemon.attached = false;
            daemon.outgoing.clear();
            self.push(&[host], &Item::Down);
        }
        self.connectivity_changed();
        self.after(back, Ev::World(WorldEv::CorosyncUp(host, boot)));
    }

    pub(crate) fn corosync_up(&mut self, host: NodeId, boot: u32) {
        let Some(h) = self.hosts.get_mut(&host).filter(|h| h.powered && h.boots == boot) else { return };
        h.corosync = true;
        self.connectivity_changed();
        self.daemon_after(host, 100, DaemonEv::Attach);
    }

    /// The quorum service takes its word back for a moment, without a new ring.
    pub fn quorum_flickers(&mut self, host: NodeId) {
        let Some((ring, true)) = self.hosts.get(&host).and_then(|h| h.verdict) else { return };
        let length = self.rng.range(50, 3000);
        for id in self.group_of(host).map(|group| group.hosts.clone()).unwrap_or_default() {
            let delay = self.rng.range(0, 20);
            self.tell_verdict(id, delay, ring, false);
            self.tell_verdict(id, delay + length, ring, true);
        }
    }

    /// What an executor is told when it asks right before it acts.
    pub(crate) fn may_act(&self, host: NodeId) -> bool {
        let verdict = self.hosts.get(&host).and_then(|h| h.verdict);
        self.daemon(host).is_some_and(|daemon| daemon.may_act) && verdict.is_some_and(|(_, quorate)| quorate)
    }
}
