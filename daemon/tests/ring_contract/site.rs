//! Where a ring's members run in the tests.

use crate::member::Member;

/// A place with room for three members, 1 to 3.
pub(crate) trait Site {
    /// Starts a member's process.
    fn start(&self, node: u32) -> Member;

    /// Makes a member's host silent: it is there, but does not answer.
    fn freeze(&self, member: &Member);

    /// Lets it go on.
    fn thaw(&self, member: &Member);

    /// All three, once each has delivered the view of all.
    fn start_all(&self) -> Vec<Member> {
        let members: Vec<Member> = (1..=3).map(|node| self.start(node)).collect();
        for member in &members {
            member.wait_view(&[1, 2, 3], 0);
        }
        members
    }
}
