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
            assert!(matches!(error, EngineError::NoEngine { .. }), "{error}");
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
        assert!(error.to_string().contains("no such file"), "{error}");
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

/// What a user reads when Docker cannot be reached, and what the debug level adds.
#[test]
fn a_failure_to_connect_says_what_to_look_at() {
    run(async {
        let engine = FakeEngine::start();
        let path = engine.socket().display().to_string();
        let connect = async |host: &DockerHost| {
            let error = Engine::connect(host, DEADLINE).await;
            error.expect_err("no engine")
        };
        let text = format!("unix://{path}");
        engine.stop();
        let error = connect(&host(&engine)).await;
        assert_eq!(
            error.to_string(),
            format!("{text}: no such file: is Docker running?")
        );
        assert!(error.cause().contains("os error 2"), "{}", error.cause());
        // A socket that was left behind.
        drop(std::os::unix::net::UnixListener::bind(engine.socket()).expect("free"));
        let error = connect(&host(&engine)).await.to_string();
        let refused = "connection refused, nothing listens at this socket: is Docker running?";
        assert_eq!(error, format!("{text}: {refused}"));
        std::fs::remove_file(engine.socket()).expect("removed");
        engine.start_again();

        engine.fault(Route::Version, Fault::Close, 1);
        let error = connect(&host(&engine)).await.to_string();
        let closes = "closes the connection without an answer: is it a Docker Engine?";
        assert_eq!(error, format!("{text}: {closes}"));
        engine.fault(
            Route::Version,
            Fault::Raw("220 mail ESMTP\r\n".to_owned()),
            1,
        );
        let error = connect(&host(&engine)).await.to_string();
        let no_engine = format!("{text}: answers, but is not a Docker Engine: ");
        assert!(error.starts_with(&no_engine), "{error}");
        engine.fault(Route::Version, Fault::Status(404), 1);
        let error = connect(&host(&engine)).await.to_string();
        assert_eq!(error, format!("{no_engine}it has no /version"));
        engine.fault(Route::Version, Fault::Status(403), 1);
        let error = connect(&host(&engine)).await.to_string();
        assert_eq!(
            error,
            format!("{text}: /version was refused with status 403: a fault")
        );
        engine.fault(Route::Version, Fault::Hang, 1);
        let limit = Duration::from_millis(50);
        let error = Engine::connect(&host(&engine), limit)
            .await
            .expect_err("silent");
        assert_eq!(
            error.to_string(),
            format!("{text}: no answer to /version within 50 ms")
        );

        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("[::1]:0").expect("a port");
        let authority = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = connect(&DockerHost::Tcp(authority.clone()))
            .await
            .to_string();
        let refused = "connection refused: is Docker running, and does it listen on TCP?";
        assert_eq!(error, format!("tcp://{authority}: {refused}"));
    });
}

/// Whatever serves the socket cannot take the host's memory.
#[test]
fn an_answer_is_read_up_to_its_bound_and_no_further() {
    run(async {
        let engine = FakeEngine::start();
        let client = Engine::connect(&host(&engine), DEADLINE)
            .await
            .expect("connected");
        let mib = |n: usize| "x".repeat(n << 20);
        engine.fault(Route::List, Fault::Body(mib(65)), 1);
        let error = client.list().await.expect_err("too long").to_string();
        let reason = "/containers/json: the answer cannot be read: an answer of more than 64 MiB";
        assert_eq!(error, reason);
        let inspect = Route::Inspect("ab".to_owned());
        engine.fault(inspect, Fault::Body(mib(33)), 2);
        let error = client
            .inspect("ab")
            .await
            .expect_err("too long")
            .to_string();
        assert!(error.ends_with("an answer of more than 32 MiB"), "{error}");
        engine.fault(Route::Networks, Fault::Body(mib(65)), 1);
        let error = client.networks().await.expect_err("too long").to_string();
        assert!(error.ends_with("an answer of more than 64 MiB"), "{error}");
        engine.fault(Route::Version, Fault::Body(mib(2)), 1);
        let error = Engine::connect(&host(&engine), DEADLINE)
            .await
            .expect_err("too long");
        assert!(matches!(error, EngineError::NoEngine { .. }), "{error}");

        let now = std::time::SystemTime::now();
        let mut events = client.events(now).await.expect("subscribed");
        let begun = Instant::now();
        // Much altogether is no fault, and neither is one long event.
        let long = "y".repeat(1 << 20);
        for n in 0..8 {
            let id = format!("{n:064x}");
            engine.emit_raw(&format!(
                "{{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{{\"ID\":\"{id}\",\
                 \"Attributes\":{{\"long\":\"{long}\"}}}}}}"
            ));
            events.next().await.expect("an event");
        }
        println!("eight events of 1 MiB: {:?}", begun.elapsed());
        let begun = Instant::now();
        engine.emit_raw(&format!("{{\"Type\":\"{}\"}}", mib(5)));
        let error = events.next().await.expect_err("too long");
        println!("an event of 5 MiB, refused: {:?}", begun.elapsed());
        let reason = "/events: the answer cannot be read: a line of more than 4 MiB";
        assert_eq!(error.to_string(), reason);
    });
}
