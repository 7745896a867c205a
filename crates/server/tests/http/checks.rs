//! The operator's checker: a service on a real socket and a real command, that say yes, no, nonsense, or nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fixture::*;

/// What a checker was asked.
type Asked = Arc<Mutex<Vec<Value>>>;

/// A checker that answers what `answer` makes of each question; its settings, and what it was asked.
async fn checker<F>(answer: impl Fn(Value) -> F + Clone + Send + Sync + 'static) -> (String, Asked)
where
    F: Future<Output = Response> + Send,
{
    let asked = Asked::default();
    let kept = asked.clone();
    let check = move |headers: HeaderMap, question: axum::Json<Value>| async move {
        assert_eq!(headers["authorization"], "Bearer between us");
        kept.lock().unwrap().push(question.0.clone());
        answer(question.0).await
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/check", axum::routing::post(check))
        .layer(axum::extract::DefaultBodyLimit::disable());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("{KEYS}check_url = \"http://{address}/check\"\ncheck_token = \"between us\"\n"), asked)
}

fn said(answer: Value) -> Response {
    axum::Json(answer).into_response()
}

/// Refuses the pictures of this name.
async fn refuses(name: &'static str) -> (String, Asked) {
    checker(move |question| async move {
        said(json!({ "allowed": question["name"] != name, "reason": "a  reason\nfor people" }))
    })
    .await
}

fn files(bench: &Bench) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| match entry.path() {
                path if path.is_dir() => count(&path),
                path => usize::from(path.extension().is_some_and(|kind| kind == "png")),
            })
            .sum()
    }
    count(bench.folder.path())
}

