use super::{found, model, said, with_rm};
use belay_proto::NodeId;

fn domain(attributes: &str, members: &str) -> String {
    with_rm(&format!(
        "<failoverdomains><failoverdomain name=\"Pref\" {attributes}>{members}</failoverdomain></failoverdomains>"
    ))
}

const N1: &str = "<failoverdomainnode name='n1' priority='1'/>";

#[test]
fn a_domain_is_found_by_its_name_in_lower_case_and_keeps_its_order() {
    let members = "<failoverdomainnode name='n3' priority='2'/><failoverdomainnode name='n1' priority='1'/>";
    let cluster = model(&domain("ordered='1' nofailback='1'", members));
    let domain = &cluster.failover_domains["pref"];
    assert_eq!(domain.name, "Pref");
    assert_eq!((domain.ordered, domain.restricted, domain.nofailback), (true, false, true));
    assert_eq!(domain.members, [(NodeId(3), 2), (NodeId(1), 1)]);
}

#[test]
fn a_flag_that_the_original_read_differently_is_pointed_out() {
    for (value, on, warned) in [
        ("1", true, false),
        ("0", false, false),
        ("2", true, false),
        ("no", false, false),
        ("yes", true, true),
        ("true", true, true),
    ] {
        let text = domain(&format!("ordered='{value}'"), N1);
        assert_eq!(model(&text).failover_domains["pref"].ordered, on, "{value}");
        let warning = format!("warning: ordered='{value}' means on here; RHCS took it for off");
        assert_eq!(said(&text), if warned { vec![warning] } else { vec![] }, "{value}");
    }
    assert_eq!(said(&domain("ordered='perhaps'", N1)), ["error: ordered='perhaps' is neither on nor off"]);
}

#[test]
fn an_unknown_node_is_left_out() {
    let text = domain("restricted='1'", &format!("{N1}<failoverdomainnode name='N2' priority='1'/>"));
    assert_eq!(said(&text), ["warning: failover domain 'Pref' names 'N2', which is not a node; it is left out"]);
    assert_eq!(model(&text).failover_domains["pref"].members, [(NodeId(1), 1)]);
}

#[test]
fn a_restricted_domain_without_a_node_confines_to_nowhere() {
    assert_eq!(said(&domain("restricted='1'", "")), ["warning: failover domain 'Pref' is restricted to no node"]);
    let unknown = "<failoverdomainnode name='x1'/><failoverdomainnode name='x2'/>";
    let all = said(&domain("restricted='1'", unknown));
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.contains(&"warning: failover domain 'Pref' is restricted to no node".to_owned()));
}

#[test]
fn a_domain_of_nobody_has_no_effect() {
    assert_eq!(found(&domain("", "")), ["8:22: warning: failover domain 'Pref' has no node: it has no effect"]);
    assert!(
        said(&domain("ordered='1'", "<failoverdomainnode name='x'/>")).iter().any(|said| said.contains("no effect"))
    );
}

#[test]
fn flags_that_say_nothing_about_the_domain_are_pointed_out() {
    let two = |one: u8, other: u8| {
        format!("<failoverdomainnode name='n1' priority='{one}'/><failoverdomainnode name='n2' priority='{other}'/>")
    };
    let unordered = "warning: the priorities of failover domain 'Pref' have no effect: it is not ordered";
    assert_eq!(said(&domain("", &two(1, 2))), [unordered]);
    assert_eq!(said(&domain("ordered='0' restricted='1'", &two(1, 2))), [unordered]);
    assert_eq!(said(&domain("", &two(1, 1))), Vec::<String>::new(), "configuration tools write that");
    let same = "info: all nodes of the ordered failover domain 'Pref' have the same priority";
    assert_eq!(said(&domain("ordered='1'", &two(7, 7))), [same]);
    assert_eq!(said(&domain("ordered='1'", N1)), Vec::<String>::new(), "one node needs no order");
    let failback = "info: nofailback has no effect: failover domain 'Pref' is not ordered";
    assert_eq!(said(&domain("nofailback='1'", N1)), [failback]);
    assert_eq!(said(&domain("nofailback='1' ordered='1'", &two(1, 2))), Vec::<String>::new());
}

#[test]
fn nodes_and_domains_are_written_once() {
    let text = domain("", &format!("{N1}{N1}"));
    assert_eq!(said(&text), ["error: 'n1' is in failover domain 'Pref' already"]);
    let named = |name| format!("\n<failoverdomain name='{name}'>{N1}</failoverdomain>");
    let twice = with_rm(&format!("<failoverdomains>{}{}</failoverdomains>", named("a"), named("A")));
    assert_eq!(found(&twice), ["10:17: error: failover domain 'A' exists already"]);
}

#[test]
fn priorities_are_from_1_to_100_and_what_is_none_comes_last() {
    for bad in ["0", "101", "-1", "256", "99999999999999999999", "first", "1.5"] {
        let text = domain("ordered='1'", &format!("<failoverdomainnode name='n1' priority='{bad}'/>"));
        assert_eq!(said(&text), [format!("warning: priority='{bad}' is not from 1 to 100: this node comes last")]);
        assert_eq!(model(&text).failover_domains["pref"].members, [(NodeId(1), 0)]);
    }
    for (text, priority) in [("1", 1), ("100", 100), (" 7 ", 7), ("007", 7)] {
        let text = domain("ordered='1'", &format!("<failoverdomainnode name='n1' priority='{text}'/>"));
        assert_eq!(said(&text), Vec::<String>::new());
        assert_eq!(model(&text).failover_domains["pref"].members, [(NodeId(1), priority)]);
    }
    let none = "<failoverdomainnode name='n1'/>";
    assert_eq!(
        said(&domain("ordered='1'", none)),
        ["info: without a priority this node comes last in the ordered domain"]
    );
    assert_eq!(said(&domain("ordered='0'", none)), Vec::<String>::new());
}
