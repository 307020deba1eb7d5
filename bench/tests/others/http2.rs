//! Category S12 on servers that people run: Caddy, nginx, and hyper below a program of thirty lines.

use fleet::Server;

use crate::caddy::Caddy;
use crate::commands::judge;
use crate::nginx::Nginx;
use crate::servers;

const TICKING: &str = "/ticks?interval_ms=20";
const ENDING: &str = "/ticks?interval_ms=20&count=3";
const RESTING: &str = "/messages/rest";

const WHILE_IT_TICKS: &[&str] = &[
    "S12.01", "S12.02", "S12.03", "S12.04", "S12.05", "S12.07", "S12.08", "S12.09", "S12.10",
    "S12.11",
];

#[test]
fn caddy_keeps_every_rule_of_http2() {
    let caddy = Caddy::shared();
    // Other tests have streams open behind this one, so the count of S12.08 would be of theirs, too.
    let ids: Vec<_> = WHILE_IT_TICKS.iter().copied().filter(|id| *id != "S12.08").collect();
    keeps_the_rules(|target| caddy.url(target), &caddy.cacert, &ids);
    keeps(&caddy.url(RESTING), &caddy.cacert, &["S12.01", "S12.12", "S12.15"]);
}

/// `curl --http2 -D - https://…/messages/rest` shows it: the head comes with the first heartbeat, and with `--http1.1`
/// at once (nginx 1.22.1, `proxy_buffering off`).
#[test]
fn nginx_keeps_the_rules_of_http2_but_holds_back_the_head_of_a_stream_at_rest() {
    let nginx = Nginx::shared();
    keeps_the_rules(|target| nginx.url(target), &nginx.cacert, WHILE_IT_TICKS);
    let options = ["--cacert", &nginx.cacert, "--only", "S12"];
    let said = judge(&nginx.url(RESTING), &options);
    let found =
        (said.code, said.verdicts("fail"), said.verdicts("non-strict"), said.verdicts("pass"));
    assert_eq!(found, (Some(0), vec![], vec!["S12.15"], vec!["S12.01"]), "{}", said.all());
}

#[test]
fn hyper_below_poem_keeps_every_rule_without_tls() {
    // As its documentation shows it: its stream never ends, never rests and has no ids.
    let all = servers::packages();
    let poem = fleet::find(all, "poem").unwrap();
    let server = Server::start(&fleet::build_smallest(poem, false).unwrap()).unwrap();
    let url = format!("http://{}/ticks", server.addr());
    let said = judge(&url, &["--http2", "--only", "S12"]);
    assert_eq!(
        (said.code, said.verdicts("pass")),
        (Some(0), WHILE_IT_TICKS.to_vec()),
        "{}",
        said.all()
    );
}

fn keeps_the_rules(url: impl Fn(&str) -> String, cacert: &str, while_it_ticks: &[&str]) {
    keeps(&url(TICKING), cacert, while_it_ticks);
    keeps(&url(ENDING), cacert, &["S12.06"]);
    keeps(&url(TICKING), cacert, &["S12.14"]);
}

fn keeps(url: &str, cacert: &str, ids: &[&str]) {
    let said = judge(url, &["--cacert", cacert, "--only", &ids.join(",")]);
    assert_eq!((said.code, said.verdicts("pass")), (Some(0), ids.to_vec()), "{}", said.all());
}
