//! The result of a request, with the numbers, texts and exit codes that scripts around `clusvcadm` rely on.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to a request. Names, texts and numbers follow rgmanager 3.1.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Done.
    Success,
    /// It did not work.
    Failure,
    /// It did not work and the service is now `failed`.
    Aborted,
    /// No such service in the configuration.
    NoService,
    /// The same service is being relocated right now.
    Deadlock,
    /// Something is in the way that will pass.
    Again,
    /// A dependency or exclusiveness rule forbids it.
    Depend,
    /// Makes no sense in the service's state.
    Invalid,
    /// The cluster is not quorate.
    Quorum,
    /// It runs already; for scripts this counts as success.
    Running,
    /// The service is frozen.
    Frozen,
    /// The target member is dead or does not exist.
    NoNode,
    /// A host must be fenced before this can be done.
    Fencing,
    /// No member may run this service.
    Domain,
    /// It failed elsewhere; the service runs where it ran.
    RunningOnOriginal,
    /// The caller may look but not touch.
    Permission,
    /// Done, but something needs attention: see the log.
    Warning,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Success,
        Self::Failure,
        Self::Aborted,
        Self::NoService,
        Self::Deadlock,
        Self::Again,
        Self::Depend,
        Self::Invalid,
        Self::Quorum,
        Self::Running,
        Self::Frozen,
        Self::NoNode,
        Self::Fencing,
        Self::Domain,
        Self::RunningOnOriginal,
        Self::Permission,
        Self::Warning,
    ];

    /// rgmanager's number for it, 0 or negative.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::Failure => -1,
            Self::Aborted => -2,
            Self::NoService => -4,
            Self::Deadlock => -5,
            Self::Again => -6,
            Self::Depend => -7,
            Self::Invalid => -8,
            Self::Quorum => -9,
            Self::Running => -10,
            Self::Frozen => -11,
            Self::NoNode => -12,
            Self::Fencing => -13,
            Self::Domain => -15,
            Self::RunningOnOriginal => -17,
            Self::Permission => -18,
            Self::Warning => -19,
        }
    }

    /// The sentence `clusvcadm` prints.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure => "Failure",
            Self::Aborted => "Aborted; service failed",
            Self::NoService => "Service does not exist",
            Self::Deadlock => "Operation would cause a deadlock",
            Self::Again => "Temporary failure; try again",
            Self::Depend => "Operation violates dependency rule",
            Self::Invalid => "Invalid operation for resource",
            Self::Quorum => "Operation requires quorum",
            Self::Running => "Service is already running",
            Self::Frozen => "Failure: Service is frozen",
            Self::NoNode => "Target node dead / nonexistent",
            Self::Fencing => "Fencing operation pending; try again later",
            Self::Domain => "Service not runnable",
            Self::RunningOnOriginal => "Failed; service running on original owner",
            Self::Permission => "Permission denied",
            Self::Warning => "Warning; see system logs",
        }
    }

    /// The exit status of `clusvcadm`: the number as an unsigned byte; "already running" counts as success.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Running => 0,
            other => other.number().rem_euclid(256).try_into().unwrap_or(255),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_the_ones_scripts_know() {
        assert_eq!(Code::Success.exit_status(), 0);
        assert_eq!(Code::Running.exit_status(), 0);
        assert_eq!(Code::Failure.exit_status(), 255);
        assert_eq!(Code::NoService.exit_status(), 252);
        assert_eq!(Code::Quorum.exit_status(), 247);
        assert_eq!(Code::NoNode.exit_status(), 244);
        assert_eq!(Code::RunningOnOriginal.exit_status(), 239);
        assert_eq!(Code::Warning.exit_status(), 237);
    }

    #[test]
    fn no_two_codes_share_a_number() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() > pair[1].number(), "{pair:?}");
        }
    }
}
