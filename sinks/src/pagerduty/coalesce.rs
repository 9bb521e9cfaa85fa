//! Which pending events are worth sending: an alert that was raised and cleared while PagerDuty could not be reached
//! wakes nobody.
//!
//! Of each key's pending events only the last resolve and the triggers behind it matter. That resolve is left out too
//! if no incident can be open: the first pending event is a trigger (events of a key alternate, so the key was clear
//! before it) and no trigger of the key may have reached PagerDuty. Where this is not sure the resolve is sent;
//! PagerDuty drops one without an open incident.

use std::collections::HashMap;

use crate::alert::AlertAction;

/// A pending event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending<'a> {
    pub dedup_key: &'a str,
    pub action: AlertAction,
    /// Whether this very event may have reached PagerDuty already, by this process or the one before.
    pub may_be_sent: bool,
    /// Whether an earlier trigger of the key may have left an incident open.
    pub may_be_open: bool,
}

/// For each event, whether it is to be sent.
pub(super) fn worth_sending(events: &[Pending<'_>]) -> Vec<bool> {
    let mut by_key: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        by_key.entry(event.dedup_key).or_default().push(index);
    }
    let mut worth = vec![true; events.len()];
    for indices in by_key.values() {
        let is_resolve = |index: &usize| events[*index].action == AlertAction::Resolve;
        let Some(last_resolve) = indices.iter().rposition(is_resolve) else { continue };
        let (past, _) = indices.split_at(last_resolve);
        for &index in past {
            worth[index] = false;
        }
        let starts_with_trigger = past.first().is_some_and(|first| !is_resolve(first));
        let may_be_open = past.iter().any(|&index| events[index].may_be_sent || events[index].may_be_open);
        worth[indices[last_resolve]] = !starts_with_trigger || may_be_open;
    }
    worth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(key: &'static str, action: char) -> Pending<'static> {
        let upper = action.to_ascii_uppercase();
        Pending {
            dedup_key: key,
            action: if upper == 'T' { AlertAction::Trigger } else { AlertAction::Resolve },
            may_be_sent: action.is_ascii_lowercase(),
            may_be_open: false,
        }
    }

    /// One letter an event of one key; small ones may have been sent before.
    fn sent(events: &str) -> String {
        let pending: Vec<_> = events.chars().map(|action| pending("k", action)).collect();
        let worth = worth_sending(&pending);
        events.chars().zip(worth).map(|(event, worth)| if worth { event } else { '-' }).collect()
    }

    #[test]
    fn what_was_raised_and_cleared_unsent_is_left_out() {
        for (events, expected) in [
            ("T", "T"),
            ("R", "R"),
            ("TR", "--"),
            ("TRT", "--T"),
            ("TRTR", "----"),
            ("RT", "RT"),
            ("RTR", "--R"),
            ("TT", "TT"),
            ("TTR", "---"),
            ("tR", "-R"),
            ("tRT", "-RT"),
            ("TRtR", "---R"),
        ] {
            assert_eq!(sent(events), expected, "{events}");
        }
    }

    #[test]
    fn a_resolve_goes_out_where_an_incident_may_be_open() {
        let mut events = [pending("k", 'T'), pending("k", 'R')];
        events[0].may_be_open = true;
        assert_eq!(worth_sending(&events), [false, true]);
    }

    #[test]
    fn keys_do_not_touch_each_other() {
        let events = [pending("a", 'T'), pending("b", 'T'), pending("a", 'R'), pending("c", 'R')];
        assert_eq!(worth_sending(&events), [false, true, false, true]);
    }
}
