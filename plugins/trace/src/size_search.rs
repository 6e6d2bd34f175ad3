//! Which packet size to try next between one that passes and one that does not.
//!
//! MTUs are not evenly spread: links have the few that their technology gives them. So usual sizes
//! are tried first, and bisection only where none is left between the two.
//!
//! Source: Luckie, Cho, Owens, "Inferring and debugging path MTU discovery failures", 2005, section 3.

/// Usual MTUs.
const USUAL: [u32; 26] = [
    68, 296, 508, 512, 544, 552, 576, 1006, 1280, 1454, 1480, 1492, 1500, 1514, 1536, 2002, 2048,
    4352, 4464, 4470, 8166, 9000, 9192, 16_110, 17_914, 65_535,
];

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SizeSearch {
    /// The largest size that passed; 0 where none has yet.
    lower: u32,
    /// The smallest size that did not.
    upper: u32,
    /// Every link takes it.
    least: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Try this size.
    Try(u32),
    /// This size passes, one more octet does not.
    Found(u32),
    /// Not even the least size passes.
    Hopeless,
}

impl SizeSearch {
    /// After a packet of `size` octets did not pass.
    pub(crate) fn below(size: u32, least: u32) -> Self {
        Self { lower: 0, upper: size, least }
    }

    /// A packet of this size passed.
    pub(crate) fn passed(&mut self, size: u32) {
        self.lower = self.lower.max(size);
    }

    /// A packet of this size did not.
    pub(crate) fn failed(&mut self, size: u32) {
        self.upper = self.upper.min(size);
    }

    /// What comes next.
    pub(crate) fn step(&self) -> Step {
        let Self { lower, upper, least } = *self;
        if upper <= least {
            return Step::Hopeless;
        }
        if lower == 0 {
            return Step::Try(first_guess(upper).max(least));
        }
        if upper <= lower + 1 {
            return Step::Found(lower);
        }
        let next = USUAL.iter().copied().find(|size| *size > lower);
        let is_usual = USUAL.contains(&lower);
        // Nothing usual lies between: is it the lower one itself?
        if lower == 1500 || is_usual && next.is_none_or(|next| upper <= next) {
            return Step::Try(lower + 1);
        }
        if let Some(next) = next.filter(|next| *next < upper) {
            return Step::Try(next);
        }
        let before = USUAL.iter().copied().rev().find(|size| *size < upper && *size > lower);
        match before.filter(|_| USUAL.contains(&upper)) {
            Some(before) => Step::Try(before),
            None => Step::Try(lower.midpoint(upper)),
        }
    }
}

fn first_guess(unanswered: u32) -> u32 {
    match unanswered {
        1501.. => 1500,
        1455.. => 1454,
        _ => USUAL.iter().copied().rev().find(|size| *size < unanswered).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sizes that are tried until the MTU is found.
    fn tried(mtu: u32, first: u32, least: u32) -> (Step, Vec<u32>) {
        let mut search = SizeSearch::below(first, least);
        let mut tried = Vec::new();
        loop {
            match search.step() {
                Step::Try(size) => {
                    tried.push(size);
                    if size <= mtu {
                        search.passed(size);
                    } else {
                        search.failed(size);
                    }
                }
                end => return (end, tried),
            }
            assert!(tried.len() < 200, "{tried:?}");
        }
    }

    #[test]
    fn a_usual_mtu_takes_few_probes() {
        assert_eq!(tried(1492, 1500, 68), (Step::Found(1492), vec![1454, 1480, 1492, 1493]));
        assert_eq!(tried(1280, 1500, 68).1, [1454, 1280, 1281]);
        assert_eq!(tried(1500, 9000, 68).1, [1500, 1501]);
    }

    #[test]
    fn where_nothing_passes_it_gives_up() {
        assert_eq!(tried(60, 1500, 68).0, Step::Hopeless);
        assert_eq!(tried(1279, 1500, 1280).0, Step::Hopeless);
    }

    proptest! {
        #[test]
        fn every_mtu_is_found(mtu in 68u32..65_535, more in 1u32..10_000) {
            let (found, tried) = tried(mtu, (mtu + more).min(65_535), 68);
            prop_assert_eq!(found, Step::Found(mtu));
            prop_assert!(tried.len() <= 32, "{:?}", tried);
        }
    }
}
