//! `bench/servers`: each folder says how its server is built, started and spoken to, and names no registry.

use std::path::PathBuf;

use fleet::{Peer, PeerAnswer, PeerRoom};

#[test]
fn every_folder_of_a_foreign_server_is_complete() {
    let folders = folders();
    assert!(folders.len() >= 12, "{folders:?}");
    let mut languages = Vec::new();
    for folder in folders {
        let shown = folder.display();
        let manifest = Peer::read(&folder).unwrap_or_else(|error| panic!("{error:#}")).manifest;
        for text in [&manifest.name, &manifest.version, &manifest.language] {
            assert!(!text.is_empty(), "{shown}");
        }
        assert!(manifest.url.starts_with("https://"), "{shown}: {}", manifest.url);
        // Without one it cannot be said what to install where it is missing.
        assert!(!manifest.needs.is_empty(), "{shown}: needs nothing");
        let mut paths: Vec<_> = manifest.ticks.iter().chain(&manifest.rest).collect();
        if let Some(PeerRoom { path, publish, body }) = &manifest.room {
            assert!(manifest.rest.is_some(), "{shown}: a room, and no stream that is silent");
            assert!(body.contains("{text}") || body.contains("{json}"), "{shown}: {body}");
            paths.extend([path, publish]);
        }
        for PeerAnswer { path, headers, body } in &manifest.answer {
            assert!(headers.iter().all(|it| it.contains(": ")), "{shown}: {headers:?}");
            assert!(body.starts_with('{'), "{shown}: {body}");
            paths.push(path);
        }
        assert!(paths.iter().all(|it| it.starts_with('/')), "{shown}: {paths:?}");
        // A build that fetches something fetches what is written down.
        let locks = ["package-lock.json", "requirements.txt", "go.mod", "Gemfile.lock"];
        let locks: Vec<_> =
            locks.iter().map(|it| folder.join(it)).filter(|it| it.is_file()).collect();
        assert_eq!(manifest.build.is_empty(), locks.is_empty(), "{shown}: {locks:?}");
        for lock in locks {
            let text = std::fs::read_to_string(&lock).unwrap();
            assert!(
                !text.contains("\"resolved\""),
                "{}: npm config set omit-lockfile-registry-resolved true",
                lock.display()
            );
        }
        languages.push(manifest.language);
    }
    languages.sort();
    languages.dedup();
    assert!(languages.len() >= 5, "{languages:?}");
}

fn folders() -> Vec<PathBuf> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/servers"));
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|it| it.join("server.toml").is_file()).collect();
    folders.sort();
    folders
}
