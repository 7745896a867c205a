//! The hub client against a local hub that misbehaves on purpose: breaks off, throttles, corrupts, refuses.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod fake_hub;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Shelf, bytes, shelf};
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
