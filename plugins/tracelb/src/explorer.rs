//! The multipath detection algorithm with node control.
//!
//! Nodes are taken nearest first. Through each go so many different flows that one more next hop
//! would have shown; where too few are known to reach it, fresh ones are made and looked up at its own TTL.
//! Behind a TTL at which there is one node alone, flows are presumed to go through it, and what is
//! found with such a flow is looked up afterwards.
//!
//! Source: Augustin, Friedman, Teixeira, 2007; Veitch et al., 2009.

use std::collections::BTreeSet;

use sonde_plugin_api::prelude::*;

use crate::{
    graph::{Balancing, Graph, NodeId, Seen, Stop, VANTAGE},
    params::{Algorithm, Scope, TracelbParams},
    prober::{Answer, Halt, Prober, WINDOW},
    report,
    rows::TracelbRow,
    stopping_points::StoppingPoints,
};

/// Flows that may all have been lost at the same hop, and tell whether there is an answer for the patient.
const FEW_FLOWS: usize = 2;

/// Packets of one flow beyond those that show two ways with the wanted confidence: what follows from taking packets for
/// flows is wrong, not just incomplete.
const SAFETY: usize = 4;

/// Flows that are lost for good, with seconds of waiting for each, before it is given up.
const MOST_LOST: f64 = 4.0;

/// What is known, and how more comes to be known.
pub(crate) struct Explorer {
    pub(crate) prober: Prober,
    pub(crate) graph: Graph,
    pub(crate) points: StoppingPoints,
    next_flow: u32,
    /// Flows whose silence at a TTL has been doubted, and that were asked again.
    doubted: BTreeSet<(u32, u8)>,
    /// How many of them losses make silent, by what is known of those.
    lost: f64,
    /// TTLs at which a diamond was found meshed or uneven.
    pub(crate) uneven: BTreeSet<u8>,
}

/// Explores, and reports whatever was found by the end.
pub(crate) async fn run(ctx: Ctx<TracelbRow>, params: TracelbParams) -> Result<(), Fail> {
    params.check()?;
    let points =
        StoppingPoints::new(params.confidence, params.scope == Scope::Graph, params.factor);
    let graph = Graph::new(params.first_hop());
    let begin = ctx.now();
    let prober = Prober::new(ctx.clone(), params);
    let mut explorer = Explorer {
        prober,
        graph,
        points,
        next_flow: 0,
        doubted: BTreeSet::new(),
        lost: 0.0,
        uneven: BTreeSet::new(),
    };
    let end = ctx.until_interrupted(explorer.explore()).await;
    explorer.forget_losses();
    let ended = match end {
        None => report::End::Interrupted,
        Some(Ok(())) => report::End::Explored,
        Some(Err(Halt::Budget)) => report::End::Budget,
        Some(Err(Halt::Loss)) => report::End::Loss,
        Some(Err(Halt::Failed(fail))) => {
            // What was found is kept: it cost packets.
            if explorer.prober.sent() > 0 {
                report::emit(&explorer, report::End::Failed, begin);
            }
            return Err(fail);
        }
    };
    report::emit(&explorer, ended, begin);
    Ok(())
}

impl Explorer {
    async fn explore(&mut self) -> Result<(), Halt> {
        loop {
            self.forget_losses();
            self.reopen();
            let Some((ttl, nodes)) = self.graph.nearest_open() else {
                if self.doubt_silence().await? {
                    continue;
                }
                return Ok(());
            };
            if ttl == u8::MAX {
                for node in nodes {
                    self.graph.nodes[node].stop = Some(Stop::MaxTtl);
                }
                continue;
            }
            let is_lite = self.prober.params.algorithm == Algorithm::MdaLite;
            if !is_lite || !self.explore_lightly(ttl, &nodes).await? {
                self.explore_node_by_node(ttl, &nodes).await?;
            }
        }
    }

    /// Asks patiently for flows that nobody answered. It is over where losses leave too many of them without an answer.
    async fn ask_again(&mut self, flows: &[(u32, u8)]) -> Vec<Result<Option<Answer>, Halt>> {
        let mut answers = self.prober.ask_again(flows).await;
        for ((_, ttl), answer) in flows.iter().zip(&mut answers) {
            if matches!(answer, Ok(None)) {
                self.lost += self.prober.path_loss(*ttl);
                if self.lost > MOST_LOST {
                    *answer = Err(Halt::Loss);
                }
            }
        }
        answers
    }

