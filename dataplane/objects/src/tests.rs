use object_store::Error;

use super::*;

fn settings() -> S3Settings {
    S3Settings {
        endpoint: Some("https://minio.example.org:9000".to_owned()),
        ..S3Settings::default()
    }
}

fn config(store: &str) -> StoreConfig {
    StoreConfig::new(store, settings()).unwrap()
}

fn refusal(store: &str, s3: S3Settings) -> String {
    StoreConfig::new(store, s3).unwrap_err().to_string()
}

#[test]
fn a_store_is_a_directory_or_a_bucket() {
    let place = |store: &str| StoreConfig::new(store, S3Settings::default()).map(|config| config.place);
    assert_eq!(
        place("/var/lib/weir/recordings").unwrap(),
        Place::Directory("/var/lib/weir/recordings".into())
    );
    for (store, bucket, prefix) in [
        ("s3://audit", "audit", ""),
        ("s3://audit/", "audit", ""),
        ("s3://a.b-c_D/ssh/weir/", "a.b-c_D", "ssh/weir"),
    ] {
        let expected = Place::S3 {
            bucket: bucket.to_owned(),
            prefix: Path::from(prefix),
        };
        assert_eq!(place(store).unwrap(), expected);
    }
    assert_eq!(config("s3://audit/ssh").place.to_string(), "s3://audit/ssh");
    for wrong in [
        "",
        "gs://audit",
        "http://audit",
        "s3://",
        "s3://ab",
        "s3://a b c",
        "s3://audit/a//b",
    ] {
        let error = place(wrong).unwrap_err().to_string();
        assert!(
            error.contains("while expecting a directory or \"s3://BUCKET/PREFIX\""),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused_and_secrets_are_not_repeated() {
    let error = refusal("s3://AKID:hunter2@audit", S3Settings::default());
    assert!(
        error.contains("credentials_file") && !error.contains("hunter2"),
        "{error}"
    );
    let with = |endpoint: &str| S3Settings {
        endpoint: Some(endpoint.to_owned()),
        ..S3Settings::default()
    };
    let error = refusal("s3://audit", with("https://AKID:hunter2@minio"));
    assert!(
        error.contains("credentials_file") && !error.contains("hunter2"),
        "{error}"
    );
    assert!(refusal("s3://audit", with("http://minio:9000")).contains("allow_http = true"));
    for wrong in [
        "minio:9000",
        "ftp://minio",
        "https://",
        "https://minio/path",
        "https://minio?x",
    ] {
        assert!(
            refusal("s3://audit", with(wrong)).contains("URL of a server"),
            "{wrong}"
        );
    }
    let profile = S3Settings {
        profile: Some("weir".to_owned()),
        ..S3Settings::default()
    };
    assert!(refusal("s3://audit", profile).contains("without `credentials_file`"));
    assert!(refusal("/recordings", settings()).contains("[recording.s3]"));
}

#[test]
fn the_bucket_stands_in_the_path_of_other_servers_and_in_the_host_of_aws() {
    let aws = S3Settings::default();
    assert!(!aws.is_path_style("audit") && aws.is_path_style("audit.example"));
    assert_eq!(
        settings().endpoint_of("audit").unwrap(),
        "https://minio.example.org:9000"
    );
    let hosted = S3Settings {
        path_style: Some(false),
        ..settings()
    };
    assert_eq!(
        hosted.endpoint_of("audit").unwrap(),
        "https://audit.minio.example.org:9000"
    );
}

/// As the library wraps what a server answers.
fn answered(status: &str, code: &str) -> Error {
    let body = format!(
        "Error performing PUT https://minio/x in 3ms - Server returned non-2xx status code: {status}: \
         <Error><Code>{code}</Code><Message>in\u{1b}[2J words</Message><RequestId>1</RequestId></Error>"
    );
    match status {
        "403" => Error::PermissionDenied {
            path: "x".to_owned(),
            source: body.into(),
        },
        "404" => Error::NotFound {
            path: "x".to_owned(),
            source: body.into(),
        },
        _ => Error::Generic {
            store: "S3",
            source: body.into(),
        },
    }
}

#[test]
fn refusals_say_what_to_do() {
    let objects = Objects::of(
        Arc::new(object_store::memory::InMemory::new()),
        config("s3://audit/ssh").place,
    );
    for (status, code, advice) in [
        ("404", "NoSuchBucket", "there is no bucket \"audit\": make it"),
        (
            "403",
            "AccessDenied",
            "got AccessDenied while expecting leave for s3:PutObject",
        ),
        ("403", "InvalidAccessKeyId", "does not know the access key"),
        ("403", "SignatureDoesNotMatch", "correct the secret key"),
        ("403", "RequestTimeTooSkewed", "set them by NTP"),
        ("400", "ExpiredToken", "have expired"),
        ("400", "AuthorizationHeaderMalformed", "set `region`"),
        ("503", "SlowDown", "asked again"),
        ("400", "EntityTooSmall", "got EntityTooSmall: in [2J words"),
    ] {
        let said = objects.explain(&answered(status, code));
        assert!(
            said.starts_with("s3://audit/ssh: ") && said.contains(advice),
            "{said}"
        );
        assert!(
            !said.contains(char::is_control) && !said.contains("RequestId"),
            "{said}"
        );
    }
    assert!(fault::is_missing_object(&answered("404", "NoSuchKey")));
    assert!(!fault::is_missing_object(&answered("404", "NoSuchBucket")));
}

#[test]
fn a_directory_is_made_for_its_owner_alone_and_one_that_cannot_be_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let objects = Objects::open(&StoreConfig::directory(&path)).unwrap();
    objects.sync().unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    std::fs::write(root.path().join("file"), b"").unwrap();
    let error = Objects::open(&StoreConfig::directory(root.path().join("file/x"))).unwrap_err();
    assert!(error.to_string().contains("file/x, cannot be used"), "{error}");
}

#[test]
fn only_credentials_and_the_region_come_from_the_environment() {
    let environment = |name: &str| {
        let value = match name {
            "AWS_ACCESS_KEY_ID" => "AKENV",
            "AWS_SECRET_ACCESS_KEY" => "env-secret",
            "AWS_REGION" => "eu-north-1",
            "AWS_ENDPOINT" | "AWS_ENDPOINT_URL" | "AWS_BUCKET" => "elsewhere",
            "AWS_SKIP_SIGNATURE" | "AWS_ALLOW_HTTP" => "true",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let config = StoreConfig::new("s3://audit", S3Settings::default()).unwrap();
    let objects = Objects::open_with(&config, environment).unwrap();
    let shown = format!("{:?}", objects.store());
    assert!(shown.contains("AKENV") && shown.contains("eu-north-1"), "{shown}");
    assert!(
        !shown.contains("env-secret") && !shown.contains("elsewhere"),
        "{shown}"
    );
    assert!(shown.contains("skip_signature: false"), "{shown}");

    let half = Objects::open_with(&config, |name| {
        (name == "AWS_ACCESS_KEY_ID").then(|| "AKENV".to_owned())
    });
    assert!(
        half.unwrap_err()
            .to_string()
            .starts_with("the store s3://audit cannot be used")
    );
}

#[tokio::test]
async fn a_server_that_nobody_runs_is_named() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let s3 = S3Settings {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        allow_http: true,
        ..S3Settings::default()
    };
    let config = StoreConfig::new("s3://audit", s3).unwrap();
    let keys = |name: &str| name.starts_with("AWS_").then(|| "x".to_owned());
    let only_keys = |name: &str| keys(name).filter(|_| name.contains("ACCESS_KEY"));
    let objects = Objects::open_with(&config, only_keys).unwrap();
    let said = objects.probe().await.unwrap_err();
    assert!(
        said.contains(&format!(
            "http://127.0.0.1:{port} cannot be reached: Connection refused"
        )),
        "{said}"
    );
}
