//! Starts that are refused, in one line with what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use wire::peer::Authority;

use crate::broker::{self, succeeded};
use crate::node::Node;
use crate::servers;

#[test]
fn a_stream_that_does_not_fit_is_refused_with_the_command_that_shows_it() {
    let broker = broker::start("misfit");
    let stream = json!({
        "name": "sse", "subjects": ["sse.>"], "retention": "workqueue", "discard": "old",
        "storage": "file", "num_replicas": 1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_consumers": -1, "max_msgs_per_subject": 7,
    });
    succeeded(&broker.ask("STREAM.CREATE.sse", &stream).unwrap());
    for (server, package) in servers::packages().iter().enumerate() {
        let refused = Node::try_start(server, &broker.url(), &[]);
        let Err(words) = refused else { panic!("{} takes it", package.name) };
        for word in ["nats stream info sse", "retention", "max_msgs_per_subject is 7, not 1024"] {
            assert!(words.contains(word), "{words}");
        }
    }
    // A node leaves it alone.
    let info = broker.ask("STREAM.INFO.sse", &json!({})).unwrap();
    assert_eq!(succeeded(&info)["config"]["max_msgs_per_subject"], 7);
    drop(Node::ready(2, &broker.url(), &["--bus-stream", "another"]));
}

#[test]
fn settings_become_the_limits_of_the_stream() {
    let broker = broker::start("limits");
    let settings = [
        "--retain",
        "50",
        "--retain-total-mb",
        "3",
        "--bus-max-age-s",
        "60",
        "--idempotency-s",
        "90",
    ];
    drop(Node::ready(5, &broker.url(), &settings));
    let info = broker.ask("STREAM.INFO.sse", &json!({})).unwrap();
    let config = &succeeded(&info)["config"];
    let second: u64 = 1_000_000_000;
    for (name, value) in [
        ("max_msgs_per_subject", json!(50)),
        ("max_bytes", json!(3 << 20)),
        ("max_age", json!(60 * second)),
        ("duplicate_window", json!(60 * second)),
        ("discard", json!("old")),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
}

#[test]
fn a_broker_that_is_away_is_named_and_so_is_one_without_jetstream() {
    let mut broker = broker::prepare("no-jetstream", &["-js=false"]);
    let node = Node::start(2, &broker.url().replace("//", "//me:secret@"), &[]);
    let place = format!("cannot connect to 127.0.0.1:{}: ", broker.port());
    node.until("away", |node| node.server.stderr().contains(&place));
    broker.start_again().unwrap();
    node.until("without JetStream", |node| {
        node.server.stderr().contains("nats-server has it with -js")
    });
    assert!(!node.server.stderr().contains("secret"), "{}", node.server.stderr());
    assert_eq!(node.get("/healthz?ready").0, 503);
}

#[test]
fn a_broker_with_tls_shows_a_certificate_of_the_authority() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus-tls");
    fs::create_dir_all(&folder).unwrap();
    let [authority, certificate, key] = ["ca.pem", "cert.pem", "key.pem"].map(|it| folder.join(it));
    let ours = Authority::new();
    ours.save(&authority);
    ours.save_for(&["localhost"], &certificate, &key);
    let paths = [&certificate, &key].map(|it| it.to_str().unwrap());
    let tls = ["--tls", "--tlscert", paths[0], "--tlskey", paths[1]];
    let mut broker = broker::prepare("tls", &tls);
    broker.start_again().unwrap();
    let url = format!("tls://localhost:{}", broker.port());
    let trusted = format!("SSL_CERT_FILE={}", authority.display());
    for server in 0..2 {
        let node = Node::try_start_with(Some(&trusted), server, &url, &[]).unwrap();
        node.until_ready();
        node.publish("t", "hello");
        let stranger = Node::start(server, &url, &[]);
        stranger.until("refusing", |node| node.server.stderr().contains("certificate"));
        assert_eq!(stranger.get("/healthz?ready").0, 503);
    }
}

#[test]
fn a_build_without_the_feature_names_it() {
    for package in servers::packages() {
        let binary = servers::binary(package).unwrap();
        let output =
            Command::new(binary).args(["--bus", "nats://127.0.0.1:4222"]).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains("--bus") && words.contains("--features nats"), "{words}");
    }
}
