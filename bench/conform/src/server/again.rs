//! The options that ask again, for a line that repeats a run. Secrets are left out: values of headers, and bodies.

use client::arguments::RequestArgs;
use wire::publish::PublishArgs;

/// A word as a shell reads it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The text as one word of a shell, in quotes where it needs them.
pub(super) fn word(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-".contains(it);
    if text.chars().all(is_plain) { text.to_owned() } else { quoted(text) }
}

/// The options of the request, each with a space before it.
pub(super) fn of_request(request: &RequestArgs) -> String {
    let mut words = String::new();
    if let Some(method) = &request.method {
        words += &format!(" --method {method}");
    }
    if let Some(data) = &request.data {
        words += &format!(" --data '{}'", if data.starts_with('@') { data } else { "…" });
    }
    for header in &request.headers {
        let name = header.split_once(':').map_or(header.as_str(), |(name, _)| name);
        let value = if header.starts_with('@') { "" } else { ": …" };
        words += &format!(" --header '{name}{value}'");
    }
    if let Some(cacert) = &request.cacert {
        words += &format!(" --cacert '{}'", cacert.display());
    }
    if request.insecure {
        words += " --insecure";
    }
    if let Some(name) = &request.server_name {
        words += &format!(" --server-name {name}");
    }
    words
}

/// The options of the way to publish, likewise.
pub(super) fn of_publishing(publishing: &PublishArgs) -> String {
    let mut words = String::new();
    if let Some(url) = &publishing.publish {
        let PublishArgs { publish_method, publish_body, .. } = publishing;
        words += &format!(" --publish {}", quoted(url));
        words +=
            &format!(" --publish-method {publish_method} --publish-body {}", quoted(publish_body));
    }
    for (name, _) in &publishing.publish_headers {
        words += &format!(" --publish-header '{name}: …'");
    }
    if let Some(command) = &publishing.publish_cmd {
        words += &format!(" --publish-cmd {}", quoted(command));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_left_out_and_a_shell_reads_the_rest() {
        let publishing = PublishArgs {
            publish: Some("http://h/say?to='me'".to_owned()),
            publish_method: "PUT".to_owned(),
            publish_headers: vec![("Authorization".to_owned(), "secret".to_owned())],
            publish_body: "{text}".to_owned(),
            ..PublishArgs::default()
        };
        assert_eq!(
            of_publishing(&publishing),
            " --publish 'http://h/say?to='\\''me'\\''' --publish-method PUT --publish-body '{text}' \
             --publish-header 'Authorization: …'"
        );
        assert_eq!(of_publishing(&PublishArgs::default()), "");
    }
}
