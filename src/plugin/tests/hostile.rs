//! Plugins that are slow, wrong or worse.

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Runs the request for a network with one subnet against a plugin that answers one call its own
/// way; the error in one line, and what the plugin was asked.
async fn failing(
    name: &str,
    call: &'static str,
    reply: Reply,
) -> (String, Vec<(String, Option<Value>)>) {
    let fake =
        Fake::start(
            name,
            move |path, body| {
                if path.ends_with(call) { reply.clone() } else { obliging(path, body) }
            },
        );
    let mut haul = Haul::default();
    let asked = ask_for_network(&fake.plugins(), &[wish("10.9.0.0/24")], &mut haul).await;
    let error = asked.expect_err(name);
    assert!(!error.help().is_empty());
    (crate::cli::chain(&error), fake.asked())
}

#[tokio::test]
async fn what_a_plugin_gets_wrong_ends_as_an_error_that_names_it_and_the_call() {
    let large = format!("{{\"Pad\": \"{}\"}}", "x".repeat(2 << 20));
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"PoolID\"".to_vec();
    let pause = Duration::from_millis(20);
    let cases = [
        (
            "garbage",
            Reply::status(200, "{not json"),
            "the answer is not what it should be: key must",
        ),
        ("empty", Reply::status(200, ""), "the answer is not what it should be: EOF"),
        ("list", Reply::status(200, "[1, 2]"), "the answer is not what it should be: invalid"),
        (
            "types",
            Reply::status(200, r#"{"PoolID": 7}"#),
            "the answer is not what it should be: inv",
        ),
        (
            "no-http",
            Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            "the answer broke off, or was",
        ),
        (
            "closed",
            Reply::Raw(Vec::new()),
            "the answer broke off, or was no HTTP: connection closed",
        ),
        ("half", Reply::Raw(half), "the answer broke off, or was no HTTP"),
        ("large", Reply::status(200, &large), "the answer is longer than 1048576 octets"),
        ("endless", Reply::Endless(OK, &[b'{'; 65_536], Duration::ZERO), "the answer is longer"),
        (
            "head",
            Reply::Endless(b"HTTP/1.1 200 OK\r\nX: ", &[b'x'; 65_536], Duration::ZERO),
            "the answer broke off",
        ),
        ("slow", Reply::Endless(OK, b"{", pause), "no answer within 1 s"),
        ("silent", Reply::Silence, "no answer within 1 s"),
    ];
    for (name, reply, expected) in cases {
        let (error, asked) = failing(name, "RequestPool", reply).await;
        let expected = format!("plugin \"fake\": IpamDriver.RequestPool: {expected}");
        assert!(error.starts_with(&expected), "{name}: {error}");
        assert_eq!(asked.len(), 1, "{name}: a request is not made twice: {asked:?}");
    }
}

#[tokio::test]
async fn what_a_plugin_says_is_shown_as_the_engine_shows_it() {
    let said = |text: &str| Reply::Json(json!({"Error": text}));
    let long = "x".repeat(2000);
    let shown = format!("remote: {}…", "x".repeat(512));
    let cases = [
        ("error", said("no such luck"), "remote: no such luck"),
        ("err", Reply::Json(json!({"Err": "in the other field"})), "remote: in the other field"),
        ("status-err", Reply::status(500, r#"{"Err": "boom"}"#), "IpamDriver.RequestPool: boom"),
        (
            "status-error",
            Reply::status(500, r#"{"Error": "in Error"}"#),
            "IpamDriver.RequestPool: {\"Error\": \"in Error\"}",
        ),
        ("status-text", Reply::status(500, "plain\ntext"), "IpamDriver.RequestPool: plain text"),
        ("status-empty", Reply::status(204, ""), "IpamDriver.RequestPool: 204 No Content"),
        ("terminal", said("\u{1b}[31mred"), "remote:  [31mred"),
        ("long", said(&long), &shown),
    ];
    for (name, reply, expected) in cases {
        let (error, _) = failing(&format!("said-{name}"), "RequestPool", reply).await;
        assert_eq!(error, expected, "{name}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn what_cannot_be_is_refused_and_given_back() {
    let pool = |id: &str, pool: &str| Reply::Json(json!({"PoolID": id, "Pool": pool}));
    let long = "p".repeat(2000);
    let at = |address: &str| Reply::Json(json!({"Address": address}));
    let gateway = |at: &str| {
        Reply::Json(json!({"PoolID": "p", "Pool": "10.9.0.0/24", "Data": {
            "com.docker.network.gateway": at
        }}))
    };
    let released =
        |id: &str| Some(("/IpamDriver.ReleasePool".to_owned(), Some(json!({"PoolID": id}))));
    let freed = |at: &str| {
        let body = json!({"PoolID": "p/10.9.0.0/24", "Address": at});
        Some(("/IpamDriver.ReleaseAddress".to_owned(), Some(body)))
    };
    let cases = [
        ("no-id", "RequestPool", pool("", "10.9.0.0/24"), "this one has 0", None),
        (
            "long-id",
            "RequestPool",
            pool(&long, "10.9.0.0/24"),
            "this one has 2000",
            released(&long),
        ),
        ("no-pool", "RequestPool", pool("p", ""), "no pool returned", released("p")),
        (
            "bare",
            "RequestPool",
            pool("p", "10.9.0.0"),
            "invalid CIDR address: 10.9.0.0",
            released("p"),
        ),
        ("words", "RequestPool", pool("p", "a/b"), "invalid CIDR address: a/b", released("p")),
        (
            "other",
            "RequestPool",
            pool("p", "10.7.0.0/24"),
            "pool 10.7.0.0/24 was given where 10.9.0.0/24 was asked for",
            released("p"),
        ),
        (
            "wider",
            "RequestPool",
            pool("p", "10.9.0.0/16"),
            "pool 10.9.0.0/16 was given",
            released("p"),
        ),
        (
            "six",
            "RequestPool",
            pool("p", "fd00::/64"),
            "pool fd00::/64 is of the other IP version",
            released("p"),
        ),
        (
            "far-gateway",
            "RequestPool",
            gateway("10.7.0.1/24"),
            "address 10.7.0.1 is outside pool",
            released("p"),
        ),
        ("no-address", "RequestAddress", at(""), "no address returned", None),
        ("bare-address", "RequestAddress", at("10.9.0.5"), "invalid CIDR address: 10.9.0.5", None),
        (
            "far",
            "RequestAddress",
            at("10.7.0.5/24"),
            "address 10.7.0.5 is outside pool 10.9.0.0/24",
            freed("10.7.0.5"),
        ),
        (
            "far-six",
            "RequestAddress",
            at("fd00::5/64"),
            "address fd00::5 is outside",
            freed("fd00::5"),
        ),
    ];
    for (name, call, reply, expected, given_back) in cases {
        let (error, asked) = failing(&format!("cannot-be-{name}"), call, reply).await;
        assert!(error.contains(&format!("plugin \"fake\": IpamDriver.{call}: ")), "{error}");
        assert!(error.contains(expected), "{name}: {error}");
        let last = asked.last().filter(|(path, _)| path.contains("Release"));
        assert_eq!(last, given_back.as_ref(), "{name}");
    }
}

#[tokio::test]
async fn a_plugin_of_another_kind_gives_no_addresses() {
    let fake = Fake::start("kind", |_, _| Reply::Json(json!({"Implements": ["VolumeDriver"]})));
    let error = fake.plugins().ipam("fake", SHORT.give_up()).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin \"fake\" does not implement IpamDriver");
    assert!(error.help().starts_with("it implements VolumeDriver;"));
}

#[tokio::test]
async fn a_call_that_gives_nothing_is_repeated_when_the_connection_breaks() {
    let left = Mutex::new(2);
    let fake = Fake::start("repeated", move |path, body| {
        let mut left = left.lock().unwrap();
        if path.contains("Release") && *left > 0 {
            *left -= 1;
            return Reply::Raw(Vec::new());
        }
        obliging(path, body)
    });
    let give_up = SHORT.give_up();
    let driver = fake.plugins().ipam("fake", give_up).await.unwrap();
    let given = Given::Pool { pool: "p".to_owned() };
    driver.give_back(&given, give_up).await.unwrap();
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_given_back() {
    for (name, call, given_back) in [
        ("late-pool", "RequestPool", "/IpamDriver.ReleasePool"),
        ("late-address", "RequestAddress", "/IpamDriver.ReleaseAddress"),
    ] {
        let (tell, told) = mpsc::channel();
        let told = Arc::new(Mutex::new(told));
        let fake = Fake::start(name, move |path, body| {
            let reply = obliging(path, body);
            if let (true, Reply::Json(answer)) = (path.ends_with(call), &reply) {
                return Reply::Later(answer.clone(), Arc::clone(&told));
            }
            reply
        });
        let mut haul = Haul::default();
        let asked = ask_for_network(&fake.plugins(), &[wish("10.9.0.0/24")], &mut haul).await;
        let error = crate::cli::chain(&asked.unwrap_err());
        assert!(error.contains("no answer within 1 s"), "{error}");
        tell.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while fake.asked().last().unwrap().0 != given_back {
            assert!(Instant::now() < deadline, "{name}: {:?}", fake.asked());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
