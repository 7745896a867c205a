//! The hub client against a local hub that misbehaves on purpose: breaks off, throttles, corrupts, refuses.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod fake_hub;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake_hub::{COMMIT, FakeHub, Fault, Shelf, bytes, shelf};
use pipeline::hub::{Hub, HubError, Manifest, PullProgress, Quiet, Verdict};

/// A client of this hub with an empty cache.
fn client_of(hub: &FakeHub, token: Option<&str>) -> (tempfile::TempDir, Hub) {
    let folder = tempfile::tempdir().unwrap();
    let client =
        Hub::at(folder.path().join("hub"), Some(hub.endpoint.clone()), token.map(str::to_owned), false)
            .with_first_pause(Duration::from_millis(5));
    (folder, client)
}

fn manifest(file: &str) -> Manifest {
    Manifest {
        name: file.trim_end_matches(".bin").to_owned(),
        purpose: "a test".to_owned(),
        repository: "owner/weights".to_owned(),
        revision: "main".to_owned(),
        file: file.to_owned(),
        size: None,
        about: None,
        sha256: None,
        licence: "none".to_owned(),
        licence_url: "none".to_owned(),
    }
}

#[test]
fn several_files_arrive_once_and_are_sound() {
    let hub = FakeHub::start(shelf(&[("a.bin", 300_000), ("b.bin", 1), ("c.bin", 70_001)]));
    hub.faults("c.bin", &[Fault::Redirect, Fault::Throttle]);
    let (_folder, client) = client_of(&hub, None);
    let wanted = [manifest("a.bin"), manifest("b.bin"), manifest("c.bin")];
    let wanted: Vec<&Manifest> = wanted.iter().collect();
    let paths = client.pull(&wanted, &Quiet).unwrap();
    for (path, size) in paths.iter().zip([300_000, 1, 70_001]) {
        assert_eq!(std::fs::read(path).unwrap(), bytes(size));
    }
    let served = hub.served();
    client.pull(&wanted, &Quiet).unwrap();
    assert_eq!(hub.served(), served, "nothing is fetched twice");
    assert_eq!(client.verify(wanted[0]).unwrap(), Verdict::Sound);
}

#[test]
fn a_broken_download_resumes_where_it_broke_off() {
    let hub = FakeHub::start(shelf(&[("a.bin", 500_000)]));
    hub.faults(
        "a.bin",
        &[Fault::BreakOff(200_000), Fault::Status(503), Fault::Status(429), Fault::BreakOff(100_000)],
    );
    let (_folder, client) = client_of(&hub, None);
    let paths = client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), bytes(500_000));
    assert_eq!(hub.served(), 500_000, "no byte is fetched twice");
}

#[test]
fn a_pull_that_gave_up_is_resumed_by_the_next() {
    let hub = FakeHub::start(shelf(&[("a.bin", 500_000)]));
    hub.faults("a.bin", &[Fault::BreakOff(50_000); 6]);
    let (_folder, client) = client_of(&hub, None);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Interrupted { attempts: 6, .. }), "{error}");
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    assert_eq!(hub.served(), 500_000);
}

#[test]
fn a_part_that_is_complete_or_too_long_is_no_obstacle() {
    for length in [10_000, 10_001] {
        let hub = FakeHub::start(shelf(&[("a.bin", 10_000)]));
        let (_folder, client) = client_of(&hub, None);
        let path = client.pull(&[&manifest("a.bin")], &Quiet).unwrap().remove(0);
        let part = path.canonicalize().unwrap().with_extension("part");
        client.remove(&manifest("a.bin")).unwrap();
        std::fs::write(&part, bytes(length)).unwrap();
        client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
        assert_eq!(client.verify(&manifest("a.bin")).unwrap(), Verdict::Sound);
    }
}

