//! The network between hosts: splits, links that carry one way only, and links that come and go.

use crate::ring::Link;
use crate::rng::Rng;
use crate::sim::{Ev, Sim, WorldEv};
use belay_proto::NodeId;

impl Sim {
    /// Splits the network: hosts not named stay with the first side.
    pub fn partition(&mut self, sides: &[&[u32]]) {
        for host in self.hosts.values_mut() {
            let side = sides.iter().position(|side| side.contains(&host.id.0)).unwrap_or(0);
            host.partition = u32::try_from(side).unwrap_or(0);
        }
        self.trace.fault(self.now, &format!("the network splits: {sides:?}"));
        self.connectivity_changed();
    }

    /// What one host sends does not reach another any more, while it hears the other well.
    pub fn cut_one_way(&mut self, from: NodeId, to: NodeId) {
        if from != to && self.broken.insert(Link { from, to }) {
            self.trace.fault(self.now, &format!("node{to} does not hear node{from} any more"));
            self.connectivity_changed();
        }
    }

    /// Mends the network.
    pub fn rejoin(&mut self) {
        if self.hosts.values().any(|host| host.partition != 0) || !self.broken.is_empty() {
            self.trace.fault(self.now, "the network is whole again");
            self.hosts.values_mut().for_each(|host| host.partition = 0);
            self.broken.clear();
            self.connectivity_changed();
        }
    }

    /// Two sides, drawn by chance.
    pub(crate) fn draw_sides(&self, rng: &mut Rng) -> (Vec<u32>, Vec<u32>) {
        let numbers: Vec<u32> = self.hosts.keys().map(|id| id.0).collect();
        let cut = usize::try_from(rng.range(1, numbers.len() as u64 - 1)).unwrap_or(1);
        let turn = usize::try_from(rng.range(0, numbers.len() as u64 - 1)).unwrap_or(0);
        let turned: Vec<u32> = numbers.iter().cycle().skip(turn).take(numbers.len()).copied().collect();
        let (one, other) = turned.split_at(cut);
        (one.to_vec(), other.to_vec())
    }

    /// A link that comes and goes.
    pub(crate) fn flap(&mut self, rng: &mut Rng) {
        let (one, other) = self.draw_sides(rng);
        let mut at = 0;
        for _ in 0..rng.range(2, 8) {
            self.after(at, Ev::World(WorldEv::Split(one.clone(), other.clone())));
            at += rng.range(100, 5000);
            self.after(at, Ev::World(WorldEv::Rejoin));
            at += rng.range(100, 3000);
        }
    }
}
