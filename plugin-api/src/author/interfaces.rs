//! Names of the interfaces that packets come in by, as the host tells them.

use std::{cell::RefCell, rc::Rc};

/// By the numbers that events carry; shared by the tasks of a plugin.
#[derive(Clone, Default)]
pub(crate) struct Interfaces(Rc<RefCell<Vec<Option<Rc<str>>>>>);

impl Interfaces {
    /// From here on `number` means the interface of this name; 0 means none.
    pub(crate) fn put(&self, number: u8, name: &[u8]) {
        if number == 0 {
            return;
        }
        let mut names = self.0.borrow_mut();
        let place = usize::from(number);
        if names.len() <= place {
            names.resize(place + 1, None);
        }
        names[place] = Some(String::from_utf8_lossy(name).into());
    }

    /// Name of an interface.
    pub(super) fn get(&self, number: u8) -> Option<Rc<str>> {
        self.0.borrow().get(usize::from(number)).cloned().flatten()
    }
}
