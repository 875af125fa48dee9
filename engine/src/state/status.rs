//! What people are shown of the state.

use super::State;
use super::guard::Tripped;
use super::member::{NodeRecord, Standing};
use super::service::{Phase, Rival, ServiceRecord};
use belay_proto::control::{Copy, CopyFate, HostVerdict, MemberState, MemberStatus, ServiceStatus, WhyReply};
use belay_proto::entry::GoneReason;
use belay_proto::{NodeId, ServiceName};

impl State {
    /// All members, ascending by id.
    #[must_use]
    pub fn member_statuses(&self, me: NodeId) -> Vec<MemberStatus> {
        self.nodes.iter().map(|(id, record)| self.member_status(*id, record, me)).collect()
    }

    fn member_status(&self, id: NodeId, record: &NodeRecord, me: NodeId) -> MemberStatus {
        let state = match record.standing {
            Standing::Unknown => MemberState::Unknown,
            Standing::Online | Standing::Leaving { .. } => MemberState::Online,
            Standing::Lost { .. } => MemberState::Lost,
            Standing::Down(_) => MemberState::Down,
            Standing::Left { .. } => MemberState::Left,
        };
        MemberStatus {
            id,
            name: self.node_name(id),
            online: record.in_view(),
            local: id == me,
            configured: self.config.as_ref().is_some_and(|config| config.nodes.contains_key(&id)),
            state,
            mode: record.mode,
            detail: self.member_detail(id, record),
        }
    }

    fn member_detail(&self, id: NodeId, record: &NodeRecord) -> String {
        if let Some(words) = self.victim_words(id) {
            return words;
        }
        if let Some(words) = self.switch_on_words(id) {
            return words;
        }
        if let Some(refused) = &record.refused {
            return format!("a decision about it was refused by Belay itself: {}", refused.words());
        }
        if let Some(detail) = self.mode_detail(id) {
            return detail;
        }
        if !record.left_behind.is_empty() {
            let names: Vec<&str> = record.left_behind.iter().map(String::as_str).collect();
            return format!("left running there when taken out of the configuration: {}", names.join(", "));
        }
        match &record.standing {
            Standing::Online if !record.ready => "its hypervisor has not answered yet".into(),
            Standing::Down(proof) => proof.words().into(),
            Standing::Left { stopped: true } | Standing::Leaving { stopped: true } => "left, its VMs stopped".into(),
            Standing::Left { stopped: false } | Standing::Leaving { stopped: false } => {
                "left, its VMs running without supervision".into()
            }
            Standing::Unknown | Standing::Online | Standing::Lost { .. } => String::new(),
        }
    }

    /// All services, in byte order of their names.
    #[must_use]
    pub fn service_statuses(&self) -> Vec<ServiceStatus> {
        self.services.iter().map(|(name, record)| self.service_status(name, record)).collect()
    }

    /// How a service came to be in its state.
    #[must_use]
    pub fn why(&self, name: &ServiceName) -> Option<WhyReply> {
        let record = self.services.get(name)?;
        let verdicts = self.verdicts(name).map(|verdicts| verdicts.hosts).unwrap_or_default();
        let hosts = verdicts.into_iter().map(|host| HostVerdict { node: host.node, obstacle: host.reason }).collect();
        Some(WhyReply { service: self.service_status(name, record), chain: record.chain.clone(), hosts })
    }

    /// What needs a person, most urgent first.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms: Vec<String> = self.disarmed_alarm().into_iter().chain(self.lock_alarm()).collect();
        alarms.extend(self.guard_alarms());
        for (name, record) in self.services.iter() {
            for (node, rival) in &record.rivals {
                alarms.push(self.copy_alarm(name, record, *node, *rival));
            }
        }
        for (node, victim) in &self.victims {
            let name = self.node_name(*node);
            if victim.no_method {
                alarms.push(format!("{name} cannot be fenced: it has no fence method (belay ack-fence {name})"));
            } else if let Some(failure) = &victim.last_failure {
                alarms.push(format!(
                    "fencing {name} failed {} times, and what it ran waits: {failure}; to end it by hand, make sure that \
                     {name} is off, then: belay ack-fence {name}",
                    victim.failures
                ));
            }
        }
        alarms.extend(self.switch_on_alarms());
        for (name, record) in self.services.iter() {
            if record.ended == Some(GoneReason::Migrated) && record.sought.is_empty() {
                alarms.push(format!("{name} {}", record.waiting.as_deref().unwrap_or("was migrated to no member")));
            } else if let Phase::Failed { at } = record.phase {
                alarms.push(format!(
                    "{name} could not be stopped on {}: look there, then disable it",
                    self.node_name(at)
                ));
            }
        }
        alarms
    }
}

