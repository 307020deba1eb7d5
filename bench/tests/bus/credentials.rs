//! The ways to log in at a broker: in the URL, or in a file, up to the JWT of a user that an operator's account has.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::broker::{self, Broker};
use crate::node::{Node, take};

#[test]
fn credentials_come_from_the_url_or_from_a_file() {
    let started = |name: &str, options: &[&str]| {
        let mut broker = broker::prepare(name, options);
        broker.start_again().unwrap();
        broker
    };
    let file = file("line", "me:secret\n");
    let broker = started("login", &["--user", "me", "--pass", "secret"]);
    let with = |login: &str| broker.url().replace("//", &format!("//{login}@"));
    drop(Node::ready(2, &with("me:secret"), &[]));
    drop(Node::ready(0, &broker.url(), &["--bus-credentials", &file]));

    let token = started("token", &["--auth", "s3cr3t"]);
    drop(Node::ready(3, &token.url().replace("//", "//s3cr3t@"), &[]));
    fs::write(&file, "s3cr3t\n").unwrap();
    drop(Node::ready(1, &token.url(), &["--bus-credentials", &file]));

    let wrong = Node::start(2, &with("me:wrong-word"), &[]);
    wrong.until("refused", |node| node.server.stderr().contains("uthorization"));
    assert_eq!(wrong.get("/healthz?ready").0, 503);
    assert!(!wrong.server.stderr().contains("wrong-word"), "{}", wrong.server.stderr());
    let missing = Node::try_start(2, &broker.url(), &["--bus-credentials", "no/such/file"]);
    assert!(missing.err().unwrap().contains("--bus-credentials no/such/file"));
}

#[test]
fn a_file_with_the_jwt_of_a_user_opens_its_account() {
    let Operator { broker, account } = Operator::start("operator");
    let user = KeyPair::new_user();
    let good = file("user.creds", &credentials(&user, &account));
    let nodes = [2, 0].map(|it| Node::ready(it, &broker.url(), &["--bus-credentials", &good]));
    let mut reader = nodes[1].read("t", None);
    let id = nodes[0].publish("t", "hello");
    assert_eq!(take(&mut reader, 1), [format!("{id} hello")]);

    // An account of which the operator knows nothing.
    let stranger = file("stranger.creds", &credentials(&user, &KeyPair::new_account()));
    let stranger = Node::start(5, &broker.url(), &["--bus-credentials", &stranger]);
    stranger.until("refused", |node| node.server.stderr().contains("uthorization"));
    assert_eq!(stranger.get("/healthz?ready").0, 503);

    // A file that was cut off is refused at once, and nothing of it is shown.
    let seed = user.seed().unwrap();
    let cut = credentials(&user, &account).replace(&seed, &seed[..40]);
    let cut = file("cut.creds", &cut);
    let refused = Node::try_start(2, &broker.url(), &["--bus-credentials", &cut]);
    let words = refused.err().unwrap();
    assert!(words.contains("--bus-credentials") && words.contains("nsc generate creds"), "{words}");
    assert!(!words.contains(&seed[..40]), "{words}");
}

/// A broker whose accounts are those that an operator has signed, and one of these.
struct Operator {
    broker: Broker,
    account: KeyPair,
}

impl Operator {
    fn start(name: &str) -> Operator {
        let operator = KeyPair::new_operator();
        let [account, system] = [KeyPair::new_account(), KeyPair::new_account()];
        let (account_key, system_key) = (account.public_key(), system.public_key());
        let all = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1,
        });
        let mut stored = all.clone();
        for kind in ["mem_storage", "disk_storage", "streams", "consumer"] {
            stored[kind] = json!(-1);
        }
        let of_account = |key: &str, limits: &Value| {
            jwt(&operator, key, &json!({ "type": "account", "version": 2, "limits": limits }))
        };
        let configuration = format!(
            "operator: {}\nsystem_account: {system_key}\nresolver: MEMORY\nresolver_preload: {{\n  {account_key}: {}\n  \
             {system_key}: {}\n}}\n",
            jwt(&operator, &operator.public_key(), &json!({ "type": "operator", "version": 2 })),
            of_account(&account_key, &stored),
            of_account(&system_key, &all),
        );
        let configuration = file("operator.conf", &configuration);
        let mut broker = broker::prepare(name, &["-c", &configuration]);
        broker.start_again().unwrap();
        Operator { broker, account }
    }
}

/// The file of a user of this account.
fn credentials(user: &KeyPair, account: &KeyPair) -> String {
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let (jwt, seed) = (jwt(account, &user.public_key(), &claims), user.seed().unwrap());
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// The claims about a key, signed by another one. Source: <https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt>.
fn jwt(issuer: &KeyPair, subject: &str, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": "test", "iat": 1, "iss": issuer.public_key(), "sub": subject, "name": "test", "nats": claims,
    });
    let [header, body] = [header, body].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
    let signed = format!("{header}.{body}");
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The path of a file with this text.
fn file(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus-logins");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file.into_os_string().into_string().unwrap()
}
