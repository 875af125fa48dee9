//! Deliberate faults, so that the simulator can show that it would find real ones.
//!
//! A [`Mutant`] is one guard taken out, or one shortcut taken, where a tired colleague might. The simulator switches one
//! on, runs seeds until a promise is broken, and fails if none is: then a fault or an invariant is missing, not a mutant.
//! Without the feature `mutants`, which nothing but that test asks for, [`is`] is a constant `false` and its branches
//! are not compiled into anything.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// One deliberate fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What is wrong with it, in a sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

mutants! {
    /// What a victim ran starts elsewhere as soon as somebody begins to fence it.
    StartBeforeFenced,
    /// A report about the fencing of an earlier loss proves this one.
    LateFenceOutcomeProves,
    /// Two members are told to fence the same victim at once.
    TwoFencers,
    /// Nobody takes over when the member dies that is to switch a fenced host on again.
    SwitchOnDiesWithFencer,
    /// A member that was held for silent and answers again is fenced all the same.
    FenceWhoAnswers,
    /// A daemon that is back in the same boot passes for a restarted host that runs nothing.
    SameBootIsNewBoot,
    /// A member that leaves with its VMs running is taken to run nothing.
    LeaveRunningIsClean,
    /// A dead daemon on a living host has no grace.
    NoDaemonGrace,
    /// The clock of the cluster follows the calendar of any host that joins.
    JoinersSetTheClock,
    /// One more restart in place than allowed.
    MiscountRestarts,
    /// Restarts in place are never forgotten, however long ago they were.
    WindowNeverExpires,
    /// A snapshot forgets what is frozen.
    SnapshotForgetsFrozen,
    /// What was disabled is started after the power of the whole cluster was lost.
    DisabledForgottenInPowerLoss,
    /// An outcome of an earlier epoch counts for the present one.
    LateOutcomeCounts,
    /// A new start is decided without a new epoch.
    StartWithoutNewEpoch,
    /// The exit code of a migration closes it.
    MigrationByExitCode,
    /// A look at the target alone closes a migration.
    MigrationByTargetOnly,
    /// A stop that failed counts as a stop.
    FailedStopIsStopped,
    /// A service is started although a failed stop may have left a copy elsewhere.
    SuspectsIgnored,
    /// Of two copies the owner's is destroyed.
    OwnersCopyDestroyed,
    /// A second copy is not noticed.
    RivalsIgnored,
    /// A VM that went away by a migration nobody ordered is started again without being looked for.
    SoughtIsDead,
    /// Either of two nodes that are apart starts what ran on neither.
    TwoNodeBothStart,
    /// A restricted failover domain does not restrict.
    DomainIgnored,
    /// A host gets more VMs than it has memory for.
    CapacityIgnored,
    /// Services are placed on hosts in maintenance.
    MaintenanceIsForgotten,
    /// Hosts are fenced while the cluster is disarmed.
    DisarmedIsForgotten,
    /// A service that died is left where it is until somebody asks for it.
    DeathIgnored,
    /// What waits in a service's queue is lost when its owner is.
    QueueDiesWithOwner,
    /// A request that is repeated is carried out again.
    RepeatedRequestRunsAgain,
    /// Entries apply without a quorum.
    ApplyInquorate,
    /// A few daemons among many living hosts are a quorum.
    HostsVoteForDaemons,
    /// Work is handed out before a majority has on disk what decided it.
    ActBeforeCommit,
    /// A request is answered before a majority has the answer on disk.
    AnswerBeforeMajority,
    /// A member says of what it has only in memory that it is on disk.
    AckBeforeDisk,
    /// The disk's word about a history that was replaced counts for the one that replaced it.
    LateAckOfOtherHistory,
    /// The least advanced state wins a round.
    OldestStateWins,
    /// A term gets the number after the one of the winner's state, though one that was lost may have had it.
    LostTermWins,
    /// What a majority has of a former term counts before it has the present one's view.
    FormerTermCounts,
    /// A member that knows of no configuration is quorate with whoever is there.
    BlankMemberIsQuorate,
    /// With two nodes a start that an old state knows of goes on.
    OldStateStarts,
    /// What was proposed to a ring that is gone is not proposed again.
    ProposalsLost,
    /// A state in memory differs from its peers' after a restart of its daemon.
    SnapshotLosesRestarts,
    /// What an incomplete list does not name counts as not running.
    UnknownIsStopped,
    /// A stop whose call failed, or whose agent died, is reported as done.
    DeadAgentIsStopped,
    /// A start that failed is reported without a look at what became of it.
    FailedStartIsNotLookedAt,
    /// Starts and migrations do not ask for quorum right before they act.
    QuorumNotAsked,
    /// An outcome is reported for the newest decision, not for the one that was carried out.
    OutcomeOfNewestEpoch,
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static PRESENT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches a mutant on for this thread, and whichever was on before off.
    pub fn set(mutant: Option<Mutant>) {
        PRESENT.set(mutant);
    }

    /// Whether this mutant is on.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        PRESENT.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set};

/// Whether this mutant is on: never, in a build that has none.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
