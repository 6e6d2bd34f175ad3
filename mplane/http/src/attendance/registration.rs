//! What a supervisor is told of capabilities: all of them from time to time, in between what has changed.

use super::*;

/// Capabilities in one request: a supervisor below others may have many thousands, and a message holds 100,000 keys.
pub(super) const TOGETHER: usize = 200;

impl<R: Registrant> Attendance<R> {
    /// Registers what the supervisor may use and does not know, and takes back what it knows and is gone.
    pub(super) async fn register(
        &self,
        change: u64,
        standing: &mut Standing,
    ) -> Result<(), ClientError> {
        let (supervisor, url) = (&self.supervisor.name, &self.supervisor.registration);
        let identity = self.client.identify(url).await?;
        let capabilities = self.registrant.capabilities(&identity);
        let tokens: HashSet<String> = capabilities.iter().map(Capability::token).collect();
        // Everything, if it was not for a while.
        let at = standing.registration.as_ref().filter(|it| !it.is_due()).map(|it| it.at);
        let gone = standing.known.iter().filter(|(token, _)| !tokens.contains(*token));
        // Offered again before it is taken back: an RI supervisor of the branch `sdk` ends over a withdrawal of what it
        // does not know, and it forgets, or was told in vain.
        let gone: Vec<Vec<Message>> =
            gone.map(|(_, old)| vec![old.clone().into(), old.withdrawal()]).collect();
        let withdrawn = gone.len();
        let is_new = |it: &&Capability| at.is_none() || standing.known.get(&it.token()) != Some(it);
        let mut new: Vec<Vec<Message>> =
            capabilities.iter().filter(is_new).map(|it| vec![it.clone().into()]).collect();
        if at.is_none() {
            new.extend(self.callback(&capabilities).map(|it| vec![it.into()]));
        }
        // From here on it may know them, even if we never hear of it.
        let all = capabilities.iter().map(|it| (it.token(), it.clone()));
        if tokens.iter().any(|token| !standing.known.contains_key(token)) {
            standing.known.extend(all.clone());
            let known = standing.known.values().cloned().collect();
            self.registrant.note_registered(supervisor, known);
        }
        match self.tell(gone, TOGETHER / 2).await {
            // One that knows nothing of them any more may refuse.
            Err(error) if is_final(&error, PATIENCE) => {
                tracing::warn!(supervisor = &**supervisor, %error, "not withdrawn");
            }
            other => drop(other?),
        }
        let is_told = withdrawn > 0 || !new.is_empty();
        // The callback comes last.
        for (label, outcome) in self.tell(new, TOGETHER).await? {
            match outcome {
                Outcome::Registered => drop(standing.refused.remove(&label)),
                Outcome::Refused { reason } => {
                    // It is told again and again, for the supervisor may learn.
                    if standing.refused.insert(label.clone()) {
                        let supervisor = &**supervisor;
                        tracing::warn!(
                            supervisor,
                            label,
                            reason,
                            "a capability was not registered"
                        );
                    }
                }
            }
        }
        if is_told {
            let (supervisor, count) = (&**supervisor, capabilities.len());
            tracing::info!(supervisor, count, withdrawn, "registered");
        }
        standing.known = all.collect();
        if withdrawn > 0 {
            self.registrant.note_registered(supervisor, capabilities.clone());
        }
        let labels = capabilities.iter().map(|it| it.head.label().to_owned());
        let labels = labels.filter(|label| !standing.refused.contains(label)).collect();
        let at = at.unwrap_or_else(Instant::now);
        standing.registration = Some(Registration { change, labels: Arc::new(labels), at });
        Ok(())
    }

    /// What becomes of each label. What the supervisor fails over together it is told in halves: an RI one refuses everything
    /// where it does not know an element of a single capability. What belongs together stays so.
    async fn tell(
        &self,
        together: Vec<Vec<Message>>,
        most: usize,
    ) -> Result<Vec<(String, Outcome)>, ClientError> {
        let octets = |messages: &Vec<Message>| messages.iter().map(|it| it.to_json().len()).sum();
        let mut left = portions(together, most, octets);
        left.reverse();
        let (mut outcomes, mut is_any_taken, mut failed) = (Vec::new(), false, None);
        while let Some(mut portion) = left.pop() {
            let labels = portion.iter().flatten().filter_map(Message::label).map(str::to_owned);
            let labels: Vec<String> = labels.collect();
            match self.client.register(&self.supervisor.registration, portion.concat()).await {
                Ok(said) => {
                    is_any_taken = true;
                    let said = |label: String| said.get(&label).cloned().map(|it| (label, it));
                    outcomes.extend(labels.into_iter().filter_map(said));
                }
                Err(error) if !is_final(&error, PATIENCE) => return Err(error),
                Err(error) if portion.len() == 1 => {
                    let refused = Outcome::Refused { reason: error.to_string() };
                    outcomes.extend(labels.into_iter().map(|label| (label, refused.clone())));
                    failed = Some(error);
                }
                Err(_) => {
                    let behind = portion.split_off(portion.len() / 2);
                    left.extend([behind, portion]);
                }
            }
        }
        match failed {
            Some(error) if !is_any_taken => Err(error),
            _ => Ok(outcomes),
        }
    }

    /// The capability by which a supervisor says when to poll next; the last one, as of the RI.
    fn callback(&self, capabilities: &[Capability]) -> Option<Capability> {
        let uri = capabilities.first().map_or("", |capability| capability.registry.as_str());
        let built = Capability::build(CALLBACK, "now ... future").registry(uri);
        built.finish(&self.registries.get()).ok()
    }
}

/// In their order, up to `most` together and no more octets than a message may have in keys alone.
fn portions<T>(all: Vec<T>, most: usize, octets_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    const MOST_OCTETS: usize = 1 << 20;
    let (mut portions, mut octets) = (Vec::<Vec<T>>::new(), 0);
    for one in all {
        let own = octets_of(&one);
        octets += own;
        match portions.last_mut() {
            Some(last) if last.len() < most && octets <= MOST_OCTETS => last.push(one),
            _ => {
                octets = own;
                portions.push(vec![one]);
            }
        }
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_bounded_in_number_and_octets() {
        let many = portions(vec![1; 500], 200, |_| 1);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [200, 200, 100]);
        let long = portions(vec![600_000, 400_000, 400_000, 9_000_000, 1], 200, |octets| *octets);
        assert_eq!(long, [vec![600_000, 400_000], vec![400_000], vec![9_000_000], vec![1]]);
        assert!(portions(Vec::<u8>::new(), 200, |_| 1).is_empty());
    }
}