    /// Whether flows through a node that met nobody at the TTL behind it, beside others that met somebody, can all
    /// have been lost.
    fn are_lost(&self, node: NodeId, ttl: u8, flows: &[u32]) -> bool {
        let answered = self.graph.answered_behind(node, ttl);
        let again = flows.iter().all(|flow| self.doubted.contains(&(*flow, ttl + 1)));
        answered > 0 && self.prober.is_loss(ttl + 1, flows.len(), answered + flows.len(), again)
    }

    /// Takes back silent nodes that losses explain, unless something that answers has no other way to it.
    fn forget_losses(&mut self) {
        for (before, ttl, silent) in self.graph.silences() {
            let flows = self.graph.flows_through(silent, ttl);
            if self.are_lost(before, ttl - 1, &flows) && !self.graph.is_bridge(silent) {
                self.graph.forget_silence(before, ttl);
            }
        }
    }

    /// Opens nodes that were done with, where it has come up since that they ask for more flows: one that was traced for
    /// another reason showed one more next hop, or a diamond is not to be explored lightly.
    fn reopen(&mut self) {
        let is_lite = self.prober.params.algorithm == Algorithm::MdaLite;
        for id in std::iter::once(VANTAGE).chain(self.graph.roots()).collect::<Vec<_>>() {
            let node = &self.graph.nodes[id];
            let ttl = node.first_ttl;
            let is_done = node.is_expanded && matches!(node.stop, None | Some(Stop::Unreachable));
            let is_light = || is_lite && self.graph.is_wide(ttl) && !self.is_uneven(ttl);
            if is_done && !is_light() && self.missing(id, ttl).0 > 0 {
                self.graph.nodes[id].is_expanded = false;
            }
        }
    }

    /// Whether a TTL is part of a diamond that was found meshed or uneven.
    pub(crate) fn is_uneven(&self, ttl: u8) -> bool {
        self.graph.diamond(ttl).any(|hop| self.uneven.contains(&hop))
    }

    /// Asks again where few flows alone speak for a link behind a silent node beside nodes that answer, or none that
    /// has been asked again: they may be theirs, and have been lost or not been granted an answer. True where any was.
    async fn doubt_silence(&mut self) -> Result<bool, Halt> {
        let links = self.graph.links();
        let mut asked = Vec::new();
        for ((from, _), traffic) in links {
            let ttl = traffic.ttl - 1;
            let is_new = |flow: &u32| !self.doubted.contains(&(*flow, ttl));
            let is_doubtful = self.graph.nodes[from].is_silent()
                && (traffic.flows.len() <= FEW_FLOWS || traffic.flows.iter().all(is_new))
                && self.graph.nodes_at(ttl).len() > 1;
            let flows = traffic.flows.into_iter().map(|flow| (flow, ttl));
            asked.extend(flows.filter(|flow| is_doubtful && self.doubted.insert(*flow)));
        }
        for (before, ttl, silent) in self.graph.silences() {
            let flows = self.graph.flows_through(silent, ttl);
            let is_new = flows.iter().all(|flow| !self.doubted.contains(&(*flow, ttl)));
            if is_new && self.graph.answered_behind(before, ttl - 1) > 0 {
                asked.extend(flows.into_iter().map(|flow| (flow, ttl)));
            }
        }
        self.doubted.extend(asked.iter().copied());
        let answers = self.ask_again(&asked).await;
        let learned = self.learn_all(&asked, answers)?;
        for (flow, ttl) in asked.into_iter().zip(&learned).filter(|(_, it)| it.1).map(|it| it.0) {
            self.trace_back(flow, ttl).await?;
        }
        Ok(learned.iter().any(|(_, _, is_answered)| *is_answered))
    }

