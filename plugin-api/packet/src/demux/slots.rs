//! Where probes are kept: slots that are used again, and given back where many are free.

use super::{Demux, Expected, MAX_SEARCHED, NONE, ProbeId, Slot, State};

impl Demux {
    pub(super) fn take_slot(&mut self) -> u32 {
        self.slots_in_use += 1;
        if self.free_slot != NONE {
            let slot = self.free_slot;
            self.free_slot = self.slots[slot as usize].next;
            return slot;
        }
        self.slots.push(Slot {
            expected: Expected::default(),
            sent_at: 0,
            generation: self.fresh,
            flow: NONE,
            token: 0,
            next: NONE,
            uncertainty: 0,
            stamp: 0,
            state: State::Free,
        });
        self.slots.len() as u32 - 1
    }

    pub(super) fn free(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.state = State::Free;
        // 31 bits, so that a name fits in a tag with a bit to spare.
        entry.generation = entry.generation.wrapping_add(1) & 0x7fff_ffff;
        entry.next = self.free_slot;
        self.free_slot = slot;
        self.slots_in_use -= 1;
        self.slots_freed += 1;
        let slots = self.slots.len();
        let is_worth_it = self.slots_freed >= slots && self.slots_in_use < slots / 4;
        if slots > MAX_SEARCHED && (is_worth_it || self.slots_in_use == 0) {
            self.give_slots_back();
        }
    }

    /// Free slots at the end go.
    #[cold]
    fn give_slots_back(&mut self) {
        while let Some(slot) = self.slots.pop_if(|slot| slot.state == State::Free) {
            self.fresh = self.fresh.max(slot.generation);
        }
        (self.slots_freed, self.free_slot) = (0, NONE);
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if slot.state == State::Free {
                slot.next = self.free_slot;
                self.free_slot = number as u32;
            }
        }
    }

    pub(super) fn id(&self, slot: u32) -> ProbeId {
        ProbeId { slot, generation: self.slots[slot as usize].generation }
    }

    pub(super) fn slot(&self, probe: ProbeId) -> Option<&Slot> {
        let slot = self.slots.get(probe.slot as usize)?;
        (slot.generation == probe.generation && slot.state != State::Free).then_some(slot)
    }

    pub(super) fn slot_mut(&mut self, probe: ProbeId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(probe.slot as usize)?;
        (slot.generation == probe.generation && slot.state != State::Free).then_some(slot)
    }
}
