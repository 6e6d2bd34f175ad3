//! The path MTU: found from what routers say, and where they say nothing or nonsense by searching.
//!
//! Probes have the largest TTL and the flow of the trace. A router behind which large packets vanish
//! without a word (a black hole) is found by the largest TTL at which one still expires.
//!
//! Source: Luckie, Cho, Owens, "Inferring and debugging path MTU discovery failures", 2005; RFC 1191,
//! RFC 8201.

use sonde_plugin_api::prelude::*;

use crate::{
    reading::Meaning,
    rows::{Finding, PmtuRow},
    session::{Answer, LARGEST_TTL, Session, What},
    size_search::{SizeSearch, Step},
};

/// Findings before it is given up: a path that changes all the time, or a liar.
const MOST_FINDINGS: u32 = 32;

/// What became of a probe of some size.
enum Fate {
    /// It got to its end.
    Passed(IpAddr),
    /// It expired on its way, as it should where its TTL was small.
    Expired(IpAddr),
    /// A router says that it is too big.
    TooBig { addr: IpAddr, ttl: Option<u8>, suggested: u32 },
    /// Nothing was heard.
    Silence,
    /// There are no packets left to ask with.
    NoBudget,
}

impl Session {
    /// Finds the path MTU behind a trace that has reached its end.
    ///
    /// # Errors
    ///
    /// Where probes do not leave.
    pub(crate) async fn find_pmtu(&mut self) -> Result<(), Fail> {
        self.begin_phase();
        let mut size = self.flow.mtu.min(65_535);
        self.finding(Finding::Interface, size, (Some(size), None, None));
        // Distance up to which packets of the size at hand are known to pass.
        let mut near = 0;
        for _ in 0..MOST_FINDINGS {
            match self.ask(LARGEST_TTL, size).await? {
                Fate::Passed(addr) | Fate::Expired(addr) => {
                    self.pmtu = Some(size);
                    self.finding(
                        Finding::Path,
                        size,
                        (Some(size), Some(self.path.hops), Some(addr)),
                    );
                    return Ok(());
                }
                Fate::TooBig { addr, ttl, suggested } if self.is_sensible(suggested, size) => {
                    near = ttl.unwrap_or(near);
                    let found = (Some(suggested), ttl, Some(addr));
                    self.finding_with(Finding::TooBig, size, found, Some(suggested));
                    size = suggested;
                }
                Fate::TooBig { addr, ttl, suggested } => {
                    let found = self.search_suggestion(size, addr).await?;
                    let named = Some(suggested);
                    self.finding_with(
                        Finding::BadSuggestion,
                        size,
                        (found, ttl, Some(addr)),
                        named,
                    );
                    let Some(found) = found else { break };
                    near = ttl.unwrap_or(near);
                    size = found;
                }
                Fate::Silence => {
                    let Some(found) = self.search_silence(size).await? else {
                        self.finding(Finding::Silence, size, (None, None, None));
                        break;
                    };
                    let (ttl, addr) = self.search_place(found, near).await?;
                    self.finding(Finding::Silence, size, (Some(found), ttl, addr));
                    near = ttl.unwrap_or(near);
                    size = found;
                }
                Fate::NoBudget => break,
            }
        }
        self.finding(Finding::Unknown, size, (None, None, None));
        Ok(())
    }

    fn finding(&self, kind: Finding, size: u32, found: (Option<u32>, Option<u8>, Option<IpAddr>)) {
        self.finding_with(kind, size, found, None);
    }

    fn finding_with(
        &self,
        kind: Finding,
        size: u32,
        (pmtu, ttl, addr): (Option<u32>, Option<u8>, Option<IpAddr>),
        suggested: Option<u32>,
    ) {
        self.ctx.emit(PmtuRow { pmtu, ttl, addr, kind, size, suggested });
    }

    /// What every link of the family must take (RFC 791, RFC 8200).
    fn least(&self) -> u32 {
        if self.plan.is_v4() { 68 } else { 1280 }
    }

    /// A router may only name less than what it refuses, and no less than every link takes.
    fn is_sensible(&self, suggested: u32, size: u32) -> bool {
        (self.least()..size).contains(&suggested)
    }

