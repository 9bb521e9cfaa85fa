//! Options of the `webhook` connector.

use std::net::IpAddr;

use arrow::datatypes::Schema;
use url::{Host, Url};

use super::signature::SigningKey;
use crate::http::is_private;
use crate::options::{Mismatch, OptionKind, OptionSpec, OptionValues};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required("url", OptionKind::Url, "where to post to; `secret('NAME')` where the address is one"),
    OptionSpec::optional(
        "secret",
        OptionKind::Secret,
        "signing secret: `whsec_` and 24 to 64 bytes in base64; without it requests are not signed",
    ),
    OptionSpec::defaulted(
        "allow_private",
        OptionKind::Boolean,
        "false",
        "whether loopback, private and link-local addresses may be posted to",
    ),
    OptionSpec::defaulted("timeout", OptionKind::Duration, "15 seconds", "how long an answer may take"),
];

pub(super) fn check(options: &OptionValues, _: &Schema) -> Vec<Mismatch> {
    let mut mistakes = Vec::new();
    if let Some(secret) = options.text("secret")
        && SigningKey::parse(secret).is_none()
    {
        mistakes.push(Mismatch::of("secret", "whsec_ and 24 to 64 bytes in base64", "something else"));
    }
    if let Some(url) = options.url("url")
        && !options.boolean("allow_private")
        && let Some(host) = private_host(&url)
    {
        mistakes
            .push(Mismatch::of("url", "a public address", host).hint("allow_private = true permits private addresses"));
    }
    if options.is_given("timeout") && options.duration("timeout").is_zero() {
        mistakes.push(Mismatch::of("timeout", "a duration above zero", "zero"));
    }
    mistakes
}

/// The host, where it is a private address without asking a name server.
fn private_host(url: &Url) -> Option<String> {
    let host = url.host()?;
    let is_private = match host {
        Host::Ipv4(address) => is_private(IpAddr::V4(address)),
        Host::Ipv6(address) => is_private(IpAddr::V6(address)),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    };
    is_private.then(|| host.to_string())
}