#[test]
fn what_was_left_by_a_broken_download_can_be_removed() {
    let hub = FakeHub::start(shelf(&[("a.bin", 500_000)]));
    hub.faults("a.bin", &[Fault::BreakOff(7_000); 6]);
    let (_folder, client) = client_of(&hub, None);
    assert_eq!(client.remove_parts(&manifest("a.bin")).unwrap(), 0);
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert_eq!(client.remove_parts(&manifest("a.bin")).unwrap(), 42_000);
    assert_eq!(client.remove_parts(&manifest("a.bin")).unwrap(), 0);
}

#[test]
fn a_disk_that_is_too_small_is_told_before_the_first_byte() {
    let hub = FakeHub::start(Shelf { claimed: Some(1 << 60), ..shelf(&[("a.bin", 10)]) });
    let (_folder, client) = client_of(&hub, None);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::DiskSpace { .. }), "{error}");
    assert_eq!(hub.served(), 0);
}

#[test]
fn a_damaged_file_is_fetched_anew_once_and_then_refused() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10_000)]));
    let (_folder, client) = client_of(&hub, None);
    hub.faults("a.bin", &[Fault::Corrupt]);
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    client.remove(&manifest("a.bin")).unwrap();
    hub.faults("a.bin", &[Fault::Corrupt, Fault::Corrupt]);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert_eq!(client.verify(&manifest("a.bin")).unwrap(), Verdict::Absent, "no damaged file is left behind");
}

#[test]
fn refusals_say_what_to_do() {
    let hub = FakeHub::start(Shelf { token: Some("secret".to_owned()), ..shelf(&[("a.bin", 10)]) });
    let (_folder, client) = client_of(&hub, None);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(
        matches!(error, HubError::Forbidden { status: 401, .. }) && error.to_string().contains("HF_TOKEN")
    );
    let (_folder, client) = client_of(&hub, Some("secret"));
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    let error = client.pull(&[&manifest("gone.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Missing { .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let offline = Hub::at(folder.path().to_owned(), Some(hub.endpoint.clone()), None, true);
    let error = offline.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
}

#[test]
fn verify_and_remove_look_at_the_bytes() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10_000)]));
    let (_folder, client) = client_of(&hub, None);
    let manifest = manifest("a.bin");
    let path = client.pull(&[&manifest], &Quiet).unwrap().remove(0);
    let blob = path.canonicalize().unwrap();
    std::fs::write(&blob, vec![7; 10_000]).unwrap();
    assert!(matches!(client.verify(&manifest).unwrap(), Verdict::Damaged(_)));
    assert_eq!(client.remove(&manifest).unwrap(), 10_000);
    assert!(!blob.exists());
    assert_eq!(client.verify(&manifest).unwrap(), Verdict::Absent);
}

#[test]
fn progress_counts_every_byte() {
    #[derive(Default)]
    struct Count(AtomicU64, AtomicU64);
    impl PullProgress for Count {
        fn begin(&self, _: &Manifest, size: u64) {
            self.0.store(size, Ordering::Relaxed);
        }
        fn advance(&self, _: &Manifest, bytes: u64) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }
        fn finish(&self, _: &Manifest, _: &std::path::Path) {}
    }
    let hub = FakeHub::start(shelf(&[("a.bin", 123_456)]));
    let (_folder, client) = client_of(&hub, None);
    let count = Count::default();
    client.pull(&[&manifest("a.bin")], &count).unwrap();
    assert_eq!((count.0.into_inner(), count.1.into_inner()), (123_456, 123_456));
}

/// Every file below a folder, but the lock of a part, which says nothing.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

