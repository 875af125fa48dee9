//! What a seed draws: which kinds of fault strike, how often, and how likely everything else goes wrong.
//!
//! Each seed has its own mix, so that some runs are all partitions and others all sick hypervisors: what only goes wrong
//! when one fault meets another comes up far sooner than if every run had a little of everything. Each strike and each
//! request has its own source of chance, named by its number, so that leaving one out does not change the others.

use crate::chaos::Fault;
use crate::cut::Cut;
use crate::rng::Rng;
use std::fmt::{self, Write};

macro_rules! odds {
    ($($(#[doc = $doc:literal])+ $name:ident: $most:literal,)+) => {
        /// How likely chance makes things go wrong that need no fault of their own, in percent.
        #[derive(Clone, Debug, Default)]
        pub struct Odds {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Odds {
            /// In each run some of it goes wrong, and the rest does not.
            pub(crate) fn draw(rng: &mut Rng) -> Self {
                let mut some = |most: u64| if rng.chance(40) { rng.range(1, most) } else { 0 };
                Self { $($name: some($most),)+ }
            }

            /// What can go wrong here, by name.
            pub(crate) fn present(&self) -> Vec<(&'static str, u64)> {
                let all = [$((stringify!($name), self.$name),)+];
                all.into_iter().filter(|(_, percent)| *percent > 0).collect()
            }

            /// Takes one of them out.
            pub(crate) fn without(&mut self, name: &str) {
                $(if name == stringify!($name) {
                    self.$name = 0;
                })+
            }
        }
    };
}

odds! {
    /// A start fails.
    start_fails: 40,
    /// A call hangs until its deadline and nobody knows how it ended.
    call_hangs: 20,
    /// A call takes long.
    call_slow: 50,
    /// A guest does not shut down when asked.
    stubborn_guest: 60,
    /// A stop fails.
    stop_fails: 30,
    /// A migration ends in another way than it says.
    migration_lies: 50,
    /// An attempt to fence fails.
    fence_fails: 70,
    /// An attempt to fence hangs, and may have its effect later.
    fence_hangs: 30,
    /// An attempt to fence takes long.
    fence_slow: 60,
    /// An attempt to fence fails, as it says, and has its effect when others have tried again, or the host is long back.
    fence_late: 30,
    /// An event of a hypervisor is lost.
    event_lost: 40,
    /// A change of membership loses messages that the other side did not get.
    tail_lost: 100,
    /// A message of the ring takes long, and those behind it come all at once.
    message_slow: 5,
    /// What a member proposed is proposed once more, moments or a minute and a half later.
    echo: 30,
    /// A write to a disk takes long.
    write_slow: 30,
    /// A fenced host stays off.
    stays_off: 40,
    /// A host's calendar is wrong from the beginning, and its clock runs too fast or too slow.
    clock_off: 60,
}

/// Which faults a run has.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    kinds: Vec<Fault>,
    every_ms: u64,
    asks_every_ms: u64,
}

impl Mix {
    fn draw(rng: &mut Rng) -> Self {
        let mut kinds = Vec::new();
        for kind in Fault::ALL {
            if rng.chance(30) {
                let weight = rng.range(1, 3);
                (0..weight).for_each(|_| kinds.push(*kind));
            }
        }
        if kinds.is_empty() {
            kinds.push(Fault::PowerCut);
        }
        Self {
            kinds,
            every_ms: rng.pick(&[400, 1500, 4000, 10_000]).unwrap_or(4000),
            asks_every_ms: rng.pick(&[1500, 4000, 4000, 15_000]).unwrap_or(4000),
        }
    }
}

/// The chaos of a run.
#[derive(Clone, Debug)]
pub(crate) struct Chaos {
    seed: u64,
    mix: Mix,
    cut: Cut,
    /// Strikes so far.
    pub(crate) strikes: u32,
    /// Requests so far.
    pub(crate) asks: u32,
}

/// One strike, or one request.
#[derive(Debug)]
pub(crate) struct Stroke {
    pub(crate) rng: Rng,
    /// Until the next one.
    pub(crate) next_ms: u64,
    /// It was not cut out of the run.
    pub(crate) counts: bool,
}

fn stream(seed: u64, kind: u64, number: u64) -> Rng {
    let mut rng = Rng::new(seed ^ kind.rotate_left(48) ^ number.wrapping_mul(0x9e6c_63d0_676a_9a99));
    rng.draw();
    rng
}

impl Chaos {
    pub(crate) fn draw(seed: u64, cut: Cut) -> (Self, Odds) {
        let mut rng = stream(seed, 1, 0);
        let mix = Mix::draw(&mut rng);
        let mut odds = Odds::draw(&mut rng);
        cut.without.iter().for_each(|name| odds.without(name));
        (Self { seed, mix, cut, strikes: 0, asks: 0 }, odds)
    }

    pub(crate) fn next_strike(&mut self) -> (Stroke, Option<Fault>) {
        let mut rng = stream(self.seed, 2, self.strikes.into());
        let next_ms = rng.range(self.mix.every_ms / 4, self.mix.every_ms * 2);
        let kind = rng.pick(&self.mix.kinds);
        let counts = self.cut.strikes.as_ref().is_none_or(|kept| kept.contains(&self.strikes));
        self.strikes += 1;
        (Stroke { rng, next_ms, counts }, kind)
    }

    pub(crate) fn next_ask(&mut self) -> Stroke {
        let mut rng = stream(self.seed, 3, self.asks.into());
        let next_ms = rng.range(self.mix.asks_every_ms / 8, self.mix.asks_every_ms * 2);
        let counts = self.cut.asks.as_ref().is_none_or(|kept| kept.contains(&self.asks));
        self.asks += 1;
        Stroke { rng, next_ms, counts }
    }

    /// The mix, for people.
    pub(crate) fn words(&self, odds: &Odds) -> String {
        let mut text = format!("chaos every {} ms:", self.mix.every_ms);
        for kind in Fault::ALL {
            let weight = self.mix.kinds.iter().filter(|k| *k == kind).count();
            if weight > 0 {
                let _ = write!(text, " {kind:?}×{weight}");
            }
        }
        let _ = write!(text, "; requests every {} ms;", self.mix.asks_every_ms);
        for (name, percent) in odds.present() {
            let _ = write!(text, " {name} {percent} %");
        }
        text
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} strikes, {} requests", self.strikes, self.asks)
    }
}
