//! The headers of a request as the text of a JSON object, for streams that keep them.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use serde_json::Value;

/// What lets someone in is nothing to keep.
const SECRET: [header::HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// Names in lower case and in order; the values of a header that comes several times are joined by a comma, as HTTP means
/// them. Credentials are left out.
pub(crate) fn headers_json(headers: &HeaderMap) -> String {
    let mut object: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !SECRET.contains(name)) {
        let value = String::from_utf8_lossy(value.as_bytes());
        object
            .entry(name.as_str())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    let object = object.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
    Value::Object(object.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn credentials_are_left_out_and_values_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-site", HeaderValue::from_static("a \"b\""));
        headers.append("Authorization", HeaderValue::from_static("Bearer secret"));
        headers.append("accept", HeaderValue::from_static("a"));
        headers.append("cookie", HeaderValue::from_static("secret"));
        headers.append("accept", HeaderValue::from_static("b"));
        assert_eq!(headers_json(&headers), r#"{"accept":"a, b","x-site":"a \"b\""}"#);
    }
}
