use super::*;
use crate::state::service::Phase;

/// Three hosts that can be fenced, and what else is said of them and of what they run.
fn conf(nodes: &str, rm: &str) -> String {
    let hosts: String = (1..=3)
        .map(|id| {
            format!(
                "<clusternode name='node{id}' nodeid='{id}' {nodes}><fence><method name='bmc'><device name='bmc{id}'/>\
                 </method></fence></clusternode>"
            )
        })
        .collect();
    let devices: String = (1..=3).map(|id| format!("<fencedevice name='bmc{id}' agent='fence_ipmilan'/>")).collect();
    format!(
        "<cluster name='c' config_version='1'><clusternodes>{hosts}</clusternodes><fencedevices>{devices}</fencedevices>\
         <rm>{rm}</rm></cluster>"
    )
}

fn cold(text: &str) -> Rehearsal {
    Rehearsal::cold(text, &BTreeSet::new()).unwrap().0
}

fn one(node: u32) -> BTreeSet<NodeId> {
    BTreeSet::from([NodeId(node)])
}

fn owner(rehearsal: &Rehearsal, name: &str) -> Option<NodeId> {
    rehearsal.places().get(&ServiceName::vm(name).unwrap()).copied().flatten()
}

#[test]
fn a_cluster_that_is_switched_on_starts_its_vms() {
    let rehearsal = cold(&conf("", "<vm name='a'/><vm name='b'/><vm name='c'/>"));
    let owners: BTreeSet<_> = ["a", "b", "c"].iter().filter_map(|name| owner(&rehearsal, name)).collect();
    assert_eq!(owners.len(), 3);
    assert!(rehearsal.without_a_place().is_empty());
}

#[test]
fn a_host_that_fails_is_fenced_and_its_vm_moves() {
    let mut rehearsal = cold(&conf("", "<vm name='a'/>"));
    let before = owner(&rehearsal, "a").unwrap();
    let played = rehearsal.play(&Happening::Fail(BTreeSet::from([before]))).unwrap();
    let after = owner(&rehearsal, "a").unwrap();
    assert_ne!(before, after);
    let texts: Vec<&str> = played.steps.iter().map(|step| step.event.text.as_str()).collect();
    let position =
        |part: &str| texts.iter().position(|text| text.contains(part)).unwrap_or_else(|| panic!("{texts:?}"));
    assert!(position("is lost") < position("starting on"), "{texts:?}");
}

#[test]
fn the_real_state_is_not_touched_by_what_is_rehearsed() {
    let rehearsal = cold(&conf("", "<vm name='a'/>"));
    let state = rehearsal.state().clone();
    let mut copy = Rehearsal::of(state.clone()).unwrap();
    copy.play(&Happening::Fail(one(1))).unwrap();
    assert_eq!(state.snapshot(), rehearsal.state().snapshot());
    assert_ne!(copy.state().snapshot(), state.snapshot());
}

#[test]
fn without_quorum_nothing_is_started_and_what_was_lost_is_named() {
    let mut rehearsal = cold(&conf("", "<vm name='a'/><vm name='b'/><vm name='c'/>"));
    let played = rehearsal.play(&Happening::Fail(BTreeSet::from([NodeId(1), NodeId(2)]))).unwrap();
    assert!(!played.quorate);
    assert_eq!(rehearsal.without_a_place().len(), 2);
}

#[test]
fn a_host_that_failed_can_come_back() {
    let mut rehearsal = cold(&conf("", "<vm name='a'/>"));
    rehearsal.play(&Happening::Fail(one(1))).unwrap();
    assert!(matches!(rehearsal.play(&Happening::Fail(one(1))), Err(RehearsalError::NotOnline(_))));
    rehearsal.play(&Happening::Join(NodeId(1))).unwrap();
    assert!(matches!(rehearsal.play(&Happening::Join(NodeId(1))), Err(RehearsalError::Online(_))));
    assert!(matches!(rehearsal.play(&Happening::Join(NodeId(9))), Err(RehearsalError::NoMember(_))));
    assert!(rehearsal.without_a_place().is_empty());
}

#[test]
fn a_request_is_answered_as_the_cluster_would() {
    let mut rehearsal = cold(&conf("", "<vm name='a'/>"));
    let service = ServiceName::vm("a").unwrap();
    let target = NodeId(if owner(&rehearsal, "a") == Some(NodeId(3)) { 2 } else { 3 });
    let request = Request::Migrate { service: service.clone(), target };
    let played = rehearsal.play(&Happening::Request(request)).unwrap();
    assert_eq!(played.verdict.map(|verdict| verdict.code), Some(belay_proto::Code::Success));
    assert_eq!(rehearsal.state().service(&service).unwrap().phase, Phase::Started { owner: target });
}

#[test]
fn a_host_that_cannot_be_fenced_leaves_its_vm_without_a_place() {
    let text = conf("", "<vm name='a'/>").replace("<device name='bmc1'/>", "").replace("<device name='bmc2'/>", "");
    let text = text.replace("<device name='bmc3'/>", "");
    let text = text.replace("<fence><method name='bmc'></method></fence>", "");
    let mut rehearsal = cold(&text);
    let host = owner(&rehearsal, "a").unwrap();
    rehearsal.play(&Happening::Fail(BTreeSet::from([host]))).unwrap();
    let stranded = rehearsal.without_a_place();
    assert!(stranded.values().all(|reason| reason.contains("ack-fence")) && stranded.len() == 1, "{stranded:?}");
}

#[test]
fn survival_names_what_has_no_place_after_the_loss_of_a_host() {
    let roomy = cold(&conf("memory='4096'", "<vm name='a' memory='2048'/><vm name='b' memory='2048'/>"));
    let given = survival(&roomy, 1).unwrap();
    assert_eq!((given.losses.len(), given.is_given()), (3, true), "{given:?}");
    let two = survival(&roomy, 2).unwrap();
    assert!(!two.is_given(), "one of three has no quorum");
}
