//! Small numbers for the interfaces that packets come in by, as plugins are told them.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Most interfaces that get a number, which is an octet; packets of others come from nowhere.
const MOST: usize = u8::MAX as usize;

/// See the module. A number means one name for ever, whatever becomes of the device.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    names: Vec<Box<str>>,
    /// By the kernel's index.
    numbers: HashMap<u32, u8, RandomState>,
}

impl Interfaces {
    /// Takes in all devices that there are now, with their names.
    pub(crate) fn number_all<'a>(&mut self, devices: impl Iterator<Item = (u32, &'a str)>) {
        self.numbers.clear();
        for (index, name) in devices {
            let known = self.names.iter().position(|known| **known == *name);
            let place = known.unwrap_or(self.names.len());
            if place == MOST {
                continue;
            }
            if known.is_none() {
                self.names.push(name.into());
            }
            self.numbers.insert(index, place as u8 + 1);
        }
    }

    /// Of the device with this index; 0 where it has none.
    #[inline]
    pub(crate) fn number(&self, index: u32) -> u8 {
        self.numbers.get(&index).copied().unwrap_or(0)
    }

    /// By number, the first is 1.
    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_name_when_devices_come_go_and_are_renamed() {
        let mut interfaces = Interfaces::default();
        interfaces.number_all([(7, "eth0")].into_iter());
        interfaces.number_all([(7, "wan"), (9, "eth0")].into_iter());
        let name = |index| interfaces.names()[usize::from(interfaces.number(index)) - 1].clone();
        assert_eq!((name(7), name(9)), ("wan".into(), "eth0".into()));
        assert_eq!((interfaces.number(9), interfaces.number(8)), (1, 0));
    }

    #[test]
    fn more_interfaces_than_numbers_leave_some_without() {
        let mut interfaces = Interfaces::default();
        let names: Vec<String> = (0..300).map(|number| format!("eth{number}")).collect();
        interfaces.number_all((0..).zip(names.iter().map(String::as_str)));
        assert_eq!(interfaces.names().len(), 255);
        assert_eq!((0..300).filter(|index| interfaces.number(*index) == 0).count(), 45);
    }
}
