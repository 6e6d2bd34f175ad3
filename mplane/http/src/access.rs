//! Who may use which capability: roles of identities, roles of capabilities, and nothing else.
//!
//! Denied is what is not allowed. In our form an authorization names a label exactly or by a glob; in
//! the seed's INI form its key need only occur in the label, the last such key of the file counts, and
//! roles keep their blanks.
//!
//! Source: the RI's `[Roles]` and `[Authorizations]`.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::identity::Identity;

/// How an entry names labels or identities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pattern {
    /// With `*` for any text and `?` for one character; without them exactly.
    Glob(String),
    /// Anywhere within, as in the seed's INI form.
    Substring(String),
}

/// Who may use what.
#[derive(Clone, Debug, Default)]
pub struct Access {
    open: bool,
    /// Rights are said, and do not count.
    void: bool,
    seed: bool,
    roles: HashMap<Identity, HashSet<String>>,
    authorizations: Vec<(Pattern, HashSet<String>)>,
    components: Vec<Pattern>,
}

impl Pattern {
    /// Whether it means this text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Substring(part) => text.contains(part.as_str()),
            Self::Glob(glob) if !glob.contains(['*', '?']) => text == glob,
            Self::Glob(glob) => {
                let glob: Vec<char> = glob.chars().collect();
                let text: Vec<char> = text.chars().collect();
                matches_glob(&glob, &text)
            }
        }
    }
}

/// Linear in time for each star: a mismatch goes back to the last star only.
fn matches_glob(glob: &[char], text: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(character) if *character == '?' || *character == text[place] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_at, star_place)) = star else { return false };
                star = Some((star_at, star_place + 1));
                at = star_at + 1;
                place = star_place + 1;
            }
        }
    }
    glob[at..].iter().all(|character| *character == '*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glob(text) | Self::Substring(text) => f.write_str(text),
        }
    }
}

impl Access {
    /// Everything is allowed to everybody: where there is no TLS.
    #[must_use]
    pub fn open() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// As [`Access::open`], although rights are said: without TLS nobody can be told from anybody.
    #[must_use]
    pub fn void() -> Self {
        Self { void: true, ..Self::open() }
    }

    /// Nothing is allowed until it is granted.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// The seed's INI form, entries in the order of the file. Every certificate may register.
    #[must_use]
    pub fn seed<'a>(
        roles: impl IntoIterator<Item = (&'a str, &'a str)>,
        authorizations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let split = |list: &str| list.split(',').map(str::to_owned).collect::<HashSet<_>>();
        Self {
            seed: true,
            roles: roles.into_iter().map(|(who, list)| (Identity::new(who), split(list))).collect(),
            authorizations: authorizations
                .into_iter()
                .map(|(part, list)| (Pattern::Substring(part.to_owned()), split(list)))
                .collect(),
            components: vec![Pattern::Glob("*".to_owned())],
            open: false,
            void: false,
        }
    }

    /// Gives roles to an identity.
    #[must_use]
    pub fn role(mut self, identity: &str, roles: &[&str]) -> Self {
        let entry = self.roles.entry(Identity::new(identity)).or_default();
        entry.extend(roles.iter().map(|&role| role.to_owned()));
        self
    }

    /// Lets roles use the capabilities whose label an exact text or a glob names.
    #[must_use]
    pub fn authorize(mut self, label: &str, roles: &[&str]) -> Self {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        self.authorizations.push((Pattern::Glob(label.to_owned()), roles));
        self
    }

    /// Lets the identities that an exact text or a glob names register capabilities.
    #[must_use]
    pub fn component(mut self, identity: &str) -> Self {
        self.components.push(Pattern::Glob(identity.to_owned()));
        self
    }

    /// Whether an identity may use the capability with this label. Where a supervisor names the host behind
    /// an `@`, because several offer the same, what is before it counts.
    #[must_use]
    pub fn allows(&self, identity: &Identity, label: &str) -> bool {
        if self.open {
            return true;
        }
        let label = label.split('@').next().unwrap_or_default();
        let Some(own) = self.roles.get(identity) else { return false };
        let mut entries = self.authorizations.iter().filter(|(pattern, _)| pattern.matches(label));
        if self.seed {
            return entries.next_back().is_some_and(|(_, roles)| !roles.is_disjoint(own));
        }
        entries.any(|(_, roles)| !roles.is_disjoint(own))
    }

    /// Whether an identity may register capabilities, fetch specifications and deliver results.
    #[must_use]
    pub fn allows_component(&self, identity: &Identity) -> bool {
        self.open || self.components.iter().any(|pattern| pattern.matches(identity.as_str()))
    }

    /// What an operator probably did not mean, for `sonde check` and the start.
    #[must_use]
    pub fn warnings(&self, labels: &[&str]) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.void {
            warnings.push(
                "roles and authorizations do not count without tls: everybody may do everything"
                    .to_owned(),
            );
        }
        let blank = |roles: &HashSet<String>| {
            let mut odd: Vec<_> =
                roles.iter().filter(|role| role.trim() != *role).cloned().collect();
            odd.sort();
            odd
        };
        let mut lists: Vec<(String, Vec<String>)> = self
            .roles
            .iter()
            .map(|(identity, roles)| (identity.to_string(), blank(roles)))
            .chain(
                self.authorizations.iter().map(|(label, roles)| (label.to_string(), blank(roles))),
            )
            .collect();
        lists.sort();
        for (entry, odd) in lists {
            for role in odd {
                warnings.push(format!("{entry}: role {role:?} begins or ends with a blank"));
            }
        }
        for (pattern, _) in &self.authorizations {
            let Pattern::Substring(part) = pattern else { continue };
            let hits: Vec<_> =
                labels.iter().copied().filter(|label| label.contains(part.as_str())).collect();
            if hits.len() > 1 {
                warnings.push(format!("{part}: matches more than one label: {}", hits.join(", ")));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_means_what_shells_mean() {
        for (glob, text, expected) in [
            ("ping-*", "ping-average-ip4", true),
            ("ping-*", "scamper-ping-average-ip4", false),
            ("*-ip?", "trace-standard-ip6", true),
            ("ping", "ping-average", false),
            ("*a*b*c", "xxaxxbxxcxxc", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(Pattern::Glob(glob.to_owned()).matches(text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn the_host_behind_a_label_changes_nothing() {
        let access = Access::closed().role("org.a", &["guest"]).authorize("ping", &["guest"]);
        let allows = |label: &str| access.allows(&Identity::new("org.a"), label);
        assert!(allows("ping@org.mplane.Components.One"));
        assert!(!allows("trace@ping") && !allows("@ping"));
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let glob = Pattern::Glob("*a".repeat(2_000));
        assert!(!glob.matches(&"a".repeat(1_999)));
    }

    #[test]
    fn in_the_seed_form_the_last_key_within_the_label_counts() {
        let access = Access::seed(
            [("org.a", "guest, admin"), ("org.b", "admin")],
            [("ping", "guest"), ("ping-average", "admin")],
        );
        let allows = |who: &str, label: &str| access.allows(&Identity::new(who), label);
        assert!(allows("org.a", "scamper-ping-detail-ip4"));
        assert!(!allows("org.a", "ping-average-ip4"), "its admin has a blank");
        assert!(allows("org.b", "ping-average-ip4"));
        assert!(!allows("org.c", "ping-average-ip4"));
        let labels = ["ping-average-ip4", "ping-detail-ip4"];
        assert_eq!(
            access.warnings(&labels),
            [
                "org.a: role \" admin\" begins or ends with a blank",
                "ping: matches more than one label: ping-average-ip4, ping-detail-ip4",
            ]
        );
    }
}
