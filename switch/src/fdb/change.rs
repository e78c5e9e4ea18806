//! Changes of the table: who is taken in, who moves, who gives way.
//!
//! This is the seldom part of the FDB: new stations, moves, and a table that is full. Everything
//! here follows one order. First take a place in the counts; then exchange one word; then, if the
//! exchange was lost, give the place back, and if it was won, give back what the old word held.

use core::sync::atomic::Ordering;

use super::{Fdb, Learn};
use crate::port::PortId;
use crate::table::{Run, Slot, Word, key_of};
use crate::tally::Take;

/// After how many seconds of silence an entry no longer stands against a claim by another port.
/// Long enough that a station which talks keeps its entry, short enough that one which moved to a
/// port at its share is flooded to again before people notice.
const QUIET_S: u32 = 10;
/// How often a `learn` starts over when other threads change its slots.
const ATTEMPTS: usize = 4;

impl Fdb {
    #[cold]
    pub(super) fn learn_change(&self, run: Run, key: u64, ingress: PortId, now_s: u32) -> Learn {
        for _ in 0..ATTEMPTS {
            let learned = match self.table.find(run, key) {
                Some((slot, word)) => self.rehome(slot, word, key, ingress, now_s),
                None => self.admit(run, key, ingress, now_s),
            };
            if let Some(learned) = learned {
                return learned;
            }
        }
        Learn::Busy
    }

    /// Moves a station that is known elsewhere. `None`: the slot changed, look again.
    fn rehome(
        &self,
        slot: Slot,
        old: Word,
        key: u64,
        ingress: PortId,
        now_s: u32,
    ) -> Option<Learn> {
        if old.port == ingress {
            self.table.touch(slot, now_s);
            return Some(Learn::Known);
        }
        if old.is_static() {
            return Some(Learn::Held { by: old.port });
        }
        match self.tally.take(ingress, self.share) {
            Take::Taken => {}
            refused @ (Take::AtLimit | Take::NoRoom) => {
                // A port may not pull in the stations of others beyond its share. But if the
                // station has not been heard where it was, it is better unknown than wrong.
                if self.is_quiet(slot, now_s) {
                    self.remove(slot, old);
                }
                return Some(refusal(refused));
            }
        }
        if self.table.put(slot, Some(old), Word::learned(key, ingress), now_s) {
            self.tally.give_back(old.port);
            return Some(Learn::Moved { from: old.port });
        }
        self.tally.give_back(ingress);
        None
    }

    /// Takes in a station that is not known. `None`: something changed, look again.
    fn admit(&self, run: Run, key: u64, ingress: PortId, now_s: u32) -> Option<Learn> {
        let new = Word::learned(key, ingress);
        let taken = self.tally.take(ingress, self.share);
        let counted = taken == Take::Taken;
        if counted
            && let Some(slot) = self.table.vacancy(run)
            && self.reserve()
        {
            if self.table.put(slot, None, new, now_s) {
                return self
                    .unify(run, key)
                    .is_none_or(|kept| kept == ingress)
                    .then_some(Learn::New);
            }
            self.release();
            self.tally.give_back(ingress);
            return None;
        }
        let Some((slot, old)) = self.weakest(run, ingress, counted, now_s) else {
            if counted {
                self.tally.give_back(ingress);
            }
            return Some(refusal(taken));
        };
        let replaced = self.table.put(slot, Some(old), new, now_s);
        if counted {
            self.tally.give_back(if replaced { old.port } else { ingress });
        }
        if !replaced {
            return None;
        }
        let kept = self.unify(run, key);
        kept.is_none_or(|kept| kept == ingress).then_some(Learn::Replaced { loser: old.port })
    }

    /// Finds the entry unheard for longest among those that must give way to `ingress`.
    ///
    /// Its own always may. Another port's may if `ingress` is within its share and that port will
    /// still hold no less than `ingress` after the exchange; once its entry has gone quiet, it is
    /// enough that it held more before.
    fn weakest(
        &self,
        run: Run,
        ingress: PortId,
        within_share: bool,
        now_s: u32,
    ) -> Option<(Slot, Word)> {
        // Within its share, what the port holds includes the place it has taken for this entry.
        let holds = if within_share { self.tally.of(ingress) } else { 0 };
        run.slots()
            .filter_map(|slot| Some((slot, self.table.read(slot)?)))
            .filter(|(_, word)| !word.is_static())
            .filter(|(slot, word)| {
                if word.port == ingress {
                    return true;
                }
                within_share && {
                    let theirs = self.tally.of(word.port);
                    theirs > holds || (theirs == holds && self.is_quiet(*slot, now_s))
                }
            })
            .min_by_key(|(slot, _)| self.table.heard(*slot))
    }

    /// Removes all entries of `key` but one, and gives the port of that one.
    ///
    /// A static entry stays before a learned one, then the first in the run. Every thread that
    /// adds an entry does this afterwards, and the last to add sees them all.
    pub(super) fn unify(&self, run: Run, key: u64) -> Option<PortId> {
        loop {
            let mut entries = run
                .slots()
                .filter_map(|slot| Some((slot, self.table.read(slot)?)))
                .filter(|(_, word)| key_of(word.address()) == key);
            let (mut slot, mut kept) = entries.next()?;
            let mut settled = true;
            for (other_slot, other) in entries {
                if other.is_static() && !kept.is_static() {
                    settled &= self.remove(slot, kept);
                    (slot, kept) = (other_slot, other);
                } else {
                    settled &= self.remove(other_slot, other);
                }
            }
            if settled {
                return Some(kept.port);
            }
        }
    }

    /// Removes the learned entry unheard for longest, in the run if that is full, else anywhere.
    pub(super) fn make_room(&self, run: Run) -> bool {
        let oldest = |slots: &mut dyn Iterator<Item = Slot>| {
            slots
                .filter_map(|slot| Some((slot, self.table.read(slot)?)))
                .filter(|(_, word)| !word.is_static())
                .min_by_key(|(slot, _)| self.table.heard(*slot))
        };
        let victim = match self.table.vacancy(run) {
            None => oldest(&mut run.slots()),
            Some(_) => oldest(&mut self.table.stretch(0, self.table.slots())),
        };
        let Some((slot, word)) = victim else {
            return false;
        };
        // Gone already is as good as removed.
        self.remove(slot, word);
        true
    }

    /// Removes an entry if it is still there, and only then takes it out of the counts.
    pub(super) fn remove(&self, slot: Slot, word: Word) -> bool {
        let removed = self.table.clear(slot, word);
        if removed {
            self.release();
            self.uncount_learned(word);
        }
        removed
    }

    pub(super) fn uncount_learned(&self, word: Word) {
        if !word.is_static() {
            self.tally.give_back(word.port);
        }
    }

    fn is_quiet(&self, slot: Slot, now_s: u32) -> bool {
        now_s.saturating_sub(self.table.heard(slot)) >= QUIET_S
    }

    pub(super) fn reserve(&self) -> bool {
        self.entries
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |entries| {
                (entries < self.capacity).then_some(entries + 1)
            })
            .is_ok()
    }

    pub(super) fn release(&self) {
        self.entries.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn refusal(taken: Take) -> Learn {
    match taken {
        Take::AtLimit => Learn::ShareFull,
        Take::Taken | Take::NoRoom => Learn::TableFull,
    }
}
