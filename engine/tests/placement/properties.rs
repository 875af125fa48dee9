//! What holds in every cluster, whatever it is told: arbitrary hosts, sizes, domains and rules, and hosts that come and go.

use crate::cluster::{Cluster, conf, vm};
use belay_engine::state::State;
use belay_engine::state::service::{Phase, ServiceRecord, Wanted};
use belay_engine::state::work::Assignments;
use belay_proto::entry::{ENTRY_VERSION, Entry, Request, What};
use belay_proto::{NodeId, ServiceName};
use proptest::prelude::*;
use std::collections::BTreeMap;

const HOSTS: u32 = 4;
const VMS: usize = 7;

/// One VM by chance.
#[derive(Clone, Debug)]
struct Drawn {
    memory: u32,
    vcpus: u32,
    domain: Option<u8>,
    exclusive: Option<u8>,
    depend: Option<(usize, bool)>,
}

/// A cluster by chance.
#[derive(Clone, Debug)]
struct Plan {
    vms: Vec<Drawn>,
    rules: Vec<(bool, bool, usize, usize)>,
    domains: Vec<(bool, bool, bool, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Step {
    Turn(u32),
    Enable(usize, Option<u32>),
    Disable(usize),
    Relocate(usize, Option<u32>),
    Migrate(usize, u32),
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let depend = proptest::option::weighted(0.15, (0..VMS, any::<bool>()));
    let (domain, exclusive) = (proptest::option::weighted(0.4, 0u8..2), proptest::option::weighted(0.1, 1u8..4));
    (0u32..6, 0u32..4, domain, exclusive, depend).prop_map(|(memory, vcpus, domain, exclusive, depend)| Drawn {
        memory: memory * 100,
        vcpus,
        domain,
        exclusive,
        depend,
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let domain = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::collection::vec(0u8..4, HOSTS as usize));
    let rule = (any::<bool>(), any::<bool>(), 0..VMS, 0..VMS);
    (
        proptest::collection::vec(drawn(), VMS),
        proptest::collection::vec(rule, 0..3),
        proptest::collection::vec(domain, 2),
    )
        .prop_map(|(vms, rules, domains)| Plan { vms, rules, domains })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let target = || proptest::option::of(1..=HOSTS);
    proptest::collection::vec(
        prop_oneof![
            3 => (1..=HOSTS).prop_map(Step::Turn),
            1 => (0..VMS, target()).prop_map(|(number, to)| Step::Enable(number, to)),
            1 => (0..VMS).prop_map(Step::Disable),
            1 => (0..VMS, target()).prop_map(|(number, to)| Step::Relocate(number, to)),
            1 => (0..VMS, 1..=HOSTS).prop_map(|(number, to)| Step::Migrate(number, to)),
        ],
        0..8,
    )
}

impl Plan {
    /// Its configuration; with the parts in another order if `turned`.
    fn conf(&self, turned: bool) -> String {
        let mut domains: Vec<String> =
            self.domains.iter().enumerate().map(|(n, domain)| domain_text(n, domain)).collect();
        let mut rules: Vec<String> = Vec::new();
        for (number, (together, required, one, other)) in self.rules.iter().enumerate().filter(|(_, r)| r.2 != r.3) {
            let element = if *together { "affinity" } else { "anti-affinity" };
            let (one, other) = if turned { (other, one) } else { (one, other) };
            let required = u8::from(*required);
            rules.push(format!("<{element} name='r{number}' vms='v{one} v{other}' required='{required}'/>"));
        }
        let mut vms: Vec<String> = self.vms.iter().enumerate().map(|(number, drawn)| vm_text(number, drawn)).collect();
        if turned {
            [&mut domains, &mut rules, &mut vms].into_iter().for_each(|texts| texts.reverse());
        }
        let rm = format!(
            "<failoverdomains>{}</failoverdomains><placement cpu_ratio='2'>{}</placement>{}",
            domains.concat(),
            rules.concat(),
            vms.concat()
        );
        conf(HOSTS, "memory='1000' cpus='3'", &rm)
    }
}

fn domain_text(number: usize, (ordered, restricted, nofailback, members): &(bool, bool, bool, Vec<u8>)) -> String {
    let flag = |name, yes: &bool| format!("{name}='{}'", u8::from(*yes));
    let flags = [flag("ordered", ordered), flag("restricted", restricted), flag("nofailback", nofailback)].join(" ");
    let member = |(host, priority): (usize, &u8)| {
        let id = host + 1;
        (*priority > 0).then(|| format!("<failoverdomainnode name='node{id}' priority='{priority}'/>"))
    };
    let members: String = members.iter().enumerate().filter_map(member).collect();
    format!("<failoverdomain name='d{number}' {flags}>{members}</failoverdomain>")
}

fn vm_text(number: usize, drawn: &Drawn) -> String {
    let mut text = format!("<vm name='v{number}'");
    if drawn.memory > 0 {
        text += &format!(" memory='{}'", drawn.memory);
    }
    if drawn.vcpus > 0 {
        text += &format!(" vcpus='{}'", drawn.vcpus);
    }
    if let Some(domain) = drawn.domain {
        text += &format!(" domain='d{domain}'");
    }
    if let Some(exclusive) = drawn.exclusive {
        text += &format!(" exclusive='{exclusive}'");
    }
    // Only on earlier ones: what goes round in a circle is no configuration.
    if let Some((other, hard)) = drawn.depend.filter(|(other, _)| *other < number) {
        text += &format!(" depend='vm:v{other}' depend_mode='{}'", if hard { "hard" } else { "soft" });
    }
    text + "/>"
}

fn name(number: usize) -> ServiceName {
    vm(&format!("v{number}"))
}

/// Does a step; tells which host it lost, if it did.
fn take(cluster: &mut Cluster, step: &Step) -> Option<NodeId> {
    let online: Vec<NodeId> = cluster.rehearsal.state().online().collect();
    match step {
        // Two hosts of four are no quorum.
        Step::Turn(host) if online.contains(&NodeId(*host)) => {
            if online.len() > 3 {
                cluster.fail(&[*host]);
                return Some(NodeId(*host));
            }
        }
        Step::Turn(host) => drop(cluster.join(*host)),
        Step::Enable(number, target) => {
            let request =
                Request::Enable { service: name(*number), target: target.map(NodeId), by_domain: target.is_none() };
            cluster.ask(request);
        }
        Step::Disable(number) => drop(cluster.ask(Request::Disable { service: name(*number) })),
        Step::Relocate(number, target) => {
            cluster.ask(Request::Relocate { service: name(*number), target: target.map(NodeId) });
        }
        Step::Migrate(number, target) => {
            cluster.ask(Request::Migrate { service: name(*number), target: NodeId(*target) });
        }
    }
    None
}

fn on(record: &ServiceRecord) -> Option<NodeId> {
    match record.phase {
        Phase::Started { owner } => Some(owner),
        _ => None,
    }
}

fn places(state: &State) -> BTreeMap<ServiceName, Option<NodeId>> {
    state.services().map(|(name, record)| (name.clone(), on(record))).collect()
}

/// What is wrong with where everything is.
fn broken(plan: &Plan, state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    let at = |number: usize| state.service(&name(number)).and_then(on);
    for host in (1..=HOSTS).map(NodeId) {
        let here: Vec<usize> = (0..VMS).filter(|number| at(*number) == Some(host)).collect();
        let memory: u32 = here.iter().map(|number| plan.vms[*number].memory).sum();
        let vcpus: u32 = here.iter().map(|number| plan.vms[*number].vcpus).sum();
        if memory > 1000 || vcpus > 6 {
            wrong.push(format!("{host:?} has {memory} MiB and {vcpus} CPUs given away"));
        }
        if here.len() > 1 && here.iter().any(|number| plan.vms[*number].exclusive.is_some()) {
            wrong.push(format!("{here:?} are together on {host:?}"));
        }
        let outside = |number: &&usize| {
            let domain = plan.vms[**number].domain.map(|number| &plan.domains[usize::from(number)]);
            domain.is_some_and(|(_, restricted, _, members)| *restricted && members[host.0 as usize - 1] == 0)
        };
        wrong.extend(here.iter().find(outside).map(|number| format!("{number} is outside of its domain")));
    }
    for (together, required, one, other) in &plan.rules {
        if let (true, true, Some(here), Some(there)) = (*required, one != other, at(*one), at(*other))
            && (here == there) != *together
        {
            wrong.push(format!("the rule of {one} and {other} is broken: {here:?} {there:?}"));
        }
    }
    for (number, drawn) in plan.vms.iter().enumerate() {
        if let Some((other, true)) = drawn.depend.filter(|(other, _)| *other < number)
            && at(number).is_some()
            && at(other).is_none()
        {
            wrong.push(format!("{number} runs without {other}"));
        }
    }
    wrong
}

fn started(plan: &Plan) -> Option<Cluster> {
    let text = plan.conf(false);
    // Rules that contradict each other are no configuration.
    belay_config::read("cluster.conf", &text).cluster?;
    Some(Cluster::of(text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_host_is_given_more_than_it_has_and_no_required_rule_is_broken(plan in plan(), steps in steps()) {
        let Some(mut cluster) = started(&plan) else { return Ok(()) };
        prop_assert_eq!(broken(&plan, cluster.rehearsal.state()), Vec::<String>::new());
        for step in &steps {
            take(&mut cluster, step);
            prop_assert_eq!(broken(&plan, cluster.rehearsal.state()), Vec::<String>::new(), "after {:?}", step);
        }
    }

    #[test]
    fn whatever_waits_says_why_and_no_host_would_take_it(plan in plan(), steps in steps()) {
        let Some(mut cluster) = started(&plan) else { return Ok(()) };
        for step in &steps {
            take(&mut cluster, step);
        }
        let state = cluster.rehearsal.state();
        for (name, record) in state.services().filter(|(_, r)| r.phase == Phase::Stopped { wanted: Wanted::Now }) {
            prop_assert!(record.waiting.as_ref().is_some_and(|reason| !reason.is_empty()), "{name} says nothing");
            let depends = record.waiting.as_ref().is_some_and(|reason| reason.starts_with("it depends on"));
            let verdicts = state.verdicts(name).unwrap();
            for host in verdicts.hosts.iter().filter(|_| !depends) {
                prop_assert!(host.obstacle.is_some() && !host.reason.is_empty(), "{name} could be on {:?}", host.node);
            }
        }
    }

    #[test]
    fn the_order_in_which_a_configuration_is_written_does_not_matter(plan in plan(), steps in steps()) {
        let Some(mut one) = started(&plan) else { return Ok(()) };
        let mut other = Cluster::of(plan.conf(true));
        for step in &steps {
            take(&mut one, step);
            take(&mut other, step);
        }
        prop_assert_eq!(places(one.rehearsal.state()), places(other.rehearsal.state()));
    }

    #[test]
    fn where_nothing_happens_nothing_moves(plan in plan(), steps in steps()) {
        let Some(mut cluster) = started(&plan) else { return Ok(()) };
        for step in &steps {
            take(&mut cluster, step);
        }
        let mut state = cluster.rehearsal.state().clone();
        let before = places(&state);
        for _ in 0..3 {
            let time = state.time() + belay_proto::Span::seconds(60);
            state.apply(&Entry { version: ENTRY_VERSION, from: NodeId(1), time, what: What::Tick });
            prop_assert_eq!(places(&state), before.clone());
        }
        // A member that reads the snapshot goes on alike.
        let mut read = State::restore(&state.snapshot()).unwrap();
        prop_assert!(read.snapshot() == state.snapshot());
        let time = state.time() + belay_proto::Span::seconds(60);
        let entry = Entry { version: ENTRY_VERSION, from: NodeId(1), time, what: What::Tick };
        prop_assert_eq!(read.apply(&entry), state.apply(&entry));
        prop_assert!(read.snapshot() == state.snapshot());
    }

    #[test]
    fn what_is_handed_out_bit_by_bit_is_what_would_be_worked_out_anew(plan in plan(), steps in steps()) {
        let Some(mut cluster) = started(&plan) else { return Ok(()) };
        let mut handed_out: BTreeMap<NodeId, Assignments> = BTreeMap::new();
        for step in &steps {
            take(&mut cluster, step);
            let state = cluster.rehearsal.state();
            for host in (1..=HOSTS).map(NodeId) {
                let before = handed_out.entry(host).or_default();
                let old = before.clone();
                let changed = state.assign(host, state.index(), before);
                prop_assert!(*before == state.assignments(host, state.index()));
                prop_assert_eq!(changed, *before != old);
            }
        }
    }

    #[test]
    fn the_loss_of_a_host_moves_only_what_it_ran(plan in plan(), steps in steps()) {
        let mut plan = plan;
        // Who is displaced, and who is stopped for want of another, moves for a reason of its own.
        plan.vms.iter_mut().for_each(|vm| (vm.exclusive, vm.depend) = (None, None));
        let Some(mut cluster) = started(&plan) else { return Ok(()) };
        for step in &steps {
            let before = places(cluster.rehearsal.state());
            let lost = take(&mut cluster, step);
            let after = places(cluster.rehearsal.state());
            for (name, place) in before.iter().filter(|(_, place)| lost.is_some() && place.is_some() && **place != lost) {
                prop_assert_eq!(&after[name], place, "{}", name);
            }
        }
    }
}