/// What a hostile hub announces never becomes a path.
#[test]
fn announcements_that_are_no_hashes_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("victim");
    let (absolute, up) = (target.display().to_string(), "../../../../victim".to_owned());
    let hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let etags = [
        absolute.clone(),
        format!("\"{absolute}\""),
        up.clone(),
        format!("W/\"{up}\""),
        format!("{hash}/../../x"),
        "main".to_owned(),
        "".to_owned(),
        hash[..63].to_owned(),
        hash[..41].to_owned(),
        ".".repeat(64),
        "..".to_owned(),
        format!("{}/", &hash[..63]),
        "\\".repeat(40),
    ];
    let commits =
        [absolute, up, "0123abcd".to_owned(), "".to_owned(), format!("{}/", &COMMIT[..39]), ".".repeat(40)];
    let etags = etags.into_iter().map(|etag| (Some(etag), None));
    let commits = commits.into_iter().map(|commit| (None, Some(commit)));
    for (etag, commit) in etags.chain(commits) {
        let told = format!("{etag:?} {commit:?}");
        let hub = FakeHub::start(Shelf { etag, commit, ..shelf(&[("a.bin", 1000)]) });
        let client = Hub::at(folder.path().join("hub"), Some(hub.endpoint.clone()), None, false);
        let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
        assert!(matches!(error, HubError::Announcement { .. }), "{told}: {error}");
        assert!(files(folder.path()).is_empty(), "{told}");
    }
}

/// Quotes, weakness and capitals are how some servers write a good hash.
#[test]
fn a_good_hash_may_be_dressed_up() {
    let hash = {
        use sha2::{Digest, Sha256};
        Sha256::digest(bytes(1000)).iter().map(|byte| format!("{byte:02X}")).collect::<String>()
    };
    for etag in [format!("W/\"{hash}\""), hash.clone(), format!("\"{}\"", hash.to_lowercase())] {
        let hub = FakeHub::start(Shelf { etag: Some(etag), ..shelf(&[("a.bin", 1000)]) });
        let (_folder, client) = client_of(&hub, None);
        client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
        assert_eq!(client.verify(&manifest("a.bin")).unwrap(), Verdict::Sound);
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10)]));
    let (folder, client) = client_of(&hub, None);
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest("a.bin");
        change(&mut manifest);
        manifest
    };
    for bad in ["../x", "a/../b", "/etc", "a//b", "a\\b", "a b", ".hidden/x", "", "a/b/c/..", "x\0y", "ä/b"]
    {
        for manifest in [
            with(&|manifest| manifest.repository = bad.to_owned()),
            with(&|manifest| manifest.revision = bad.to_owned()),
            with(&|manifest| manifest.file = bad.to_owned()),
        ] {
            let error = client.pull(&[&manifest], &Quiet).unwrap_err();
            assert!(matches!(error, HubError::Name { .. }), "{bad:?}: {error}");
            assert_eq!(client.locate(&manifest), None);
        }
    }
    assert_eq!(files(folder.path()).len(), 0);
}

#[test]
fn a_change_after_the_first_download_is_told() {
    let first = FakeHub::start(shelf(&[("a.bin", 1000)]));
    let (folder, client) = client_of(&first, None);
    let wanted = manifest("a.bin");
    client.pull(&[&wanted], &Quiet).unwrap();
    let lock = folder.path().join("hub/material-transfer.lock.toml");
    let written = std::fs::read_to_string(&lock).unwrap();
    assert!(written.contains(COMMIT) && written.contains("repository = \"owner/weights\""), "{written}");
    client.remove(&wanted).unwrap();

    let other = FakeHub::start(shelf(&[("a.bin", 1001)]));
    let again = Hub::at(folder.path().join("hub"), Some(other.endpoint.clone()), None, false);
    let error = again.pull(&[&wanted], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Changed { .. }), "{error}");
    assert!(error.to_string().contains(&lock.display().to_string()), "{error}");
    assert_eq!(other.served(), 0, "told before the first byte");
    // Git's own hash says nothing of the bytes beforehand; they are looked at afterwards.
    let small = FakeHub::start(Shelf { etag: Some(COMMIT.to_owned()), ..shelf(&[("a.bin", 1001)]) });
    let small = Hub::at(folder.path().join("hub"), Some(small.endpoint.clone()), None, false);
    let error = small.pull(&[&wanted], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert_eq!(client.locate(&wanted), None);

    std::fs::remove_file(&lock).unwrap();
    again.pull(&[&wanted], &Quiet).unwrap();
    std::fs::write(&lock, "[[file]]\nrepository = 1").unwrap();
    let error = again.verified(&wanted).unwrap_err();
    assert!(matches!(error, HubError::Lock { .. }), "a lock that cannot be read locks: {error}");
}