/// Waits until a job's status is this.
async fn reaches(bench: &Bench, id: &str, status: &str) -> Value {
    let begun = Instant::now();
    loop {
        let now = bench.get(&format!("/v2/requests/{id}/status")).await.json();
        if now["status"] == status {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn id_of(submitted: &Answer) -> String {
    submitted.json()["request_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn it_sees_what_comes_in_and_what_goes_out() {
    let (settings, asked) = checker(async |_| said(json!({ "allowed": true }))).await;
    let bench = Bench::start(&settings);
    let changes =
        json!({ "prompt": "größer", "negative_prompt": "none", "return_intermediate_images": true });
    let (submitted, over) = bench.run(changes).await;
    assert_eq!(over.json()["status"], "COMPLETED", "{over:?}");
    let result = bench.get(submitted["response_url"].as_str().unwrap()).await.json();
    let asked = asked.lock().unwrap().clone();
    let seen: Vec<_> =
        asked.iter().map(|each| (each["stage"].as_str().unwrap(), each["name"].as_str().unwrap())).collect();
    assert_eq!(seen.len(), 4, "{seen:?}");
    for name in ["subject_image", "material_image"] {
        assert!(seen[..2].contains(&("input", name)), "{seen:?}");
    }
    assert_eq!(&seen[2..], [("output", "output"), ("output", "mask")]);
    for question in &asked {
        assert_eq!(question["request_id"], submitted["request_id"]);
        assert_eq!(
            (question["prompt"].as_str(), question["negative_prompt"].as_str()),
            (Some("größer"), Some("none"))
        );
        assert!(question["owner"].is_string() && question["content_type"] == "image/png");
    }
    let shown = bench.get(result["output"].as_str().unwrap()).await.bytes;
    assert_eq!(BASE64_STANDARD.decode(asked[2]["data"].as_str().unwrap()).unwrap(), shown);
    let metrics = String::from_utf8(bench.get("/metrics").await.bytes).unwrap();
    assert!(metrics.contains("material_transfer_checks_total{verdict=\"allowed\"} 4"), "{metrics}");
}

#[tokio::test]
async fn a_refusal_ends_the_job_and_costs_nothing() {
    let reason = "a reason for people";
    for (name, asked_before) in [("subject_image", 2), ("output", 3)] {
        let (settings, asked) = refuses(name).await;
        let keys = format!(
            "{settings}[[keys]]\nid = \"few\"\nsha256 = \"{}\"\ncredits = 1\n",
            hex::encode(Sha256::digest("F"))
        );
        let bench = Bench::start(&keys);
        let text = format!("Content blocked: {name}: {reason}");
        let (submitted, over) = bench.run(json!({})).await;
        assert_eq!((over.error(422), &over.json()["status"]), (text.clone(), &json!("FAILED")));
        assert!(asked.lock().unwrap().len() <= asked_before);
        assert_eq!(bench.get(submitted["response_url"].as_str().unwrap()).await.error(422), text);
        assert_eq!(bench.v1(json!({})).await.error(400), text);
        // The one credit is there again every time.
        for _ in 0..3 {
            let headers = [("x-api-key", "F"), ("content-type", "application/json")];
            let body = ok(json!({})).to_string().into();
            let answer = bench.send(request("POST", "/v1/material-transfer", &headers, body)).await;
            assert_eq!(answer.error(400), text);
        }
        let begun = Instant::now();
        while files(&bench) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "nothing of a refused job is kept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn stages_can_be_left_out() {
    let (settings, asked) = refuses("subject_image").await;
    let bench = Bench::start(&format!("{settings}check_stages = [\"output\"]\n"));
    assert_eq!(bench.v1(json!({})).await.status, 200);
    assert_eq!(asked.lock().unwrap().len(), 1);
    let (settings, asked) = refuses("output").await;
    let bench = Bench::start(&format!("{settings}check_stages = [\"input\"]\n"));
    assert_eq!(bench.v1(json!({})).await.status, 200);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_checker_that_fails_refuses_unless_the_operator_says_otherwise() {
    let fast = "check_timeout = \"300ms\"\n";
    let lame: [fn() -> Response; 5] = [
        || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        || "yes, of course".into_response(),
        || said(json!({ "allowed": "yes" })),
        || said(json!({ "allowed": true, "reason": "x".repeat(100_000) })),
        || Redirect::temporary("http://127.0.0.1:1/").into_response(),
    ];
    let mut settings = vec![format!("{KEYS}check_url = \"http://127.0.0.1:1/\"\n")];
    for answer in lame {
        settings.push(checker(move |_| async move { answer() }).await.0);
    }
    settings.push(checker(|_| std::future::pending()).await.0);
    settings.push(format!("{KEYS}check_command = [\"false\"]\n"));
    settings.push(format!("{KEYS}check_command = [\"sleep\", \"60\"]\n"));
    for settings in settings {
        for stage in ["input", "output"] {
            let settings = format!("{settings}{fast}check_stages = [\"{stage}\"]\n");
            let bench = Bench::start(&settings);
            let (_, over) = bench.run(json!({})).await;
            assert_eq!(
                over.error(422),
                "Internal server error: the pictures could not be checked",
                "{settings}"
            );
            assert_eq!(bench.v1(json!({})).await.error(500), "Internal server error", "{settings}");
            let lenient = Bench::start(&format!("{settings}check_failure = \"allow\"\n"));
            assert_eq!(lenient.v1(json!({})).await.status, 200, "{settings}");
            let metrics = String::from_utf8(lenient.get("/metrics").await.bytes).unwrap();
            assert!(metrics.contains("material_transfer_checks_total{verdict=\"failed\"} 1"), "{metrics}");
        }
    }
}

/// A checker that is silent about what has this prompt.
async fn silent_about(prompt: &'static str, stage: &'static str) -> String {
    let answer = move |question: Value| async move {
        if question["prompt"] == prompt && question["stage"] == stage {
            std::future::pending::<()>().await;
        }
        said(json!({ "allowed": true }))
    };
    format!("{}check_timeout = \"1h\"\n", checker(answer).await.0)
}

#[tokio::test]
async fn a_slow_check_keeps_nobody_else_waiting() {
    for stage in ["input", "output"] {
        let bench = Bench::start(&silent_about("slow", stage).await);
        let slow = id_of(&bench.v2(json!({ "prompt": "slow" })).await);
        if stage == "output" {
            reaches(&bench, &slow, "PROCESSING").await;
        }
        let (_, over) = bench.run(json!({ "prompt": "quick" })).await;
        assert_eq!(over.json()["status"], "COMPLETED");
        let status = bench.get(&format!("/v2/requests/{slow}/status")).await.json();
        assert_eq!(status["status"], if stage == "input" { "QUEUED" } else { "PROCESSING" });
        assert_eq!(
            bench.call("POST", &format!("/v2/requests/{slow}/cancel"), String::new().into()).await.status,
            200
        );
        let over = reaches(&bench, &slow, "FAILED").await;
        assert_eq!(over["error"], "Request was cancelled");
    }
}

#[tokio::test]
async fn what_was_not_checked_is_run_again_after_a_stop() {
    let settings = silent_about("slow", "output").await;
    let bench = Bench::start(&settings);
    let id = id_of(&bench.v2(json!({ "prompt": "slow" })).await);
    reaches(&bench, &id, "PROCESSING").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let folder = bench.abandon();
    let begun = Instant::now();
    let (willing, _) = checker(async |_| said(json!({ "allowed": true }))).await;
    let again = loop {
        // The stores are free once the last task has let go of them.
        match server::App::open(config(&folder, &willing)) {
            Ok(app) => break app,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let _workers = server::Workers::start(&again, &inverter()).unwrap();
    let bench = Bench::around(again);
    let over = reaches(&bench, &id, "COMPLETED").await;
    assert!(over["metrics"]["retry_count"].as_u64().unwrap_or(0) == 0, "{over}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_is_asked_without_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("check me");
    let text = "if grep -q '\"prompt\":\"bad\"'; then echo '{\"allowed\": false, \"reason\": \"'$1'\"}'\n\
                else echo '{\"allowed\": true}'; fi\n";
    std::fs::write(&script, text).unwrap();
    let settings = format!("{KEYS}check_command = [\"sh\", {:?}, \"$HOME; no\"]\n", script.to_str().unwrap());
    let bench = Bench::start(&settings);
    assert_eq!(bench.v1(json!({})).await.status, 200);
    let refused = bench.v1(json!({ "prompt": "bad" })).await.error(400);
    assert!(refused.starts_with("Content blocked: ") && refused.ends_with("_image: $HOME; no"), "{refused}");
}
