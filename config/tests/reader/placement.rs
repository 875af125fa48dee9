use super::{found, model, said, with, with_rm};
use belay_config::model::{Affinity, Placement};
use belay_proto::ServiceName;

/// Three VMs and, in line 9, a placement with these attributes and rules.
fn placement(attributes: &str, rules: &str) -> String {
    with_rm(&format!(
        "<vm name='a' path='/v'/><vm name='b' path='/v'/><vm name='c' path='/v'/>\n<placement {attributes}>{rules}</placement>"
    ))
}

fn rules(text: &str) -> Vec<Affinity> {
    model(text).placement.affinities
}

#[test]
fn an_old_file_has_the_defaults_of_all_placement() {
    assert_eq!(model(&with_rm("")).placement, Placement::default());
    assert_eq!(model(&with("")).placement, Placement::default());
    assert_eq!(model(&placement("", "")).placement, Placement::default());
    let empty = "overcommit='' cpu_ratio='' max_starts='' max_migrations=''";
    assert_eq!(model(&placement(empty, "")).placement, Placement::default());
    assert_eq!(said(&placement(empty, "")), Vec::<String>::new());
}

#[test]
fn limits_and_rules_reach_the_model_in_order() {
    let text = placement(
        "overcommit='1' cpu_ratio='2' max_starts='3' max_migrations='1'",
        "<anti-affinity name='apart' vms='vm:a, c' required='1'/><affinity name='near' vms='b a'/>",
    );
    assert_eq!(found(&text), Vec::<String>::new());
    let vms = |names: [&str; 2]| names.map(|name| ServiceName::vm(name).unwrap()).into();
    let expected = Placement {
        overcommit: true,
        cpu_ratio: 2,
        max_starts: 3,
        max_migrations: 1,
        affinities: vec![
            Affinity { name: "apart".into(), together: false, required: true, vms: vms(["a", "c"]) },
            Affinity { name: "near".into(), together: true, required: false, vms: vms(["a", "b"]) },
        ],
    };
    assert_eq!(model(&text).placement, expected);
}

#[test]
fn a_limit_of_nothing_is_refused_in_its_place() {
    for (attribute, most) in [("cpu_ratio", 1000), ("max_starts", 10_000), ("max_migrations", 10_000)] {
        for value in ["0", "-1", "many", "99999999999"] {
            let text = placement(&format!("{attribute}='{value}'"), "");
            let expected = format!("9:12: error: {attribute}='{value}' is not a whole number from 1 to {most}");
            assert_eq!(found(&text), [expected]);
        }
    }
    assert_eq!(said(&placement("overcommit='some'", "")), ["error: overcommit='some' is neither on nor off"]);
}

#[test]
fn a_rule_about_unknown_vms_is_about_the_others() {
    let text = placement("", "<affinity name='x' vms='a b d'/>");
    assert_eq!(found(&text), ["9:32: warning: rule 'x' names 'd', which is not a VM; it is left out"]);
    assert_eq!(rules(&text)[0].vms.len(), 2);
    let text = placement("", "<anti-affinity name='x' vms='service:a,b'/>");
    assert_eq!(
        said(&text),
        [
            "warning: rule 'x' names 'service:a', which is not a VM; it is left out",
            "warning: rule 'x' is about one VM only: it has no effect",
        ]
    );
    assert!(rules(&text).is_empty());
}

#[test]
fn a_rule_about_fewer_than_two_vms_has_no_effect() {
    for (vms, left) in [("a", "one VM only"), ("a a", "one VM only"), (",", "no VM")] {
        let text = placement("", &format!("<affinity name='x' vms='{vms}' required='1'/>"));
        let expected = format!("warning: rule 'x' is about {left}: it has no effect");
        assert!(said(&text).contains(&expected), "{vms}");
        assert!(rules(&text).is_empty(), "{vms}");
    }
    assert_eq!(said(&placement("", "<affinity name='x'/>")), ["error: <affinity> names no VMs"]);
    assert_eq!(said(&placement("", "<anti-affinity name='x' vms=' '/>")), ["error: <anti-affinity> names no VMs"]);
    assert_eq!(said(&placement("", "<affinity name='x' vms='a a b'/>")), ["info: rule 'x' names 'a' twice"]);
}

#[test]
fn a_rule_has_a_name_of_its_own() {
    assert_eq!(said(&placement("", "<affinity vms='a b'/>")), ["error: <affinity> has no name"]);
    let twice = placement("", "<affinity name='x' vms='a b'/>\n<anti-affinity name='x' vms='b c'/>");
    assert_eq!(found(&twice), ["10:16: error: rule 'x' exists already"]);
}

#[test]
fn what_is_not_a_setting_of_placement_is_named() {
    let text = placement("max_start='1'", "<afinity name='x' vms='a b'/><affinity name='y' vms='a b' vm='c'/>");
    assert_eq!(
        said(&text),
        [
            "warning: unknown attribute 'max_start' of <placement>",
            "warning: unknown element <afinity> in <placement>",
            "warning: unknown attribute 'vm' of <affinity>",
        ]
    );
    let twice = with_rm("<placement max_starts='2'/>\n<placement max_starts='3'/>");
    assert_eq!(found(&twice), ["9:1: warning: a second <placement> is not read"]);
    assert_eq!(model(&twice).placement.max_starts, 2);
}