    /// Looks for everything behind these nodes at this TTL.
    pub(crate) async fn explore_node_by_node(
        &mut self,
        ttl: u8,
        nodes: &[NodeId],
    ) -> Result<(), Halt> {
        let mut open: Vec<NodeId> = nodes.to_vec();
        while !open.is_empty() {
            let only = self.graph.only(ttl);
            let (mut ask, mut fresh) = (Vec::new(), None);
            let mut finished = Vec::new();
            for &node in &open {
                let (missing, untried) = self.missing(node, ttl);
                if missing == 0 {
                    finished.push(node);
                    continue;
                }
                let known = untried.len().min(missing);
                ask.extend_from_slice(&untried[..known]);
                let lacking = missing - known;
                if lacking == 0 {
                    continue;
                }
                if only == Some(node) || node == VANTAGE {
                    ask.extend((0..lacking).map(|_| self.fresh_flow(ttl, node)));
                } else {
                    let few = self.flows_to_find(node, ttl, lacking);
                    fresh = Some(fresh.map_or(few, |fewest: usize| fewest.min(few)));
                }
            }
            if !ask.is_empty() {
                self.ask_behind(ttl, &ask).await?;
            } else if let Some(count) = fresh {
                self.find_flows(ttl, count, &mut open).await?;
            }
            for node in finished {
                if self.finish(node, ttl).await? {
                    self.graph.nodes[node].is_expanded = true;
                    open.retain(|other| *other != node);
                }
            }
        }
        Ok(())
    }

    /// Flows that are still to be sent on behind a node, and those of them that are known.
    pub(crate) fn missing(&mut self, node: NodeId, ttl: u8) -> (usize, Vec<u32>) {
        let through = self.graph.flows_through(node, ttl);
        let (tried, untried): (Vec<u32>, Vec<u32>) =
            through.into_iter().partition(|flow| self.graph.seen(ttl + 1, *flow).is_some());
        let mut hops: BTreeSet<NodeId> =
            tried.iter().filter_map(|flow| self.graph.at(ttl + 1, *flow)).collect();
        let later = self.graph.next_hops_later(node, ttl);
        let tried = tried.len() + later.values().map(Vec::len).sum::<usize>();
        hops.extend(later.into_keys());
        // The target may be next: one flow tells, and then there is nothing else to look for, but where ways of
        // different lengths come by.
        let target = !self.graph.nodes[node].is_cluster()
            && hops.iter().any(|hop| self.graph.nodes[*hop].stop == Some(Stop::Reached));
        let wanted = match hops.len() {
            0 if tried == 0 => 1,
            1 if target => 1,
            seen => self.points.after(seen),
        };
        (wanted.saturating_sub(tried), untried)
    }

    /// Flows used so far.
    pub(crate) fn flows(&self) -> u32 {
        self.next_flow
    }

    pub(crate) fn new_flow(&mut self) -> u32 {
        self.next_flow += 1;
        self.next_flow - 1
    }

    fn fresh_flow(&mut self, ttl: u8, node: NodeId) -> u32 {
        let flow = self.new_flow();
        self.graph.presume(ttl, flow, node);
        flow
    }

    /// How many fresh flows are likely to bring as many as are lacking to a node.
    fn flows_to_find(&self, node: NodeId, ttl: u8, lacking: usize) -> usize {
        let all = self.graph.flows(ttl).len().max(1);
        let hits = self.graph.flows_through(node, ttl).len().max(1);
        (lacking * all).div_ceil(hits).clamp(1, WINDOW)
    }

    /// Sends flows on to the TTL behind, and looks up those that found something new without
    /// having been seen before it.
    pub(crate) async fn ask_behind(&mut self, ttl: u8, flows: &[u32]) -> Result<(), Halt> {
        let asked: Vec<(u32, u8)> = flows.iter().map(|flow| (*flow, ttl + 1)).collect();
        let tries = self.prober.params.tries();
        let answers = self.prober.ask_all(&asked, tries).await;
        self.trace_new_back(asked, answers).await
    }

    /// Looks up those flows that met something new without having been seen before it.
    async fn trace_new_back(
        &mut self,
        asked: Vec<(u32, u8)>,
        answers: Vec<Result<Option<Answer>, Halt>>,
    ) -> Result<(), Halt> {
        let learned = self.learn_all(&asked, answers)?;
        let new = asked.into_iter().zip(learned).filter(|(_, (_, is_new, _))| *is_new);
        let new: Vec<(u32, u8)> = new
            .map(|(asked, _)| asked)
            .filter(|(flow, ttl)| !self.graph.is_certain(ttl - 1, *flow))
            .collect();
        self.ask_the_silent(&new).await?;
        for (flow, ttl) in new {
            self.trace_back(flow, ttl).await?;
        }
        Ok(())
    }

