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
    assert_eq!(said(&domain("", "")), Vec::<String>::new());
}

#[test]
fn nodes_and_domains_are_written_once() {
    let text = domain("", &format!("{N1}{N1}"));
    assert_eq!(said(&text), ["error: 'n1' is in failover domain 'Pref' already"]);
    let twice = with_rm("<failoverdomains>\n<failoverdomain name='a'/>\n<failoverdomain name='A'/></failoverdomains>");
    assert_eq!(found(&twice), ["10:17: error: failover domain 'A' exists already"]);
}

#[test]
fn priorities_are_from_1_to_100_and_anything_else_comes_first() {
    for bad in ["0", "101", "-1", "first", "256"] {
        let text = domain("ordered='1'", &format!("<failoverdomainnode name='n1' priority='{bad}'/>"));
        assert_eq!(said(&text), [format!("warning: priority='{bad}' is not from 1 to 100: this node comes first")]);
        assert_eq!(model(&text).failover_domains["pref"].members, [(NodeId(1), 0)]);
    }
    let none = "<failoverdomainnode name='n1'/>";
    assert_eq!(
        said(&domain("ordered='1'", none)),
        ["info: without a priority this node comes first in the ordered domain"]
    );
    assert_eq!(said(&domain("ordered='0'", none)), Vec::<String>::new());
}
