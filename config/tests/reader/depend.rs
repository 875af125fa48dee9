use super::{found, model, said, with_rm};
use belay_config::model::{DependMode, Vm};
use belay_proto::ServiceName;

/// VMs `a`, `b`, … of which each has these attributes, a line each from line 9.
fn vms(attributes: &[&str]) -> String {
    let lines = attributes.iter().zip('a'..).map(|(more, name)| format!("\n<vm name='{name}' path='/vms' {more}/>"));
    with_rm(&lines.collect::<String>())
}

fn named(text: &str, name: &str) -> Vm {
    model(text).vms[&ServiceName::vm(name).unwrap()].clone()
}

fn help(text: &str) -> Option<String> {
    belay_config::read("f", text).diagnostics.first().and_then(|finding| finding.help.clone())
}

#[test]
fn a_vm_can_depend_on_one_that_comes_later_in_the_file() {
    let text = vms(&["depend='vm:b' depend_mode='soft'", "depend='vm:c'", ""]);
    assert_eq!(found(&text), Vec::<String>::new());
    let (a, b) = (named(&text, "a"), named(&text, "b"));
    assert_eq!((a.depend, a.depend_mode), (ServiceName::vm("b").ok(), DependMode::Soft));
    assert_eq!((b.depend, b.depend_mode), (ServiceName::vm("c").ok(), DependMode::Hard));
}

#[test]
fn a_service_that_is_not_there_is_not_waited_for_and_said_so() {
    for (depend, meant) in [
        ("b", "did you mean 'vm:b'?"),
        ("service:b", "write vm: and the name of a VM of this file"),
        ("vm:database", "write vm: and the name of a VM of this file"),
        ("vm:c", "did you mean 'vm:a'?"),
        ("vm:b vm:x", "a VM can depend on one other; let that one depend on the next"),
        ("vm:b,vm:x", "a VM can depend on one other; let that one depend on the next"),
    ] {
        let text = vms(&[&format!("\ndepend='{depend}'"), ""]);
        let expected = format!("10:1: warning: there is no '{depend}' here: vm:a does not wait for it");
        assert_eq!(found(&text), [expected]);
        assert_eq!(help(&text).as_deref(), Some(meant), "{depend}");
        assert_eq!(named(&text, "a").depend, None);
    }
}

#[test]
fn a_vm_that_depends_on_itself_is_an_error() {
    assert_eq!(found(&vms(&["depend='vm:a'"])), ["9:26: error: vm:a depends on itself: it could never start"]);
}

#[test]
fn a_circle_is_named_whole_and_once() {
    let text = vms(&["depend='vm:b'", "depend='vm:c'", "depend='vm:d'", "depend='vm:b'", "depend='vm:a'"]);
    let circle = "these VMs wait for each other and could never start: vm:b -> vm:c -> vm:d -> vm:b";
    assert_eq!(found(&text), [format!("10:26: error: {circle}")]);
    let two = vms(&["depend='vm:b'", "depend='vm:a' depend_mode='soft'", "depend='vm:d'", "depend='vm:c'"]);
    assert_eq!(
        said(&two),
        [
            "error: these VMs wait for each other and could never start: vm:a -> vm:b -> vm:a",
            "error: these VMs wait for each other and could never start: vm:c -> vm:d -> vm:c",
        ]
    );
}

#[test]
fn a_circle_begins_where_the_file_does() {
    let text = with_rm(
        "\n<vm name='z' path='/v' depend='vm:a'/>\n<vm name='a' path='/v' depend='vm:m'/>\n<vm name='m' path='/v' depend='vm:z'/>",
    );
    let circle = "these VMs wait for each other and could never start: vm:z -> vm:a -> vm:m -> vm:z";
    assert_eq!(found(&text), [format!("9:24: error: {circle}")]);
}

#[test]
fn a_chain_that_meets_another_is_no_circle() {
    assert_eq!(said(&vms(&["depend='vm:c'", "depend='vm:c'", "depend='vm:d'", ""])), Vec::<String>::new());
}

#[test]
fn a_mode_is_hard_or_soft() {
    let text = vms(&["depend='vm:b' depend_mode='loose'", ""]);
    assert_eq!(said(&text), ["warning: depend_mode='loose' is not known: taken for hard"]);
    assert_eq!(named(&text, "a").depend_mode, DependMode::Hard);
    assert_eq!(said(&vms(&["depend_mode='hard'"])), ["info: depend_mode has no effect without depend"]);
}
