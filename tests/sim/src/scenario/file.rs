//! A scenario as it stands in its file: a cluster, and then line by line what happens and what must come of it.
//!
//! The grammar is told by example in `tests/data/scenarios/README.md`. Reading touches no disk; whoever has the text
//! calls [`Scenario::read`], and a mistake is told with its line and what would be right.

use super::ask::Ask;
use super::event::{self, Event, Names};
use super::expect::{self, Seen};
use super::setup::{Ground, Setup, describes};
use super::words::{Mistake, Word, Words, Wrong, milliseconds, split, wrong};
use belay_config::{Severity, Validated};

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its file.
    pub file: String,
    /// The cluster.
    pub setup: Setup,
    /// The hosts are off when the story begins.
    pub cold: bool,
    /// What it waits for, if what it pins is not there yet.
    pub pending: Option<String>,
    /// What is to be warned of in its configuration.
    pub warnings: Vec<String>,
    /// It also runs on real processes.
    pub real: bool,
    /// What happens, and what must come of it.
    pub steps: Vec<Step>,
}

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// The line itself, for whoever reads that it failed.
    pub text: String,
    /// When.
    pub when: When,
    /// What.
    pub what: Happens,
}

/// When something happens, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Right after the line before.
    Now,
    /// So long after the story began.
    At(u64),
    /// So long after the line before.
    After(u64),
    /// At some moment from now on, not later than this.
    Within(u64),
    /// From now on, for so long.
    For(u64),
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happens {
    /// The world does something.
    Event(Event),
    /// An administrator asks.
    Ask(Ask),
    /// Something must be so.
    Expect(Seen),
}

/// A line of the file, with those that continue it.
struct Line {
    number: usize,
    text: String,
    words: Vec<Word>,
    /// Lines that begin with `+` or `-`.
    changes: Vec<(bool, usize, Vec<Word>)>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn read(file: &str, text: &str) -> Result<Self, Mistake> {
        let at =
            |line: usize| move |Wrong { message, help }: Wrong| Mistake { file: file.to_owned(), line, message, help };
        let mut scenario = Self {
            file: file.to_owned(),
            setup: Setup::default(),
            cold: false,
            pending: None,
            warnings: Vec::new(),
            real: false,
            steps: Vec::new(),
        };
        let lines = lines(text).map_err(|(line, mistake)| at(line)(mistake))?;
        let mut story = None;
        for line in lines {
            if story.is_none() && scenario.head(&line).map_err(at(line.number))? {
                continue;
            }
            let telling = match story.as_mut() {
                Some(telling) => telling,
                None => story.insert(Telling::begin(&scenario.setup).map_err(at(line.number))?),
            };
            let number = line.number;
            let step = telling.step(line).map_err(|(line, mistake)| at(line.unwrap_or(number))(mistake))?;
            scenario.steps.push(step);
        }
        if scenario.steps.is_empty() {
            let help = "after the cluster's description, say what happens and what is expected";
            return Err(at(1)(Wrong { message: "nothing happens in this scenario".into(), help: help.into() }));
        }
        Ok(scenario)
    }

