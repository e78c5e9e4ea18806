//! A set of numbers kept as runs.
//!
//! Neighbours share one entry, so a set of a million numbers in a row is one entry, and the end of
//! the run a number is in is one look-up away. No two runs touch.

use alloc::collections::BTreeMap;

/// The first number of each run leads to its last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(BTreeMap<u128, u128>);

impl Runs {
    /// The last number of the run that `number` is in.
    pub(crate) fn end_of_run(&self, number: u128) -> Option<u128> {
        self.run(number).map(|(_, last)| last)
    }

    /// Adds a number; does nothing if it is there.
    pub(crate) fn insert(&mut self, number: u128) {
        let before = self.0.range(..=number).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| number <= last) {
            return;
        }
        let joined = before.filter(|&(_, last)| last.checked_add(1) == Some(number));
        let first = joined.map_or(number, |(first, _)| first);
        let after = number.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, after.unwrap_or(number));
    }

    /// Takes a number away; does nothing if it is not there.
    pub(crate) fn remove(&mut self, number: u128) {
        let Some((first, last)) = self.run(number) else {
            return;
        };
        if first < number {
            self.0.insert(first, number - 1);
        } else {
            self.0.remove(&first);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn run(&self, number: u128) -> Option<(u128, u128)> {
        let (&first, &last) = self.0.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_hold_what_a_set_holds(
            edits in prop::collection::vec((any::<bool>(), 0u128..24, any::<bool>()), 0..200)
        ) {
            let mut runs = Runs::default();
            let mut model = BTreeSet::new();
            for (add, number, high) in edits {
                let number = if high { u128::MAX - number } else { number };
                if add {
                    runs.insert(number);
                    model.insert(number);
                } else {
                    runs.remove(number);
                    model.remove(&number);
                }
                let edges = (0..26).chain(u128::MAX - 26..=u128::MAX);
                for number in edges {
                    prop_assert_eq!(runs.end_of_run(number), end_of_run(&model, number));
                }
                prop_assert_eq!(runs.len(), run_count(&model));
            }
        }
    }

    fn end_of_run(model: &BTreeSet<u128>, number: u128) -> Option<u128> {
        let run: Vec<_> = (number..=u128::MAX).take_while(|next| model.contains(next)).collect();
        run.last().copied()
    }

    fn run_count(model: &BTreeSet<u128>) -> usize {
        let ends = |number: &&u128| number.checked_add(1).is_none_or(|n| !model.contains(&n));
        model.iter().filter(ends).count()
    }
}
