use super::{found, model, said, with};
use belay_proto::NodeId;

fn nodes(nodes: &str) -> String {
    format!("<cluster name=\"c\" config_version=\"1\"><clusternodes>{nodes}</clusternodes></cluster>")
}

/// What is said about these nodes beyond their missing fence methods.
fn about(text: &str) -> Vec<String> {
    said(&nodes(text)).into_iter().filter(|finding| !finding.contains("no fence method")).collect()
}

#[test]
fn a_sound_file_has_no_findings() {
    let text = with("");
    assert_eq!(found(&text), Vec::<String>::new());
    let cluster = model(&text);
    assert_eq!((cluster.name.as_str(), cluster.version), ("alpha", 7));
    let names: Vec<_> = cluster.nodes.iter().map(|(id, node)| (id.0, node.name.as_str(), node.votes)).collect();
    assert_eq!(names, [(1, "n1", 1), (2, "n2", 1), (3, "n3", 1)]);
    assert_eq!((cluster.two_node, cluster.expected_votes(), cluster.quorum()), (false, 3, 2));
}

#[test]
fn the_clusters_own_attributes_are_required() {
    for (attributes, finding) in [
        (r#"config_version="1""#, "error: <cluster> has no name"),
        (r#"name="" config_version="1""#, "error: the name of <cluster> is empty"),
        (r#"name="c""#, "error: <cluster> has no config_version"),
        (
            r#"name="c" config_version="new""#,
            "error: config_version='new' is not a whole number from 0 to 18446744073709551615",
        ),
        (
            r#"name="c" config_version="-1""#,
            "error: config_version='-1' is not a whole number from 0 to 18446744073709551615",
        ),
        (
            r#"name="MyNeatoTestCluster" config_version="1""#,
            "warning: cluster name has 18 characters; RHCS allowed no more than 15",
        ),
    ] {
        let text = with("").replace(r#"name="alpha" config_version="7""#, attributes);
        assert_eq!(said(&text), [finding], "{attributes}");
    }
}

#[test]
fn the_alias_of_the_guide_is_known_and_without_effect() {
    let text = with("").replace("<cluster ", "<cluster alias=\"MyClusterName\" ");
    assert_eq!(found(&text), Vec::<String>::new());
}

#[test]
fn a_nodeid_is_a_number_from_one() {
    for (attribute, finding) in [
        ("", "error: 'a' has no nodeid"),
        ("nodeid=''", "error: 'a' has no nodeid"),
        ("nodeid='0'", "error: nodeid='0' is not a whole number from 1 to 4294967295"),
        ("nodeid='one'", "error: nodeid='one' is not a whole number from 1 to 4294967295"),
        ("nodeid='4294967296'", "error: nodeid='4294967296' is not a whole number from 1 to 4294967295"),
        ("nodeid='0x1'", "error: nodeid='0x1' is not a whole number from 1 to 4294967295"),
    ] {
        assert_eq!(about(&format!("<clusternode name='a' {attribute}/>")), [finding], "{attribute}");
    }
}

#[test]
fn names_and_ids_are_used_once() {
    let one = "<clusternode name='a' nodeid='1'/>\n";
    assert_eq!(about(&format!("{one}<clusternode name='b' nodeid='1'/>")), ["error: nodeid 1 is taken"]);
    assert_eq!(about(&format!("{one}<clusternode name='A' nodeid='2'/>")), ["error: node 'A' exists already"]);
}

#[test]
fn a_node_has_a_name_without_blanks() {
    assert_eq!(about("<clusternode nodeid='1'/>"), ["error: <clusternode> has no name"]);
    assert_eq!(about("<clusternode nodeid='1' name='a b'/>"), ["error: node name 'a b' contains a blank"]);
    let control = "error: the name of <clusternode> contains a control character";
    assert_eq!(about("<clusternode nodeid='1' name='a&#10;b'/>"), [control]);
}

#[test]
fn a_wrong_node_is_reported_once_and_not_wherever_it_is_named() {
    let text = "<cluster name='c' config_version='1'><clusternodes><clusternode name='a'/></clusternodes>
        <rm><failoverdomains><failoverdomain name='d' restricted='1'><failoverdomainnode name='a'/></failoverdomain>
        </failoverdomains></rm></cluster>";
    assert_eq!(said(text), ["error: 'a' has no nodeid", "warning: 'a' has no fence method"]);
}

#[test]
fn a_cluster_without_members_is_refused() {
    assert_eq!(about(""), ["error: the cluster has no members"]);
    assert_eq!(said("<cluster name='c' config_version='1'/>"), ["error: the cluster has no members"]);
}

#[test]
fn votes_count_from_zero_to_255() {
    let text = with("").replace("nodeid=\"1\"", "nodeid=\"1\" votes=\"3\"");
    assert_eq!(model(&text).expected_votes(), 5);
    let bad = "error: votes='256' is not a whole number from 0 to 255";
    assert_eq!(about("<clusternode name='a' nodeid='1' votes='256'/>"), [bad]);
    let none = "warning: a node without a vote does not count for quorum";
    assert_eq!(about("<clusternode name='a' nodeid='1' votes='0'/>"), [none]);
}

fn two(cman: &str, votes: &str) -> String {
    format!(
        "<cluster name='c' config_version='1'>{cman}<clusternodes><clusternode name='a' nodeid='1' {votes}/>\
         <clusternode name='b' nodeid='2'/></clusternodes></cluster>"
    )
}

#[test]
fn two_node_makes_one_vote_a_quorum() {
    let cluster = model(&two("<cman two_node='1' expected_votes='1'/>", ""));
    assert_eq!((cluster.two_node, cluster.quorum()), (true, 1));
}

#[test]
fn two_node_is_for_two_nodes_with_a_vote_each() {
    let about = |text: &str| -> Vec<_> { said(text).into_iter().filter(|f| !f.contains("no fence method")).collect() };
    assert_eq!(about(&with("<cman two_node='1'/>")), ["error: two_node is set, but there are 3 nodes"]);
    assert_eq!(
        about(&two("<cman two_node='1'/>", "votes='2'")),
        ["error: two_node is set, but not every node has one vote"]
    );
    assert_eq!(
        about(&two("<cman two_node='1' expected_votes='3'/>", "")),
        ["warning: two_node is set, but expected_votes is 3, not 1"]
    );
    assert_eq!(
        about(
            "<cluster name='c' config_version='1'><cman two_node='1'/><clusternodes><clusternode name='a' nodeid='1'/></clusternodes></cluster>"
        ),
        ["warning: two_node is set, but there are no two nodes"]
    );
}

#[test]
fn expected_votes_that_differ_from_the_votes_are_pointed_out() {
    let text = with("<cman expected_votes='5'/>");
    assert_eq!(said(&text), ["warning: expected_votes is 5, but the nodes have 3 votes: quorum is 3"]);
    assert_eq!(model(&text).quorum(), 3);
    let text = with("<cman expected_votes='1'/>");
    assert_eq!(said(&text), ["warning: expected_votes is 1, but the nodes have 3 votes: quorum is 2"]);
    assert_eq!(model(&text).quorum(), 2);
    let bad = "error: expected_votes='0' is not a whole number from 1 to 4294967295";
    assert_eq!(said(&with("<cman expected_votes='0'/>")), [bad]);
}

#[test]
fn lists_that_are_written_twice_are_read_together() {
    let more = "<clusternodes><clusternode name='n4' nodeid='4'><fence><method name='1'><device name='bmc'/></method>\
                </fence></clusternode></clusternodes>";
    let text = with(more);
    assert_eq!(found(&text), ["8:1: info: another <clusternodes>; read together with the one in line 2"]);
    assert_eq!(model(&text).nodes.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4].map(NodeId));
}

#[test]
fn of_two_single_elements_the_first_counts() {
    let text = with("<cman expected_votes='3'/>\n<cman expected_votes='9'/>");
    assert_eq!(found(&text), ["9:1: warning: a second <cman> is not read"]);
    assert_eq!(model(&text).expected_votes, Some(3));
}