#[test]
fn other_bytes_than_the_pinned_ones_are_not_fetched() {
    let hub = FakeHub::start(shelf(&[("a.bin", 1000)]));
    let (_folder, client) = client_of(&hub, None);
    let pinned = Manifest { sha256: Some("ab".repeat(32)), ..manifest("a.bin") };
    let error = client.pull(&[&pinned], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Changed { .. }), "{error}");
    assert_eq!(hub.served(), 0);
}

/// As another tool may have left it, or somebody since: the bytes are compared before they are used.
#[test]
fn bytes_are_compared_before_their_first_use() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10_000)]));
    let (_folder, client) = client_of(&hub, None);
    let wanted = manifest("a.bin");
    assert_eq!(client.verified(&wanted).unwrap(), None);
    let path = client.pull(&[&wanted], &Quiet).unwrap().remove(0);
    let blob = path.canonicalize().unwrap();
    let note = std::path::PathBuf::from(format!("{}.checked", blob.display()));
    assert!(note.exists());
    assert_eq!(client.verified(&wanted).unwrap().as_ref(), Some(&path));
    std::fs::remove_file(&note).unwrap();
    assert_eq!(client.verified(&wanted).unwrap().as_ref(), Some(&path), "read again");
    assert!(note.exists(), "noted again");

    std::fs::write(&blob, vec![7; 10_000]).unwrap();
    let error = client.verified(&wanted).unwrap_err();
    assert!(
        matches!(error, HubError::Spoilt { .. }) && error.to_string().contains("models remove a"),
        "{error}"
    );
    // A note that somebody else wrote for other bytes helps nothing.
    std::fs::copy(&blob, &note).unwrap();
    client.verified(&wanted).unwrap_err();
    client.remove(&wanted).unwrap();
    assert!(!note.exists());
}

#[test]
fn a_pointer_out_of_the_cache_is_removed_and_what_it_leads_to_stays() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10)]));
    let (folder, client) = client_of(&hub, None);
    let wanted = manifest("a.bin");
    let pointer = client.pull(&[&wanted], &Quiet).unwrap().remove(0);
    let outside = folder.path().join("precious");
    std::fs::write(&outside, "mine").unwrap();
    std::fs::remove_file(&pointer).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, &pointer).unwrap();
    assert_eq!(client.remove(&wanted).unwrap(), 0);
    assert_eq!(client.locate(&wanted), None);
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let store = FakeHub::start(shelf(&[("a.bin", 1000)]));
    let hub = FakeHub::start(Shelf { token: Some("secret".to_owned()), ..shelf(&[("a.bin", 1000)]) });
    hub.faults("a.bin", &[Fault::Elsewhere(store.endpoint.clone().leak())]);
    // As a secret that was mounted as a file.
    let (_folder, client) = client_of(&hub, Some("secret\n"));
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    assert_eq!((hub.served(), store.served()), (0, 1000));
    assert_eq!((hub.authorised(), store.authorised()), (2, 0));
}

#[test]
fn a_host_that_is_not_there_is_told_soon() {
    let folder = tempfile::tempdir().unwrap();
    let client =
        Hub::at(folder.path().to_owned(), Some("https://no-such-hub.invalid".to_owned()), None, false)
            .with_first_pause(Duration::from_millis(5));
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Interrupted { attempts: 1..=2, .. }), "{error}");
}
