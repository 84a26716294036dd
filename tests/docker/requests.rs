//! Single requests: what is asked, and how each fails.

use super::*;

#[test]
fn the_newest_version_that_both_speak_is_used_in_every_request() {
    for (newest, used) in [(40, 40), (41, 41), (53, 53), (60, 53)] {
        let engine = FakeEngine::with_versions(12, newest);
        engine.put(FakeContainer::new(1, "web"));
        run(async {
            let client = Engine::connect(&host(&engine), DEADLINE)
                .await
                .expect("connected");
            assert_eq!(client.api_version.minor, used);
            assert_eq!(client.list().await.expect("listed").rows.len(), 1);
            client.ping(DEADLINE).await.expect("alive");
            client
                .events(std::time::SystemTime::now())
                .await
                .expect("subscribed");
        });
        let lines = engine.request_lines();
        let list = format!("GET /v1.{used}/containers/json HTTP/1.1");
        assert_eq!(
            lines[..3],
            ["GET /version HTTP/1.1", &list, "GET /_ping HTTP/1.1"]
        );
        let events = &lines[3];
        assert!(
            events.starts_with(&format!("GET /v1.{used}/events?")),
            "{events}"
        );
        for part in ["since=", "container", "network", "disconnect"] {
            assert!(events.contains(part), "{events}");
        }
    }
}

#[test]
fn an_engine_of_another_age_is_refused_by_name() {
    run(async {
        let old = FakeEngine::with_versions(12, 39);
        let error = Engine::connect(&host(&old), DEADLINE)
            .await
            .expect_err("too old");
        assert!(matches!(error, EngineError::TooOld { .. }), "{error}");
        let new = FakeEngine::with_versions(54, 60);
        let error = Engine::connect(&host(&new), DEADLINE)
            .await
            .expect_err("too new");
        assert!(matches!(error, EngineError::TooNew { .. }), "{error}");
    });
}

#[test]
fn a_socket_that_is_no_docker_is_said_to_be_none() {
    run(async {
        let engine = FakeEngine::start();
        for body in ["<html>", "[]", "{}", "{\"ApiVersion\":7}", ""] {
            engine.fault(Route::Version, Fault::Body(body.to_owned()), 1);
            let error = Engine::connect(&host(&engine), DEADLINE)
                .await
                .expect_err(body);
            assert!(matches!(error, EngineError::Unreadable { .. }), "{error}");
        }
        engine.fault(Route::Version, Fault::Close, 1);
        let error = Engine::connect(&host(&engine), DEADLINE)
            .await
            .expect_err("closed");
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
        engine.stop();
        let error = Engine::connect(&host(&engine), DEADLINE)
            .await
            .expect_err("gone");
        assert!(error.to_string().contains("No such file"), "{error}");
    });
}

#[test]
fn every_request_has_a_limit_for_its_body_too() {
    run(async {
        let engine = FakeEngine::start();
        let limit = Duration::from_millis(100);
        let client = Engine::connect(&host(&engine), limit)
            .await
            .expect("connected");
        let inspect = Route::Inspect("ab".to_owned());
        for fault in [Fault::Hang, Fault::HangInBody] {
            engine.fault(Route::List, fault.clone(), 1);
            let error = client.list().await.expect_err("no answer");
            assert!(matches!(error, EngineError::TimedOut { .. }), "{error}");
            engine.fault(inspect.clone(), fault.clone(), 1);
            let error = client.inspect("ab").await.expect_err("no answer");
            assert!(matches!(error, EngineError::TimedOut { .. }), "{error}");
            engine.fault(Route::Ping, fault.clone(), 1);
            let error = client.ping(limit).await.expect_err("no answer");
            assert!(matches!(error, EngineError::TimedOut { .. }), "{error}");
        }
        engine.fault(Route::Events, Fault::Hang, 1);
        let now = std::time::SystemTime::now();
        let error = client.events(now).await.err().expect("no answer");
        assert!(matches!(error, EngineError::TimedOut { .. }), "{error}");
        assert_eq!(client.inspect("ab").await, Ok(None));
    });
}
