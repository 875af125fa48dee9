use crate::state::State;
use crate::state::service::{AfterStop, MigrationStage, Phase, Rival, ServiceRecord, Wanted};
use crate::state::work::WorkKind;
use belay_proto::entry::{ENTRY_VERSION, Entry, GoneReason, Member, Seen, View, What, WorkOutcome};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{Incarnation, Index, NodeId, OwnershipEpoch, ServiceName, Term, Timestamp};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const ALL: [NodeId; 3] = [ONE, TWO, THREE];
const CONF: &str = r#"<cluster name="c" config_version="1"><clusternodes><clusternode name="one" nodeid="1"/>
<clusternode name="two" nodeid="2"/><clusternode name="three" nodeid="3"/></clusternodes>
<rm><vm name="a" path="/vms"/></rm></cluster>"#;

/// Three members that have said that they run nothing, and a service that is in this phase.
fn cluster(phase: &Phase, frozen: bool) -> State {
    let mut state = State::new();
    let member = |node: NodeId| Member {
        node,
        boot: format!("boot{node}").parse().unwrap(),
        incarnation: Incarnation(1),
        diverged: false,
    };
    let view = View {
        round: RoundId { initiator: ONE, incarnation: Incarnation(1), serial: 1 },
        ring: RingId::default(),
        term: Term(0),
        members: ALL.map(member).to_vec(),
        hosts: ALL.to_vec(),
    };
    apply(&mut state, ONE, What::View(view));
    apply(&mut state, ONE, What::Config { text: CONF.into() });
    for node in ALL {
        let what = What::Inventory { boot: format!("boot{node}").parse().unwrap(), running: vec![] };
        apply(&mut state, node, what);
    }
    state.with_service(&a(), |_, record| {
        record.phase = phase.clone();
        record.frozen = frozen;
    });
    state
}

fn a() -> ServiceName {
    "vm:a".parse().unwrap()
}

fn apply(state: &mut State, from: NodeId, what: What) {
    state.apply(&Entry { version: ENTRY_VERSION, from, time: Timestamp(1), what });
}

fn record(state: &State) -> &ServiceRecord {
    state.service(&a()).unwrap()
}

fn sees(state: &mut State, from: NodeId, seen: Seen) {
    let epoch = record(state).epoch;
    apply(state, from, What::Observation { service: a(), epoch, seen });
}

fn looked(state: &mut State, from: NodeId, epoch: OwnershipEpoch, running: bool) {
    apply(state, from, What::Outcome { service: a(), epoch, outcome: WorkOutcome::Looked { running } });
}

fn is_asked(state: &State, node: NodeId) -> bool {
    let work = state.assignments(node, Index(u64::MAX)).work;
    work.iter().any(|work| matches!(work.what, WorkKind::Look(_)))
}

/// What becomes of a copy on the second host.
#[derive(Debug, PartialEq)]
enum Fate {
    Is(Rival),
    Adopted,
    AsItShouldBe,
}

fn fate(phase: &Phase, frozen: bool) -> Fate {
    let mut state = cluster(phase, frozen);
    sees(&mut state, TWO, Seen::Running);
    let record = record(&state);
    match record.rivals.get(&TWO) {
        Some(rival) => Fate::Is(*rival),
        None if record.phase == *phase => Fate::AsItShouldBe,
        None if record.phase == (Phase::Started { owner: TWO }) => Fate::Adopted,
        None => panic!("{record:?}"),
    }
}

#[test]
fn what_becomes_of_a_copy_depends_on_what_its_service_is_doing() {
    let moving = |from, to| Phase::Migrating { from, to, stage: MigrationStage::Moving };
    let stopping = |owner| Phase::Stopping { owner, then: AfterStop::Stop };
    let left = || Fate::Is(Rival::Tolerated);
    for (phase, thawed, frozen) in [
        (Phase::Started { owner: ONE }, Fate::Is(Rival::AskingOwner), Fate::Is(Rival::AskingOwner)),
        (Phase::Started { owner: TWO }, Fate::AsItShouldBe, Fate::AsItShouldBe),
        (Phase::Stopped { wanted: Wanted::Now }, Fate::Adopted, left()),
        (Phase::Stopped { wanted: Wanted::AtNextView }, Fate::Adopted, left()),
        (Phase::Disabled, left(), left()),
        (Phase::Failed { at: ONE }, left(), left()),
        (Phase::Failed { at: TWO }, Fate::AsItShouldBe, Fate::AsItShouldBe),
        (Phase::Starting { owner: ONE }, left(), left()),
        (Phase::Starting { owner: TWO }, Fate::AsItShouldBe, Fate::AsItShouldBe),
        (stopping(ONE), left(), left()),
        (stopping(TWO), Fate::AsItShouldBe, Fate::AsItShouldBe),
        (moving(ONE, THREE), left(), left()),
        (moving(ONE, TWO), Fate::AsItShouldBe, Fate::AsItShouldBe),
    ] {
        assert_eq!(fate(&phase, false), thawed, "{phase:?}");
        assert_eq!(fate(&phase, true), frozen, "{phase:?}, frozen");
    }
}