    /// Where flows meet something new behind silence, one that answers may share the hop with the silent node.
    async fn ask_the_silent(&mut self, new: &[(u32, u8)]) -> Result<(), Halt> {
        let mut asked = Vec::new();
        for &(flow, ttl) in new {
            let silent = (self.graph.first_hop()..ttl).rev();
            let silent = silent.take_while(|before| self.is_silent_alone(*before));
            asked.extend(silent.map(|before| (flow, before)));
        }
        let answers = self.prober.ask_all(&asked, 1).await;
        let learned = self.learn_all(&asked, answers)?;
        for ((flow, before), _) in asked.into_iter().zip(learned).filter(|(_, learned)| learned.1) {
            self.trace_back(flow, before).await?;
        }
        Ok(())
    }

    /// Notes all answers, those before and after the end of the budget; each flow, whether it met
    /// something new, and whether anybody.
    fn learn_all(
        &mut self,
        asked: &[(u32, u8)],
        answers: Vec<Result<Option<Answer>, Halt>>,
    ) -> Result<Vec<(u32, bool, bool)>, Halt> {
        let mut learned = Vec::with_capacity(asked.len());
        let mut halt = None;
        for (&(flow, ttl), answer) in asked.iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    let is_new = self.learn(ttl, flow, answer.as_ref());
                    learned.push((flow, is_new, answer.is_some()));
                }
                Err(reason) => halt = halt.or(Some(reason)),
            }
        }
        halt.map_or(Ok(learned), Err)
    }

    /// Notes an answer; true where it comes from a node that is new at this TTL.
    fn learn(&mut self, ttl: u8, flow: u32, answer: Option<&Answer>) -> bool {
        let is_new = self.graph.observe(ttl, flow, answer);
        let (Some(answer), Some(node)) = (answer, self.graph.at(ttl, flow)) else { return is_new };
        if answer.last {
            let is_target = answer.from == self.prober.params.destination;
            self.graph.is_reached |= is_target;
            self.graph.nodes[node].stop =
                Some(if is_target { Stop::Reached } else { Stop::Unreachable });
        }
        let is_cluster = self.graph.nodes[node].is_cluster();
        if !answer.last && !is_cluster && self.graph.has_been(flow, node, ttl) {
            self.graph.nodes[node].stop = Some(Stop::Loop);
        }
        is_new
    }

    /// Looks a flow up at the TTLs before, as far as what is met there is new.
    async fn trace_back(&mut self, flow: u32, ttl: u8) -> Result<(), Halt> {
        for before in (self.graph.first_hop()..ttl).rev() {
            if self.graph.is_certain(before, flow) {
                break;
            }
            if self.graph.seen(before, flow) == Some(Seen::Silence) {
                // Who is before it will answer.
                continue;
            }
            let answer = self.prober.ask(flow, before, self.prober.params.tries()).await?;
            if !self.learn(before, flow, answer.as_ref()) && answer.is_some() {
                break;
            }
        }
        self.name_silences(flow, ttl).await
    }

    fn is_silent_alone(&self, ttl: u8) -> bool {
        self.graph
            .only(ttl)
            .is_some_and(|node| node != VANTAGE && self.graph.nodes[node].is_silent())
    }

    /// Silence behind a node that is known to have a silent next hop is that hop. Where it has none, and somebody
    /// further on answered, the flow is asked again: a branch that no flow showed before, or no more than a few losses.
    async fn name_silences(&mut self, flow: u32, up_to: u8) -> Result<(), Halt> {
        for ttl in self.graph.first_hop()..=up_to {
            let Some(before) = self.graph.at(ttl - 1, flow) else { continue };
            let is_silence = match self.graph.seen(ttl, flow) {
                Some(Seen::Silence) => true,
                None => self.is_silent_alone(ttl),
                Some(Seen::Node { .. }) => false,
            };
            if !is_silence {
                continue;
            }
            if self.graph.silence_behind(before, ttl).is_none() {
                if ttl == up_to {
                    continue;
                }
                let answers = self.ask_again(&[(flow, ttl)]).await;
                if self.learn_all(&[(flow, ttl)], answers)?.iter().any(|learned| learned.2) {
                    continue;
                }
            }
            self.graph.name_silence(ttl, flow, before);
        }
        Ok(())
    }

    /// Looks flows up at a TTL.
    pub(crate) async fn place(&mut self, flows: &[(u32, u8)]) -> Result<(), Halt> {
        let answers = self.prober.ask_all(flows, self.prober.params.tries()).await;
        self.trace_new_back(flows.to_vec(), answers).await
    }

    /// Makes flows and looks where they come by, for those nodes that too few are known of.
    async fn find_flows(
        &mut self,
        ttl: u8,
        count: usize,
        open: &mut Vec<NodeId>,
    ) -> Result<(), Halt> {
        // Those that were sent on behind, when all seemed to go through one node, serve first.
        let mut flows = self.graph.unplaced(ttl);
        flows.truncate(count);
        while flows.len() < count {
            flows.push(self.new_flow());
        }
        let asked: Vec<(u32, u8)> = flows.into_iter().map(|flow| (flow, ttl)).collect();
        let answers = self.prober.ask_all(&asked, self.prober.params.tries()).await;
        let learned = self.learn_all(&asked, answers)?;
        let new = learned.iter().filter(|(_, is_new, is_answered)| *is_new || !is_answered);
        let new: Vec<(u32, u8)> = new.map(|(flow, ..)| (*flow, ttl)).collect();
        self.ask_the_silent(&new).await?;
        for (flow, is_new, is_answered) in learned {
            if is_new || !is_answered {
                self.trace_back(flow, ttl).await?;
            } else if let Some(before) = self.graph.only(ttl - 1) {
                // Where all go through one node before this one, so does this flow.
                self.graph.presume(ttl - 1, flow, before);
            }
            let hit = self.graph.at(ttl, flow);
            if let Some(node) = hit.filter(|_| is_new) {
                let is_open = !self.graph.nodes[node].is_expanded
                    && self.graph.nodes[node].stop.is_none()
                    && self.graph.nodes[node].first_ttl == ttl;
                if is_open && !open.contains(&node) {
                    open.push(node);
                }
            }
            self.count_misses(ttl, hit, open);
        }
        Ok(())
    }

    /// A node that too many fresh flows in a row did not reach is given up.
    fn count_misses(&mut self, ttl: u8, hit: Option<NodeId>, open: &mut Vec<NodeId>) {
        let width = self.graph.nodes_at(ttl).len();
        let most = self.points.after(width + 1);
        open.retain(|&node| {
            let missed = &mut self.graph.nodes[node];
            missed.misses = if hit == Some(node) { 0 } else { missed.misses + 1 };
            let is_given_up = missed.misses > most;
            if is_given_up {
                missed.is_expanded = true;
                missed.stop = missed.stop.or(Some(Stop::NoFlows));
            }
            !is_given_up
        });
    }

    /// Settles what the flows behind a node mean; false where that brought up something new.
    pub(crate) async fn finish(&mut self, node: NodeId, ttl: u8) -> Result<bool, Halt> {
        let before = self.graph.next_hops(node, ttl).len();
        self.settle_silence(node, ttl).await?;
        let hops = self.graph.next_hops(node, ttl);
        if hops.len() > before && !(before == 0 && hops.len() == 1) {
            return Ok(false);
        }
        let is_cluster = self.graph.nodes[node].is_cluster();
        let later = self.graph.next_hops_later(node, ttl);
        let hops: BTreeSet<NodeId> = hops.into_keys().chain(later.into_keys()).collect();
        self.graph.nodes[node].balancing = match hops.len() {
            0 => Balancing::Unknown,
            1 => Balancing::None,
            _ if is_cluster => self.settle_cluster(node, ttl),
            _ if self.graph.nodes[node].balancing == Balancing::Flow => Balancing::Flow,
            _ if self.is_per_packet(node, ttl).await? => self.settle_cluster(node, ttl),
            _ => Balancing::Flow,
        };
        Ok(true)
    }

    /// What is behind a node is one hop, which goes on where one of its members does.
    fn settle_cluster(&mut self, node: NodeId, ttl: u8) -> Balancing {
        let cluster = self.graph.bundle(node, ttl);
        let on = self.graph.flows_through(cluster, ttl + 1);
        let is_round = on.iter().any(|flow| self.graph.has_been(*flow, cluster, ttl + 1));
        let members = &self.graph.nodes[cluster].interfaces;
        let has_target = members.iter().any(|it| it.address == self.prober.params.destination);
        self.graph.nodes[cluster].stop = match (on.is_empty(), has_target) {
            (true, true) => Some(Stop::Reached),
            (true, false) => Some(Stop::Unreachable),
            (false, _) => is_round.then_some(Stop::Loop),
        };
        Balancing::Packet
    }

    /// Flows that met nobody behind a node: asked again where somebody answers at that TTL, and then a silent hop,
    /// unless there have been too many.
    async fn settle_silence(&mut self, node: NodeId, ttl: u8) -> Result<(), Halt> {
        let behind = ttl + 1;
        let hops = self.graph.nodes_at(behind);
        let is_answered = |hop: &NodeId| !self.graph.nodes[*hop].is_silent();
        // Behind silence that goes on there is nobody to be expected.
        let is_dead = !is_answered(&node) && self.graph.next_hops(node, ttl).is_empty();
        if !is_dead && hops.iter().any(is_answered) {
            self.ask_silent_flows_again(node, ttl).await?;
        }
        let limit = self.prober.params.gaplimit;
        let silent = self.silent_behind(node, ttl);
        if self.graph.silence_behind(node, behind).is_none() && self.are_lost(node, ttl, &silent) {
            return Ok(());
        }
        for flow in silent {
            self.graph.name_silence(behind, flow, node);
            if let Some(hop) = self.graph.silence_behind(node, behind)
                && limit != 0
                && self.graph.nodes[hop].gap >= limit
            {
                self.graph.nodes[hop].stop = Some(Stop::GapLimit);
            }
        }
        Ok(())
    }

    /// All flows that met nobody behind a node; where nobody is known there, some stand for all, until they meet
    /// somebody.
    async fn ask_silent_flows_again(&mut self, node: NodeId, ttl: u8) -> Result<(), Halt> {
        let is_known = |graph: &Graph| !graph.next_hops(node, ttl).is_empty();
        let mut some = if is_known(&self.graph) { usize::MAX } else { FEW_FLOWS };
        loop {
            let again = self.silent_behind(node, ttl).into_iter().map(|flow| (flow, ttl + 1));
            let again = again.filter(|flow| !self.doubted.contains(flow)).take(some);
            let again: Vec<(u32, u8)> = again.collect();
            self.doubted.extend(again.iter().copied());
            let answers = self.ask_again(&again).await;
            self.trace_new_back(again, answers).await?;
            if some == usize::MAX || !is_known(&self.graph) {
                return Ok(());
            }
            some = usize::MAX;
        }
    }

    /// Flows through a node that met nobody behind it.
    fn silent_behind(&self, node: NodeId, ttl: u8) -> Vec<u32> {
        let through = self.graph.flows_through(node, ttl).into_iter();
        through.filter(|flow| self.graph.seen(ttl + 1, *flow) == Some(Seen::Silence)).collect()
    }

    /// Whether packets of one flow come by different next hops of a node.
    async fn is_per_packet(&mut self, node: NodeId, ttl: u8) -> Result<bool, Halt> {
        let hops = self.graph.next_hops(node, ttl);
        let answering = hops.into_iter().find(|(hop, _)| !self.graph.nodes[*hop].is_silent());
        let Some((first, flows)) = answering else { return Ok(false) };
        let Some(&flow) = flows.first() else { return Ok(false) };
        let again = vec![(flow, ttl + 1); self.points.after(1) + SAFETY];
        let answers = self.prober.ask_all(&again, self.prober.params.tries()).await;
        let mut differs = false;
        for answer in answers {
            if let Some(answer) = answer? {
                let known = self.graph.next_hops(node, ttl);
                let met = self.graph.node_of(&answer, ttl + 1, Some(node));
                differs |= met != first;
                // One that was not met before belongs to the cluster all the same.
                if !known.contains_key(&met) {
                    let spare = self.new_flow();
                    self.graph.presume(ttl, spare, node);
                    self.graph.observe(ttl + 1, spare, Some(&answer));
                }
            }
        }
        Ok(differs)
    }
}