impl State {
    /// Promises that a decision would have broken: a fault of Belay itself, and the first thing to be told.
    fn guard_alarms(&self) -> Vec<String> {
        let services = self.services.iter().filter_map(|(name, record)| {
            let words = record.tripped.as_ref()?.words();
            Some(format!("{name} was frozen by Belay itself, look where it runs and then unfreeze it: {words}"))
        });
        let hosts = self.nodes.iter().filter_map(|(id, node)| {
            Some(format!(
                "Belay refused a decision of its own about {}: {}",
                self.node_name(*id),
                node.refused.as_ref()?.words()
            ))
        });
        services.chain(hosts).collect()
    }
}

fn waits_to_move(record: &ServiceRecord) -> Option<String> {
    record.moves.waits.as_ref().map(|wait| format!("is to be moved: {}", wait.words()))
}

impl State {
    fn copy_alarm(&self, name: &ServiceName, record: &ServiceRecord, node: NodeId, rival: Rival) -> String {
        let place = self.node_name(node);
        let owner = record.phase.owner().map_or_else(|| "its owner".to_owned(), |owner| self.node_name(owner));
        match rival {
            Rival::AskingOwner => format!("{name} runs on {place} besides {owner}, which is asked for its own"),
            Rival::BeingStopped => {
                format!("{name} runs on {place} besides {owner}; the copy on {place} is being destroyed")
            }
            Rival::Tolerated if record.frozen => {
                format!("{name} runs on {place} though it should not, and is frozen: stop it there, or unfreeze it")
            }
            Rival::Tolerated => match record.phase {
                Phase::Disabled => {
                    format!(
                        "{name} is disabled and runs on {place}: stop it there, or enable it to have it looked after"
                    )
                }
                Phase::Stopped { .. } => {
                    format!("{name} runs on {place}, which is asked for it to be looked after there")
                }
                Phase::Failed { .. } => format!("{name} has failed and a copy runs on {place}: stop it there"),
                _ => format!("{name} runs on {place} besides {owner}"),
            },
        }
    }
}

fn copies(record: &ServiceRecord) -> Vec<Copy> {
    let fate = |rival: Rival| match (rival, &record.phase) {
        (Rival::AskingOwner, _) => CopyFate::AskingOwner,
        (Rival::BeingStopped, _) => CopyFate::BeingDestroyed,
        (Rival::Tolerated, Phase::Stopped { .. }) if !record.frozen => CopyFate::BeingAdopted,
        (Rival::Tolerated, _) => CopyFate::LeftAlone,
    };
    record.rivals.iter().map(|(node, rival)| Copy { node: *node, fate: fate(*rival) }).collect()
}

impl State {
    fn service_status(&self, name: &ServiceName, record: &ServiceRecord) -> ServiceStatus {
        ServiceStatus {
            name: name.clone(),
            state: record.phase.shown(),
            frozen: record.frozen,
            guarded: record.tripped.as_ref().map(Tripped::words),
            partial: false,
            owner: record.phase.owner(),
            last_owner: record.last_owner,
            restarts: u32::try_from(record.restarts.len()).unwrap_or(u32::MAX),
            transition: record.transition,
            epoch: record.epoch,
            waiting: self.waits_for(record),
            copies: copies(record),
        }
    }

    /// What a service waits for, or what is amiss with it.
    fn waits_for(&self, record: &ServiceRecord) -> Option<String> {
        let noted = record.waiting.clone().or_else(|| record.trouble.clone());
        noted.or_else(|| waits_to_move(record)).or_else(|| self.waits_for_owner(record))
    }

    /// Whatever is on a host that is gone, or under way there, goes on when that host's fate is known.
    fn waits_for_owner(&self, record: &ServiceRecord) -> Option<String> {
        let owner = record.phase.owner()?;
        let node = self.nodes.get(&owner).filter(|node| !node.in_view())?;
        let name = self.node_name(owner);
        match node.standing {
            Standing::Left { .. } if record.phase.rests() => None,
            Standing::Left { .. } => Some(format!("{name} has left: it has to come back, or be proven to be down")),
            _ => Some(match self.victim_words(owner) {
                Some(words) => format!("{name} is lost: it has to come back, or be proven to be down; {words}"),
                None => format!("{name} is lost: it has to come back, or be proven to be down"),
            }),
        }
    }

    /// The number of a member by its name, where the configuration knows it.
    #[must_use]
    pub fn node_id(&self, name: &str) -> Option<NodeId> {
        self.config.as_ref()?.node_named(name).map(|node| node.id)
    }
}
