//! What a scenario lets fail, and where: chance has no part in it.
//!
//! Rules stand until another one is laid down for the same thing; of several that fit the last counts.

use belay_proto::NodeId;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A start of a VM.
    Start,
    /// A stop of a VM.
    Stop,
    /// A migration of a VM; its host is the source.
    Migration,
    /// Fencing; its host is the victim.
    Fencing,
    /// Switching on a host that was fenced; its host is that one.
    SwitchingOn,
    /// A guest that is asked to shut down.
    Shutdown,
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// As it should.
    Works,
    /// It fails, and says so.
    Fails,
    /// Nothing comes of it, and nobody says anything before its time is over.
    Hangs,
    /// It works, and is reported as failed.
    WorksUnnoticed,
    /// It is reported as done, and nothing came of it.
    Lies,
    /// A migration that leaves a copy at both ends.
    LeavesTwo,
    /// A migration in which the VM dies.
    LeavesNone,
    /// It works after so many milliseconds.
    Takes(u64),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub deed: Deed,
    /// Which VM's, or every one's.
    pub vm: Option<String>,
    /// On which host, or on every one.
    pub host: Option<NodeId>,
    /// By which host it is done, or by every one.
    pub by: Option<NodeId>,
    /// How it goes.
    pub course: Course,
}

/// All of them, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Lays one down.
    pub fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    fn last(&self, deed: Deed, fits: impl Fn(&Rule) -> bool) -> Option<Course> {
        self.0.iter().rev().find(|rule| rule.deed == deed && fits(rule)).map(|rule| rule.course)
    }

    /// How something goes for a VM on a host, if a rule says so.
    pub(crate) fn of_vm(&self, deed: Deed, host: NodeId, vm: &str) -> Option<Course> {
        let fits = |rule: &Rule| rule.host.is_none_or(|it| it == host) && rule.vm.as_deref().is_none_or(|it| it == vm);
        self.last(deed, fits)
    }

    /// How fencing of a victim by a host goes, if a rule says so.
    pub(crate) fn of_fencing(&self, victim: NodeId, by: NodeId) -> Option<Course> {
        self.of_power(Deed::Fencing, victim, by)
    }

    /// How it goes when a host switches on a fenced one, if a rule says so.
    pub(crate) fn of_switching_on(&self, victim: NodeId, by: NodeId) -> Option<Course> {
        self.of_power(Deed::SwitchingOn, victim, by)
    }

    fn of_power(&self, deed: Deed, victim: NodeId, by: NodeId) -> Option<Course> {
        let fits = |rule: &Rule| rule.host.is_none_or(|it| it == victim) && rule.by.is_none_or(|it| it == by);
        self.last(deed, fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_fits_counts() {
        let mut rules = Rules::default();
        let rule = |vm: Option<&str>, host: Option<u32>, course| Rule {
            deed: Deed::Start,
            vm: vm.map(str::to_owned),
            host: host.map(NodeId),
            by: None,
            course,
        };
        rules.add(rule(None, None, Course::Fails));
        rules.add(rule(Some("a"), Some(2), Course::Works));
        assert_eq!(rules.of_vm(Deed::Start, NodeId(1), "a"), Some(Course::Fails));
        assert_eq!(rules.of_vm(Deed::Start, NodeId(2), "a"), Some(Course::Works));
        assert_eq!(rules.of_vm(Deed::Start, NodeId(2), "b"), Some(Course::Fails));
        assert_eq!(rules.of_vm(Deed::Stop, NodeId(2), "a"), None);
    }
}
