//! Deliberate faults, so that the simulator can show that it would find real ones.
//!
//! A [`Mutant`] is one guard taken out, or one shortcut taken, where a tired colleague might. The simulator switches one
//! on, plays the seed or the scenario that its table has for it, and fails if no promise is broken, or if there is no row:
//! then a fault, an invariant or a scenario is missing, not a mutant. Where a second guard would catch what one lets through,
//! the mutant takes out both: whether a daemon's view suffices is asked before it proposes to open a term and again when
//! promises are counted (`HostsVoteForDaemons`), a suspect is minded when a place is chosen and again when the start is handed out
//! (`SuspectsIgnored`), a former term by whoever counts and by whoever hands out (`FormerTermCounts`), a migration that may go on
//! when its call fails and again by the look that follows (`FailedMigrationGoesOn`).
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
    /// A host that was never seen is taken to be off.
    UnseenHostsAreDown,
    /// A host that joins is taken to run nothing before it has said what it runs.
    JoinersHaveNothing,
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
    /// A VM of which nobody saw the end is started again without being looked for.
    MissingIsDead,
    /// What is missing is not looked for on hosts that are lost.
    LostHostsAreNotAsked,
    /// A guest that may switch itself off is started again.
    GuestShutdownIsDeath,
    /// A second copy is destroyed before the owner has said that it has its own.
    CopyDestroyedUnasked,
    /// What died is started again where it was, whoever else has a copy.
    InPlaceBesideCopies,
    /// Either of two nodes that are apart starts what ran on neither.
    TwoNodeBothStart,
    /// A restricted failover domain does not restrict.
    DomainIgnored,
    /// A host gets more VMs than it has memory for.
    CapacityIgnored,
    /// What is on its way to a host takes no room there.
    TargetTakesNoRoom,
    /// Required rules about company are not looked at.
    AffinityIgnored,
    /// What wants a host for itself gets one with others.
    ExclusiveIgnored,
    /// Of two that want a host for themselves and are alike one displaces the other.
    EqualsDisplaceEachOther,
    /// A service is started without what it depends on.
    DependencyIgnored,
    /// What cannot do without a service runs on without it.
    DependantsRunOn,
    /// A service leaves the host where it is to stay as soon as a better one comes.
    NofailbackIgnored,
    /// A move to a better host that failed is made again and again.
    FailbackRepeated,
    /// Services are placed on hosts in maintenance.
    MaintenanceIsForgotten,
    /// Hosts are fenced while the cluster is disarmed.
    DisarmedIsForgotten,
    /// The cluster stays disarmed when the time for it is over.
    DisarmedForEver,
    /// When the cluster is armed again, who is away is fenced at once, whatever grace it has.
    ArmedWithoutDelay,
    /// What left a host for its maintenance is not brought back.
    HomeForgotten,
    /// A host that is being emptied is reported empty while something is left there.
    DrainedTooEarly,
    /// More services are started on a host at once than allowed.
    StartTurnsIgnored,
    /// More services are migrated from or to a host at once than allowed.
    MigrationTurnsIgnored,
    /// What could not be moved anywhere is not tried again.
    MovesNotTriedAgain,
    /// What is frozen is moved to empty its host.
    FrozenIsMoved,
    /// What dies while it is frozen is recovered.
    FrozenIsRecovered,
    /// What is locked is started.
    LockIgnored,
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
    /// Of two hosts that were apart the one that was quorate more often wins, though the other one had it fenced.
    FencedHostWins,
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
    /// A start whose time is over is reported as failed though it may be under way.
    LateStartIsNoStart,
    /// A migration whose call failed is reported as ended though it may be under way.
    FailedMigrationGoesOn,
    /// What runs on a host is listed before its hypervisor has answered.
    InventoryTooEarly,
    /// A fence agent that failed is taken to have fenced.
    FailedAgentConfirms,
    /// Fence agents do not ask for quorum right before they act.
    FencingWithoutQuorum,
    /// An attempt to fence goes on when nobody wants its victim fenced any more.
    FencingGoesOn,
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static PRESENT: Cell<Option<Mutant>> = const { Cell::new(None) };
        static UNGUARDED: Cell<bool> = const { Cell::new(false) };
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

    /// Takes the guards (`state::guard`) out for this thread, so that what a fault leads to can be seen, or puts them back.
    pub fn unguard(off: bool) {
        UNGUARDED.set(off);
    }

    /// Whether the guards are out.
    #[must_use]
    pub fn unguarded() -> bool {
        UNGUARDED.get()
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set, unguard, unguarded};

/// Whether the guards are out: never, in a build that has no mutants.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn unguarded() -> bool {
    false
}

/// Whether this mutant is on: never, in a build that has none.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