    /// Takes in a line if it belongs to the head.
    fn head(&mut self, line: &Line) -> Result<bool, Wrong> {
        let mut words = Words::new(&line.words);
        if line.text.starts_with('<') {
            self.setup.xml(&line.text);
        } else if words.take("cold") {
            self.cold = true;
            words.end("cold stands alone")?;
        } else if words.take("also on real hosts") {
            self.real = true;
            words.end("'also on real hosts' stands alone")?;
        } else if words.take("pending") {
            self.pending = Some(words.quoted("say what for, in quotes: pending \"failback\"")?);
        } else if words.take("warning") {
            self.warnings.push(words.quoted("say which, in quotes: warning \"never forgotten\"")?);
        } else if words.peek().is_some_and(describes) {
            self.setup.line(&mut words)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Joins lines with those that continue them, and drops what is empty.
fn lines(text: &str) -> Result<Vec<Line>, (usize, Wrong)> {
    let mut lines: Vec<Line> = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let (number, text) = (index + 1, text.trim());
        if text.starts_with('<') {
            lines.push(Line { number, text: text.to_owned(), words: Vec::new(), changes: Vec::new() });
            continue;
        }
        let mut words = split(text).map_err(|mistake| (number, mistake))?;
        let first = words.first().filter(|word| !word.quoted).map(|word| word.text.as_str());
        match (first, lines.last_mut()) {
            (None, _) if words.is_empty() => {}
            (Some("then" | "=>" | "+" | "-"), None) => {
                let what = wrong("this line continues nothing", "put it below the line that it belongs to");
                return what.map_err(|mistake| (number, mistake));
            }
            (Some("then" | "=>"), Some(line)) => {
                line.words.append(&mut words);
                line.text = format!("{} {text}", line.text);
            }
            (Some(sign @ ("+" | "-")), Some(line)) => {
                let adds = sign == "+";
                words.remove(0);
                line.changes.push((adds, number, words));
            }
            _ => lines.push(Line { number, text: text.to_owned(), words, changes: Vec::new() }),
        }
    }
    Ok(lines)
}

/// What is known while the story is read.
struct Telling {
    setup: Setup,
    cluster: Validated,
    vms: Vec<String>,
    asked: Vec<String>,
}

impl Telling {
    fn begin(setup: &Setup) -> Result<Self, Wrong> {
        if setup.hosts() == 0 {
            return wrong("no hosts are described", "begin with: hosts 3");
        }
        let mut telling = Self { setup: setup.clone(), cluster: checked(setup)?, vms: Vec::new(), asked: Vec::new() };
        telling.learn();
        Ok(telling)
    }

    /// VMs stay known when they are removed: what becomes of them can be asked.
    fn learn(&mut self) {
        for service in self.cluster.vms.keys() {
            let name = service.name().to_owned();
            if !self.vms.contains(&name) {
                self.vms.push(name);
            }
        }
    }

    fn step(&mut self, line: Line) -> Result<Step, (Option<usize>, Wrong)> {
        let Line { number, text, words, changes } = line;
        let mut words = Words::new(&words);
        let when = when(&mut words).map_err(|mistake| (None, mistake))?;
        let what = self.happens(&mut words, &changes)?;
        if matches!(when, When::Within(_) | When::For(_)) && !matches!(what, Happens::Expect(_)) {
            let what = wrong("only an expectation has time to come true", "write at 5s or after 5s for what happens");
            return what.map_err(|mistake| (None, mistake));
        }
        Ok(Step { line: number, text, when, what })
    }

    fn happens(
        &mut self,
        words: &mut Words<'_>,
        changes: &[(bool, usize, Vec<Word>)],
    ) -> Result<Happens, (Option<usize>, Wrong)> {
        let here = |mistake| (None, mistake);
        if words.take("configure") {
            words.end("the changes stand in lines below, each with + or - in front: + vm b").map_err(here)?;
            return self.configure(changes).map(Happens::Event);
        }
        if let Some((_, line, _)) = changes.first() {
            let what = wrong("only configure has lines with + and -", "put 'configure' in front of them");
            return what.map_err(|mistake| (Some(*line), mistake));
        }
        let names = Names { cluster: &self.cluster, vms: &self.vms };
        if words.take("expect") {
            return expect::read(words, names, &self.asked).map(Happens::Expect).map_err(here);
        }
        if words.take("ask") {
            let ask = Ask::read(words, &self.cluster).map_err(here)?;
            self.asked.extend(ask.name.clone());
            return Ok(Happens::Ask(ask));
        }
        if words.peek().is_some_and(describes) {
            let what = wrong(
                "the cluster is described before anything happens",
                "move the line up, or change the configuration with: configure, and below it + and the line",
            );
            return what.map_err(here);
        }
        event::read(words, names).map(Happens::Event).map_err(here)
    }

    fn configure(&mut self, changes: &[(bool, usize, Vec<Word>)]) -> Result<Event, (Option<usize>, Wrong)> {
        for (adds, line, words) in changes {
            let mut words = Words::new(words);
            let changed = if *adds { self.setup.line(&mut words) } else { self.setup.without(&mut words) };
            changed.map_err(|mistake| (Some(*line), mistake))?;
        }
        self.setup.version += 1;
        self.cluster = checked(&self.setup).map_err(|mistake| (None, mistake))?;
        self.learn();
        Ok(Event::Configure(Box::new(self.setup.clone())))
    }
}

/// The configuration, if nothing is wrong with it.
fn checked(setup: &Setup) -> Result<Validated, Wrong> {
    let reading = belay_config::read("cluster.conf", &setup.text(&Ground::default()));
    let errors: Vec<String> =
        reading.diagnostics.iter().filter(|d| d.severity == Severity::Error).map(|d| d.message.clone()).collect();
    match reading.cluster {
        Some(cluster) => Ok(cluster),
        None => {
            wrong(format!("the cluster is not valid: {}", errors.join("; ")), "see docs for what cluster.conf may say")
        }
    }
}

fn when(words: &mut Words<'_>) -> Result<When, Wrong> {
    type Kind = (&'static str, fn(u64) -> When);
    let kinds: [Kind; 4] = [("at", When::At), ("after", When::After), ("within", When::Within), ("for", When::For)];
    for (word, when) in kinds {
        if words.take(word) {
            return milliseconds(words.need("a time", "write: at 5s")?).map(when);
        }
    }
    Ok(When::Now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "# A story.\nhosts 3\nvm a recovery=relocate\n\nat 5s kill vm a\nwithin 10s expect a started on node2\n\
                         ask node1: clusvcadm -d vm:a\n   => Success\nexpect log \"died\"\n  then \"disabled\"\n";

    fn mistake(text: &str) -> (usize, String) {
        let mistake = Scenario::read("x", text).unwrap_err();
        assert!(!mistake.help.is_empty());
        (mistake.line, mistake.message)
    }

    #[test]
    fn a_story_is_read_line_by_line() {
        let scenario = Scenario::read("x", STORY).unwrap();
        let lines: Vec<usize> = scenario.steps.iter().map(|step| step.line).collect();
        assert_eq!(lines, [5, 6, 7, 9]);
        assert_eq!(scenario.steps[0].when, When::At(5000));
        let Happens::Ask(ask) = &scenario.steps[2].what else { panic!("{:?}", scenario.steps[2]) };
        assert_eq!(ask.answer.as_ref().unwrap().code, belay_proto::Code::Success);
        let Happens::Expect(seen) = &scenario.steps[3].what else { panic!("{:?}", scenario.steps[3]) };
        assert_eq!(seen.what, super::super::expect::Expect::Log(vec!["died".into(), "disabled".into()]));
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let head = "hosts 3\nvm a\n";
        for (story, line, part) in [
            ("kil vm a", 3, "'kil' is nothing that can happen"),
            ("expect a running", 3, "not understood"),
            ("expect c started", 3, "'c' is no VM"),
            ("kill vm c", 3, "no VM 'c'"),
            ("power off node4", 3, "no host 'node4'"),
            ("at soon kill vm a", 3, "'soon' is no length of time"),
            ("within 5s kill vm a", 3, "only an expectation"),
            ("ask node1: clusvcadm -e vm:a", 3, "answer"),
            ("ask node1: clusvcadm -e vm:a => Sucess", 3, "'Sucess' is no answer"),
            ("kill vm a\nvm b", 4, "described before"),
            ("configure\n  + wm b", 4, "'wm' is nothing"),
            ("expect log died", 3, "quoted"),
            ("split node1 node2", 3, "two sides"),
            ("let starts of a explode", 3, "how it goes"),
        ] {
            let (at, message) = mistake(&format!("{head}{story}\n"));
            assert!(at == line && message.contains(part), "{story}: line {at}: {message}");
        }
    }

    #[test]
    fn a_cluster_that_is_not_valid_or_not_there_is_a_mistake() {
        assert!(mistake("vm a\nkill vm a\n").1.contains("no hosts"));
        assert!(mistake("hosts 3\n").1.contains("nothing happens"));
        assert!(mistake("hosts 3\nvm a\nvm a/b\nkill vm a\n").1.contains("not valid"));
    }

    #[test]
    fn vms_of_a_later_configuration_are_known_from_then_on() {
        let text = "hosts 2\ntwo_node\nvm a\nconfigure\n  + vm b\n  - vm a\nexpect b started\nexpect a runs nowhere\n";
        let scenario = Scenario::read("x", text).unwrap();
        assert_eq!(scenario.steps.len(), 3);
        assert!(Scenario::read("x", "hosts 3\nvm a\nexpect b started\nconfigure\n + vm b\n").is_err());
    }
}