    /// What the router at `addr` really takes, when it names no size or an impossible one. What
    /// vanishes behind it has passed it.
    async fn search_suggestion(&mut self, size: u32, addr: IpAddr) -> Result<Option<u32>, Fail> {
        let mut search = SizeSearch::below(size, self.least());
        loop {
            let size = match search.step() {
                Step::Try(size) => size,
                Step::Found(found) => return Ok(Some(found)),
                Step::Hopeless => return Ok(None),
            };
            match self.ask(LARGEST_TTL, size).await? {
                Fate::TooBig { addr: by, .. } if by == addr => search.failed(size),
                Fate::NoBudget => return Ok(None),
                _ => search.passed(size),
            }
        }
    }

    /// The largest size that is answered, when a larger one was not. A router that finds it too big is behind the
    /// hole: one in front would have said so of the larger one.
    async fn search_silence(&mut self, size: u32) -> Result<Option<u32>, Fail> {
        let mut search = SizeSearch::below(size, self.least());
        loop {
            let size = match search.step() {
                Step::Try(size) => size,
                Step::Found(found) => return Ok(Some(found)),
                Step::Hopeless => return Ok(None),
            };
            match self.ask(LARGEST_TTL, size).await? {
                Fate::Silence => search.failed(size),
                Fate::NoBudget => return Ok(None),
                Fate::Passed(_) | Fate::Expired(_) | Fate::TooBig { .. } => search.passed(size),
            }
        }
    }

    /// The last router that packets larger than `found` get to, behind `near`.
    async fn search_place(
        &mut self,
        found: u32,
        near: u8,
    ) -> Result<(Option<u8>, Option<IpAddr>), Fail> {
        let (mut lower, mut upper) = (near, self.path.hops);
        let mut last = self.address_at(near);
        loop {
            // Hops that never answer would look like the hole.
            let mut between = (lower + 1..upper).filter(|ttl| self.address_at(*ttl).is_some());
            let count = between.clone().count();
            let Some(ttl) = between.nth(count / 2) else { break };
            match self.ask(ttl, found + 1).await? {
                Fate::Expired(addr) => (lower, last) = (ttl, Some(addr)),
                Fate::TooBig { addr, .. } => (lower, last) = (ttl, Some(addr)),
                Fate::Silence => upper = ttl,
                Fate::Passed(_) => break,
                Fate::NoBudget => return Ok((None, None)),
            }
        }
        // Nothing at all: the hole is the way to the first hop.
        Ok((Some(lower), last))
    }

    fn address_at(&self, ttl: u8) -> Option<IpAddr> {
        self.path.known.iter().find(|known| known.ttl == ttl).map(|known| known.addr)
    }

    /// Sends a packet of a size until it is answered, as many times as a silent hop gets.
    async fn ask(&mut self, ttl: u8, size: u32) -> Result<Fate, Fail> {
        let mut tried = 0;
        while tried < self.plan.attempts {
            let name = self.send_in_turn(ttl, tried + 1, size).await;
            while let Some(news) = self.hear(None).await? {
                match news.what {
                    // A hop's, late. What is of a round before is told already.
                    What::Answer(answer) if !news.is_current => {
                        if news.is_of_round {
                            self.emit(answer.row);
                        }
                        continue;
                    }
                    // Answers to other sizes come too late to tell anything of this one.
                    _ if news.name != name => continue,
                    What::Answer(answer) => return Ok(self.fate(&answer)),
                    What::TimeOut(_) => tried += 1,
                    What::Unsent => {}
                    What::NoBudget => return Ok(Fate::NoBudget),
                }
                break;
            }
        }
        Ok(Fate::Silence)
    }

    fn fate(&self, answer: &Answer) -> Fate {
        let addr = answer.sight.addr;
        if let Some(suggested) = answer.row.next_mtu {
            let known = self.path.known.iter().find(|known| known.addr == addr);
            // Of a packet that left with the largest TTL the quote tells how far it got.
            let travelled = answer.row.quoted_ttl.map(|ttl| LARGEST_TTL - ttl);
            let by_quote = travelled.filter(|hops| *hops < self.path.hops).map(|hops| hops + 1);
            let ttl = known.map(|known| known.ttl).or(by_quote);
            return Fate::TooBig { addr, ttl, suggested };
        }
        match answer.sight.meaning {
            Meaning::Hop if !answer.is_of_the_end(self.plan.destination) => Fate::Expired(addr),
            _ => Fate::Passed(addr),
        }
    }
}
