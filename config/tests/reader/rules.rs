use super::{found, said, with_rm};

/// VMs `a` to `f` (each with its extra attributes), failover domains `one` (n1), `two` (n2) and `pair` (n1, n2), and rules
/// from line 9 on.
fn rules(vms: &[(&str, &str)], rules: &[&str]) -> String {
    let vms: String = ["a", "b", "c", "d", "e", "f"]
        .map(|name| {
            let more = vms.iter().find(|(vm, _)| *vm == name).map_or("", |(_, more)| more);
            format!("<vm name='{name}' path='/v' {more}/>")
        })
        .concat();
    let rules: String = rules.iter().map(|rule| format!("\n<{rule}/>")).collect();
    with_rm(&format!(
        "<failoverdomains>{}{}{}</failoverdomains>{vms}<placement>{rules}</placement>",
        domain("one", &["n1"]),
        domain("two", &["n2"]),
        domain("pair", &["n1", "n2"])
    ))
}

fn domain(name: &str, nodes: &[&str]) -> String {
    let nodes: String = nodes.iter().map(|node| format!("<failoverdomainnode name='{node}'/>")).collect();
    format!("<failoverdomain name='{name}' restricted='1'>{nodes}</failoverdomain>")
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn vms_that_must_be_together_and_apart_are_an_error_in_its_place() {
    let text =
        rules(&[], &["affinity name='x' vms='a b' required='1'", "anti-affinity name='z' vms='c b a' required='1'"]);
    assert_eq!(found(&text), ["10:25: error: rule 'z' keeps vm:a and vm:b apart, but rule 'x' keeps them together"]);
    assert!(belay_config::read("f", &text).cluster.is_none());
}

#[test]
fn a_contradiction_through_other_vms_is_named_with_the_whole_chain() {
    let text = rules(
        &[],
        &[
            "affinity name='x' vms='a b' required='1'",
            "affinity name='y' vms='b c' required='1'",
            "affinity name='w' vms='f e' required='1'",
            "anti-affinity name='z' vms='a c' required='1'",
        ],
    );
    let chain = "rule 'x' (vm:a with vm:b) and rule 'y' (vm:b with vm:c)";
    assert_eq!(said(&text), [format!("error: rule 'z' keeps vm:a and vm:c apart, but {chain} keep them together")]);
}

#[test]
fn a_chain_takes_the_shortest_way() {
    let text = rules(
        &[],
        &[
            "affinity name='x' vms='a b' required='1'",
            "affinity name='y' vms='b c' required='1'",
            "affinity name='v' vms='d a e c' required='1'",
            "anti-affinity name='z' vms='c e' required='1'",
        ],
    );
    assert_eq!(said(&text), ["error: rule 'z' keeps vm:c and vm:e apart, but rule 'v' keeps them together"]);
}

#[test]
fn rules_that_can_all_be_kept_are_no_finding() {
    for some in [
        vec!["affinity name='x' vms='a b' required='1'", "anti-affinity name='z' vms='a c' required='1'"],
        vec![
            "affinity name='x' vms='a b' required='1'",
            "affinity name='y' vms='c d'",
            "anti-affinity name='z' vms='b c'",
        ],
        vec!["anti-affinity name='x' vms='a b c' required='1'", "anti-affinity name='y' vms='c d e' required='1'"],
        vec!["affinity name='x' vms='a b c d e f' required='1'"],
    ] {
        assert_eq!(said(&rules(&[], &some)), none());
    }
    let depends = [("a", "depend='vm:b'")];
    assert_eq!(said(&rules(&depends, &["anti-affinity name='x' vms='a b' required='1'"])), none());
}

#[test]
fn a_wish_that_a_required_rule_forbids_is_a_warning() {
    let text = rules(&[], &["affinity name='x' vms='a b' required='1'", "anti-affinity name='z' vms='a b'"]);
    assert_eq!(said(&text), ["warning: rule 'z' would keep vm:a and vm:b apart, but rule 'x' keeps them together"]);
    let text = rules(&[], &["affinity name='x' vms='c a b'", "anti-affinity name='z' vms='a b' required='1'"]);
    assert_eq!(said(&text), ["warning: rule 'x' would keep vm:a and vm:b together, but rule 'z' keeps them apart"]);
}

#[test]
fn two_wishes_that_contradict_each_other_are_a_warning() {
    let text = rules(&[], &["affinity name='x' vms='a b'", "anti-affinity name='z' vms='b a'"]);
    assert_eq!(
        found(&text),
        ["9:20: warning: rule 'x' would keep vm:a and vm:b together, but rule 'z' keeps them apart"]
    );
}

#[test]
fn an_exclusive_vm_cannot_be_required_to_have_company() {
    let text = rules(&[("b", "exclusive='1'")], &["affinity name='x' vms='a b' required='1'"]);
    assert_eq!(said(&text), ["error: rule 'x' keeps vm:b together with others, but vm:b is exclusive: it runs alone"]);
    assert_eq!(said(&rules(&[("b", "exclusive='1'")], &["affinity name='x' vms='a b'"])), none());
}

#[test]
fn vms_kept_together_need_a_host_in_all_their_restricted_domains() {
    let vms = [("a", "domain='one'"), ("b", "domain='two'"), ("c", "domain='pair'")];
    let text = rules(&vms, &["affinity name='x' vms='a b' required='1'"]);
    let message = "rule 'x' keeps vm:a and vm:b together, but no host is in both of their restricted failover domains, \
                   'one' and 'two'";
    assert_eq!(found(&text), [format!("9:20: error: {message}")]);
    assert_eq!(said(&rules(&vms, &["affinity name='x' vms='a c d' required='1'"])), none(), "n1 is in both");
    assert_eq!(said(&rules(&vms, &["affinity name='x' vms='a b'"])), none(), "it is a wish");
    let through =
        rules(&vms, &["affinity name='x' vms='a d' required='1'", "affinity name='y' vms='d b' required='1'"]);
    let chain = "rule 'x' (vm:a with vm:d) and rule 'y' (vm:d with vm:b)";
    assert!(
        said(&through)[0].starts_with(&format!("error: {chain} keep vm:a and vm:b together")),
        "{:?}",
        said(&through)
    );
}

#[test]
fn domains_that_meet_in_pairs_but_not_all_at_once_are_named_too() {
    let domains =
        [("p", ["n1", "n2"]), ("q", ["n2", "n3"]), ("r", ["n1", "n3"])].map(|(name, nodes)| domain(name, &nodes));
    let text = with_rm(&format!(
        "<failoverdomains>{}</failoverdomains><vm name='a' domain='p' path='/v'/><vm name='b' domain='q' path='/v'/>\
         <vm name='c' domain='r' path='/v'/><placement><affinity name='x' vms='a b c' required='1'/></placement>",
        domains.concat()
    ));
    assert_eq!(
        said(&text),
        ["error: required rules keep vm:c together with VMs whose restricted failover domains have no host in common \
          with its own, 'r'"]
    );
}

#[test]
fn more_vms_apart_than_hosts_are_a_warning() {
    let four = "anti-affinity name='x' vms='a b c d' required='1'";
    assert_eq!(
        found(&rules(&[], &[four])),
        ["9:25: warning: only 3 of the 4 VMs of rule 'x' can run at a time: the cluster has 3 hosts"]
    );
    assert_eq!(said(&rules(&[], &["anti-affinity name='x' vms='a b c d'"])), none(), "it is a wish");
    assert_eq!(said(&rules(&[], &["anti-affinity name='x' vms='a b c' required='1'"])), none());
}

#[test]
fn vms_apart_are_counted_against_their_restricted_domains() {
    let warning = |most: u8| {
        format!(
            "warning: only {most} of the 3 VMs of rule 'x' can run at a time: their restricted failover domains have no more hosts"
        )
    };
    for (domains, most) in [
        (["one", "one", "one"], Some(1)),
        (["one", "one", ""], Some(2)),
        (["pair", "pair", "pair"], Some(2)),
        (["pair", "pair", "one"], Some(2)),
        (["pair", "one", "two"], Some(2)),
        (["pair", "one", ""], None),
        (["pair", "pair", ""], None),
        (["one", "pair", ""], None),
        (["", "", ""], None),
    ] {
        let attributes = domains.map(|domain| format!("domain='{domain}'"));
        let vms: Vec<(&str, &str)> = ["a", "b", "c"].into_iter().zip(attributes.iter().map(String::as_str)).collect();
        let text = rules(&vms, &["anti-affinity name='x' vms='a b c' required='1'"]);
        assert_eq!(said(&text), most.map(warning).into_iter().collect::<Vec<_>>(), "{domains:?}");
    }
}

/// The rules of the sized cluster below: hosts of 4 and 8 GiB, both with 2 CPUs.
fn sized(vms: &str, placement: &str) -> String {
    format!(
        "<cluster name='c' config_version='1'><clusternodes>{}{}</clusternodes>\n<rm><failoverdomains>{}</failoverdomains>{vms}\n{placement}</rm></cluster>",
        "<clusternode name='n1' nodeid='1' memory='4G' cpus='2'><fence><method name='1'/></fence></clusternode>",
        "<clusternode name='n2' nodeid='2' memory='8G' cpus='2'><fence><method name='1'/></fence></clusternode>",
        domain("small", &["n1"])
    )
}

/// Its findings but those about the empty fence methods.
fn of_sizes(text: &str) -> Vec<String> {
    said(text).into_iter().filter(|said| !said.contains("fence method")).collect()
}

#[test]
fn a_vm_larger_than_every_host_it_may_run_on_is_a_warning() {
    let vm = |more: &str| sized(&format!("<vm name='a' path='/v' {more}/>"), "");
    for (more, finding) in [
        ("memory='8G'", None),
        ("memory='8193'", Some("8193 MiB of memory, and no host for it has more than 8192")),
        ("memory='5G'", None),
        ("memory='5G' domain='small'", Some("5120 MiB of memory, and no host for it has more than 4096")),
        ("vcpus='8'", None),
        ("vcpus='9'", Some("9 virtual CPUs, and no host for it has more than 8")),
        ("memory='9G' vcpus='9'", Some("9216 MiB of memory, and no host for it has more than 8192")),
    ] {
        let expected = finding.map(|needs| format!("warning: vm:a needs {needs}: it will not be started"));
        assert_eq!(of_sizes(&vm(more)), expected.into_iter().collect::<Vec<_>>(), "{more}");
    }
    let allowed = sized("<vm name='a' path='/v' memory='9G'/>", "<placement overcommit='1'/>");
    assert_eq!(of_sizes(&allowed), none());
    let ratio = sized("<vm name='a' path='/v' vcpus='3'/>", "<placement cpu_ratio='1'/>");
    assert_eq!(
        of_sizes(&ratio),
        ["warning: vm:a needs 3 virtual CPUs, and no host for it has more than 2: it will not be started"]
    );
}

#[test]
fn a_host_that_says_its_size_itself_may_be_large_enough() {
    let text = sized("<vm name='a' path='/v' memory='9G' vcpus='99'/>", "").replace("memory='4G' cpus='2'", "");
    assert_eq!(of_sizes(&text), none());
}

#[test]
fn vms_kept_together_must_fit_into_one_host() {
    let vms = "<vm name='a' path='/v' memory='5G'/><vm name='b' path='/v' memory='4G'/>";
    let rule = |required: u8| format!("<placement><affinity name='x' vms='a b' required='{required}'/></placement>");
    assert_eq!(
        of_sizes(&sized(vms, &rule(1))),
        [
            "warning: what rule 'x' keeps together needs 9216 MiB of memory, and no host for it has more than 8192: not all of it can run"
        ]
    );
    assert_eq!(of_sizes(&sized(vms, &rule(0))), none());
    let confined = "<vm name='a' path='/v' memory='1G' domain='small'/><vm name='b' path='/v' memory='4G'/>";
    assert_eq!(of_sizes(&sized(confined, &rule(1))).len(), 1, "one host only is in the domain");
}
