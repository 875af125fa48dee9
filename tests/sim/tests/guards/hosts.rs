//! Decisions about hosts: whom to fence, and who counts as down.

use crate::Fault;
use crate::cluster::{Cluster, ONE, THREE, TWO};
use belay_engine::mutant::Mutant;
use belay_engine::state::guard::Invariant;
use belay_engine::state::member::Standing;
use belay_proto::Incarnation;
use belay_proto::entry::What;

fn refused(cluster: &Cluster, node: belay_proto::NodeId) -> Invariant {
    cluster.state.node(node).unwrap().refused.as_ref().expect("nothing was refused").invariant
}

#[test]
fn a_member_that_answers_again_is_not_fenced() {
    let mut cluster = Cluster::new().started_on(THREE);
    let _fault = Fault::on(Mutant::FenceWhoAnswers);
    cluster.apply(ONE, What::Silent { node: THREE, incarnation: Incarnation(1) });
    assert_eq!(cluster.state.victims().count(), 1);
    cluster.apply(THREE, What::Tick);
    assert_eq!(refused(&cluster, THREE), Invariant::S11);
    assert_eq!(cluster.state.victims().count(), 0);
    assert!(cluster.state.alarms().iter().any(|alarm| alarm.contains("refused a decision of its own about node3")));
    assert_eq!(cluster.does(), "started node3", "its VMs are not concerned");
    cluster.pass(100);
    assert_eq!(cluster.state.victims().count(), 0);
}

#[test]
fn a_member_whose_fencing_was_refused_is_fenced_when_it_is_lost_later() {
    let mut cluster = Cluster::new().started_on(THREE);
    let fault = Fault::on(Mutant::FenceWhoAnswers);
    cluster.apply(ONE, What::Silent { node: THREE, incarnation: Incarnation(1) });
    cluster.apply(THREE, What::Tick);
    fault.off();
    cluster.view(&[ONE, TWO]);
    cluster.pass(10).fenced(THREE, 1);
    assert_eq!(cluster.does(), "starting node1");
    assert!(cluster.state.node(THREE).unwrap().refused.is_none(), "that it is down is proven");
}

#[test]
fn a_report_about_an_earlier_loss_does_not_make_a_host_count_as_down() {
    let mut cluster = Cluster::new().started_on(THREE);
    cluster.view(&[ONE, TWO]);
    cluster.pass(10);
    cluster.view(&[ONE, TWO, THREE]);
    cluster.inventory(THREE, &["a"]);
    cluster.view(&[ONE, TWO]);
    let fault = Fault::on(Mutant::LateFenceOutcomeProves);
    cluster.fenced(THREE, 1);
    assert_eq!(refused(&cluster, THREE), Invariant::S2);
    assert!(matches!(cluster.state.node(THREE).unwrap().standing, Standing::Lost { .. }));
    assert_eq!(cluster.record().tripped.as_ref().map(|tripped| tripped.invariant), Some(Invariant::S2));
    assert_eq!(cluster.does(), "started node3 [Z]");
    fault.off();
    cluster.pass(10);
    assert!(cluster.state.victims().any(|(id, victim)| id == THREE && victim.attempt.is_some()), "it is still fenced");
}
