//! Bodies of the Events API v2, within its limits.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::alert::{AlertAction, AlertEvent, object};
use crate::options::OptionValues;

/// Largest body that PagerDuty takes.
const BODY_BYTES_MAX: usize = 512 << 10;
const SUMMARY_CHARS_MAX: usize = 1024;
const DEDUP_KEY_CHARS_MAX: usize = 255;
/// What is left of a detail that was too large.
const CUT_DETAIL_CHARS: usize = 256;

/// What every event of a sink carries.
#[derive(Debug)]
pub(super) struct Template {
    deployment: String,
    source: Option<String>,
    component: Option<String>,
    group: Option<String>,
    class: Option<String>,
    client: Option<String>,
    client_url: Option<String>,
}

impl Template {
    pub(super) fn of(options: &OptionValues, deployment: String) -> Self {
        let text = |name: &str| options.text(name).map(str::to_owned);
        Self {
            deployment,
            source: text("source"),
            component: text("component"),
            group: text("group"),
            class: text("class"),
            client: text("client"),
            client_url: options.url("client_url").map(String::from),
        }
    }

    /// The body that reports an event.
    pub(super) fn body(&self, routing_key: &str, event: &AlertEvent<'_>) -> String {
        let mut body = json!({
            "routing_key": routing_key,
            "event_action": event.action.as_str(),
            "dedup_key": dedup_key(event.dedup_key),
        });
        if event.action == AlertAction::Resolve {
            return body.to_string();
        }
        let details = match object(event.details) {
            Value::Object(details) => details,
            other => Map::from_iter([("details".to_owned(), other)]),
        };
        let mut payload = json!({
            "summary": cut(event.summary, SUMMARY_CHARS_MAX),
            "source": self.source.clone().unwrap_or_else(|| self.key_values(event)),
            "severity": event.severity,
            "timestamp": event.timestamp(),
            "class": self.class.as_deref().unwrap_or(event.alert),
        });
        set(&mut payload, "component", self.component.as_deref());
        set(&mut payload, "group", self.group.as_deref());
        set(&mut body, "client", self.client.as_deref());
        set(&mut body, "client_url", self.client_url.as_deref());
        body["payload"] = payload;
        let room = BODY_BYTES_MAX.saturating_sub(body.to_string().len() + r#","custom_details":"#.len());
        body["payload"]["custom_details"] = shrink(details, room);
        body.to_string()
    }

    /// The values of the key, or the deployment for an alert without one.
    fn key_values(&self, event: &AlertEvent<'_>) -> String {
        let Value::Object(key) = object(event.key) else { return self.deployment.clone() };
        let values: Vec<String> =
            key.values().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
        if values.is_empty() { self.deployment.clone() } else { cut(&values.join(", "), SUMMARY_CHARS_MAX) }
    }
}

fn set(object: &mut Value, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        object[name] = value.into();
    }
}

/// A key that PagerDuty takes: one that is too long becomes its hash.
fn dedup_key(key: &str) -> String {
    if key.chars().count() <= DEDUP_KEY_CHARS_MAX {
        return key.to_owned();
    }
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}

/// Details that fit: the largest are cut first.
fn shrink(mut details: Map<String, Value>, room: usize) -> Value {
    let mut by_size: Vec<(usize, String)> =
        details.iter().map(|(name, value)| (value.to_string().len(), name.clone())).collect();
    by_size.sort_unstable_by(|a, b| b.cmp(a));
    let mut largest = by_size.into_iter();
    while Value::Object(details.clone()).to_string().len() > room {
        let Some((bytes, name)) = largest.next().filter(|(bytes, _)| *bytes > CUT_DETAIL_CHARS) else {
            return json!({ "cut": "details too large to be sent" });
        };
        let value = &details[&name];
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        details.insert(name, format!("{} ({bytes} bytes)", cut(&text, CUT_DETAIL_CHARS)).into());
    }
    Value::Object(details)
}
