use super::{found, said, with};
use belay_config::{MAX_BYTES, read, read_bytes};
use std::fmt::Write;

#[test]
fn a_file_that_is_too_large_is_not_looked_at() {
    let text = " ".repeat(MAX_BYTES + 1);
    let expected = format!("1:1: error: the file has {} bytes; no more than {MAX_BYTES} are read", MAX_BYTES + 1);
    assert_eq!(found(&text), [expected]);
    assert!(read_bytes("f", text.as_bytes()).cluster.is_none());
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let depth = 100_000;
    let text = with(&format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth)));
    assert_eq!(said(&text), ["warning: unknown element <a> in <cluster>"]);
    assert_eq!(said(&"<a>".repeat(depth)).len(), 1);
}

#[test]
fn an_element_with_too_many_attributes_or_namespaces_is_refused_before_it_costs_time() {
    let mut attributes = String::new();
    let mut namespaces = String::new();
    for i in 0..200_000 {
        let _ = write!(attributes, " a{i}=''");
        let _ = write!(namespaces, "<a xmlns:p{i}=''>");
    }
    let expected = "error: 'cluster' has too many attributes or namespaces to be read";
    assert_eq!(said(&format!("<cluster{attributes}/>")), [expected]);
    let expected = "error: 'a' has too many attributes or namespaces to be read";
    assert_eq!(said(&namespaces), [expected]);
}

#[test]
fn a_flood_of_findings_is_counted_and_not_kept() {
    let text = with(&format!("{}<cman two_node='1'/>", "<nonsense/>".repeat(100_000)));
    let reading = read("f", &text);
    let findings = &reading.diagnostics;
    assert_eq!(findings.len(), 1002);
    assert_eq!(findings.last().map(|f| f.message.as_str()), Some("99000 more findings are not listed"));
    assert!(findings.iter().any(|f| f.message.contains("two_node")), "the error that refuses the file is kept");
    let rendered = reading.render(false);
    assert!(rendered.len() < 3_000_000, "one endless line is shown in part: {} bytes", rendered.len());
}

#[test]
fn a_file_of_wrong_names_is_not_compared_for_ever() {
    let nodes: String = (1..20_000).map(|i| format!("<clusternode name='node{i}' nodeid='{i}'/>")).collect();
    let wrong: String = (1..20_000).map(|i| format!("<failoverdomainnode name='nodx{i}'/>")).collect();
    let text = format!(
        "<cluster name='c' config_version='1'><clusternodes>{nodes}</clusternodes><rm><failoverdomains>\
         <failoverdomain name='d'>{wrong}</failoverdomain></failoverdomains></rm></cluster>"
    );
    let reading = read("f", &text);
    assert!(reading.cluster.is_some_and(|cluster| cluster.nodes.len() == 19_999));
}

#[test]
fn a_circle_of_all_vms_is_named_in_part() {
    let vms: String =
        (0..20_000).map(|i| format!("<vm name='v{i}' path='/v' depend='vm:v{}'/>", (i + 1) % 20_000)).collect();
    let said = said(&with(&format!("<rm>{vms}</rm>")));
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("-> vm:v39 -> … -> vm:v0") && said[0].len() < 600, "{}", said[0]);
}

#[test]
fn rules_without_end_are_refused_and_large_ones_are_compared() {
    let vms: String = (0..1200).map(|i| format!("<vm name='v{i}' path='/v'/>")).collect();
    let pairs: String = (0..1001).map(|i| format!("<affinity name='r{i}' vms='v{i} v{}'/>", i + 1)).collect();
    let text = with(&format!("<rm>{vms}<placement>{pairs}</placement></rm>"));
    assert_eq!(said(&text), ["error: there are more than 1000 rules"]);
    let all: String = (0..600).map(|i| format!(" v{i}")).collect();
    let rule = |i: usize| {
        let (kind, required) = [("affinity", 1), ("anti-affinity", 1), ("affinity", 0), ("anti-affinity", 0)][i % 4];
        format!("<{kind} name='r{i}' required='{required}' vms='{all}'/>")
    };
    let web: String = (0..80).map(rule).collect();
    let said = said(&with(&format!("<rm>{vms}<placement>{web}</placement></rm>")));
    assert!(said[0].contains("but a chain of other rules keeps them together"), "{}", said[0]);
    assert_eq!(said.len(), 80, "each is named, and the required ones for being apart are too many for the hosts too");
}