#[test]
fn the_owner_is_asked_once_however_often_the_copy_is_seen() {
    let mut state = cluster(&Phase::Started { owner: ONE }, false);
    sees(&mut state, TWO, Seen::Running);
    let epoch = record(&state).epoch;
    assert!(is_asked(&state, ONE) && !is_asked(&state, TWO));
    sees(&mut state, TWO, Seen::Running);
    assert_eq!(record(&state).epoch, epoch);
}

#[test]
fn an_answer_to_an_earlier_question_destroys_nothing() {
    let mut state = cluster(&Phase::Started { owner: ONE }, false);
    let before = record(&state).epoch;
    sees(&mut state, TWO, Seen::Running);
    looked(&mut state, ONE, before, true);
    assert_eq!(record(&state).rivals.get(&TWO), Some(&Rival::AskingOwner));
    let asked = record(&state).epoch;
    looked(&mut state, ONE, asked, true);
    assert_eq!(record(&state).rivals.get(&TWO), Some(&Rival::BeingStopped));
}

#[test]
fn what_is_missing_is_recovered_only_when_everybody_has_answered_the_question_itself() {
    let mut state = cluster(&Phase::Started { owner: ONE }, false);
    let before = record(&state).epoch;
    sees(&mut state, ONE, Seen::Gone { why: GoneReason::Missing });
    assert!(is_asked(&state, TWO) && is_asked(&state, THREE) && !is_asked(&state, ONE));
    let asked = record(&state).epoch;
    looked(&mut state, TWO, before, false);
    looked(&mut state, THREE, asked, false);
    // An inventory that was on its way says nothing of what left its owner meanwhile.
    apply(&mut state, TWO, What::Inventory { boot: "boot2".parse().unwrap(), running: vec![] });
    assert_eq!(record(&state).phase, Phase::Started { owner: ONE });
    looked(&mut state, TWO, asked, false);
    assert_eq!(record(&state).phase, Phase::Starting { owner: ONE });
}

#[test]
fn what_is_missing_does_not_wait_for_ever_for_a_member_that_says_nothing_and_what_was_moved_does() {
    for (why, recovered) in [(GoneReason::Missing, true), (GoneReason::Migrated, false)] {
        let mut state = cluster(&Phase::Started { owner: ONE }, false);
        sees(&mut state, ONE, Seen::Gone { why });
        let asked = record(&state).epoch;
        looked(&mut state, THREE, asked, false);
        let due = state.wake_at_or_due();
        assert_eq!(due.is_some(), recovered, "{why:?}");
        let time = due.unwrap_or(Timestamp(86_400_000));
        state.apply(&Entry { version: ENTRY_VERSION, from: ONE, time, what: What::Tick });
        assert_eq!(record(&state).phase == (Phase::Starting { owner: ONE }), recovered, "{why:?}");
        assert_eq!(record(&state).sought.is_empty(), recovered, "{why:?}");
    }
}

#[test]
fn what_died_before_a_witness_is_recovered_without_asking_anybody() {
    let mut state = cluster(&Phase::Started { owner: ONE }, false);
    sees(&mut state, ONE, Seen::Gone { why: GoneReason::Died });
    assert_eq!(record(&state).phase, Phase::Starting { owner: ONE });
}

#[test]
fn what_runs_on_its_owner_again_is_not_sought_any_more() {
    let mut state = cluster(&Phase::Started { owner: ONE }, false);
    sees(&mut state, ONE, Seen::Gone { why: GoneReason::Migrated });
    apply(&mut state, ONE, What::Inventory { boot: "boot1".parse().unwrap(), running: vec!["a".into()] });
    let epoch = record(&state).epoch;
    looked(&mut state, TWO, epoch, false);
    looked(&mut state, THREE, epoch, false);
    assert_eq!(record(&state).phase, Phase::Started { owner: ONE });
    assert_eq!((record(&state).ended, &record(&state).trouble), (None, &None));
}

#[test]
fn a_copy_whose_host_says_that_it_is_gone_is_not_shown_any_more() {
    let mut state = cluster(&Phase::Disabled, false);
    sees(&mut state, TWO, Seen::Running);
    assert_eq!(state.alarms().len(), 1);
    sees(&mut state, TWO, Seen::Gone { why: GoneReason::Died });
    assert_eq!(state.alarms(), Vec::<String>::new());
}

#[test]
fn a_state_with_all_this_in_it_outlives_being_stored() {
    let mut state = cluster(&Phase::Started { owner: ONE }, true);
    sees(&mut state, ONE, Seen::Gone { why: GoneReason::Migrated });
    sees(&mut state, TWO, Seen::Running);
    let restored = State::restore(&state.snapshot()).unwrap();
    assert_eq!(restored.snapshot(), state.snapshot());
    assert_eq!(restored.service_statuses(), state.service_statuses());
}
