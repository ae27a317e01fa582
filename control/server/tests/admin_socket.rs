//! The administrators' service as a client sees it, over the real socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use weir_api::admin::admin_client::AdminClient;
use weir_api::admin::read_recording_reply::Part;
use weir_api::admin::{
    AddNodeRequest, AddUserRequest, CaType, ExportCaRequest, GetRoleRequest, HoldRecordingRequest,
    ListAuditEventsRequest, ListNodesRequest, ListPacingRequest, ListRolesRequest, ListSessionsRequest,
    ListUsersRequest, PutRoleRequest, ReadRecordingRequest, RecordingHeader, ReleaseRecordingRequest,
    RemoveNodeRequest, RemoveRoleRequest, RemoveUserRequest, SignHostRequest, SignUserRequest, StatusRequest,
    TuneNodeRequest,
};
use weir_api::dataplane::{
    AuditEvent, PacingHint, PacingQuery, SessionRecord, SessionStatus, TargetPacing, WaitHistogram,
};
use weir_record::{Chain, EventBuffer, EventKind, Opening, Packer, Recipients, SessionKey};
use weir_server::{Control, ControlConfig};
use weir_ssh::certificate::Certificate;
use weir_ssh::key::{PublicKey, SigningKey};

type Admin = AdminClient<Channel>;

struct World {
    control: Control,
    directory: TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::open(config(directory.path())).unwrap();
        World { control, directory }
    }

    async fn admin(&self) -> Admin {
        let path = self.directory.path().join("data/control.sock");
        let channel = Endpoint::from_static("http://weir.invalid")
            .connect_with_connector(tower::service_fn(move |_| {
                let path = path.clone();
                async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
            }))
            .await
            .unwrap();
        AdminClient::new(channel)
    }

    fn restarted(self) -> World {
        let World { control, directory } = self;
        control.shutdown();
        let control = Control::open(config(directory.path())).unwrap();
        World { control, directory }
    }
}

fn config(directory: &Path) -> ControlConfig {
    ControlConfig {
        data_dir: directory.join("data"),
        ..ControlConfig::default()
    }
}

fn line(key: &SigningKey) -> String {
    key.public_key().to_openssh("joe@example")
}

async fn ca(admin: &mut Admin, of: CaType) -> PublicKey {
    let reply = admin
        .export_ca(ExportCaRequest { r#type: of.into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.public_keys.len(), 1);
    PublicKey::from_openssh(&reply.public_keys[0]).unwrap()
}

fn user(name: &str) -> AddUserRequest {
    AddUserRequest {
        name: name.to_owned(),
        logins: vec!["root".to_owned()],
        ..AddUserRequest::default()
    }
}

fn node(name: &str) -> AddNodeRequest {
    AddNodeRequest {
        name: name.to_owned(),
        address: format!("{name}:7022"),
        ..AddNodeRequest::default()
    }
}

fn session(id: &str, status: SessionStatus) -> SessionRecord {
    SessionRecord {
        id: id.to_owned(),
        user: "alice".to_owned(),
        login: "root".to_owned(),
        node: "web1".to_owned(),
        start_us: 1_000_000,
        end_us: if status == SessionStatus::Live {
            0
        } else {
            2_000_000
        },
        status: status.into(),
        ..SessionRecord::default()
    }
}

fn event(id: &str, kind: &str, session: &str) -> AuditEvent {
    AuditEvent {
        id: id.to_owned(),
        time_us: 1_500_000,
        kind: kind.to_owned(),
        session: session.to_owned(),
        detail_json: "{\"command\":\"true\"}".to_owned(),
        ..AuditEvent::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_installation_has_three_authorities_a_role_and_says_when_it_is_ready() {
    let world = World::new();
    let mut admin = world.admin().await;
    let keys = [
        ca(&mut admin, CaType::User).await,
        ca(&mut admin, CaType::Host).await,
        ca(&mut admin, CaType::Openssh).await,
    ];
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    let refusal = admin.export_ca(ExportCaRequest { r#type: 0 }).await.unwrap_err();
    assert_eq!(
        refusal.message(),
        "got no CA type while expecting user, host or openssh"
    );

    let roles = admin
        .list_roles(ListRolesRequest {})
        .await
        .unwrap()
        .into_inner()
        .roles;
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0].name, "access");

    let status = admin.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (status.ready, status.cluster.as_str(), status.pid),
        (false, "weir", std::process::id())
    );
    world.control.data_plane_ready(vec!["127.0.0.1:3023".to_owned()]);
    let status = admin.status(StatusRequest {}).await.unwrap().into_inner();
    assert!(status.ready && status.data_planes[0].listen == ["127.0.0.1:3023"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_resources_outlive_a_restart_and_no_secret_is_readable_on_disk() {
    let world = World::new();
    let mut admin = world.admin().await;
    let before = ca(&mut admin, CaType::User).await;
    admin.add_user(user("alice")).await.unwrap();
    let revision = world.control.data_plane().snapshot().revision;
    let signing = world.control.embedded_signing_key();
    drop(admin);

    let world = world.restarted();
    let mut admin = world.admin().await;
    assert_eq!(ca(&mut admin, CaType::User).await, before);
    assert_eq!(world.control.data_plane().snapshot().revision, revision);
    assert_eq!(
        world.control.embedded_signing_key().public_key(),
        signing.public_key()
    );

    let data = world.directory.path().join("data");
    for name in ["weir.db", "weir.db-wal", "control.key", "audit/audit.jsonl"] {
        let path = data.join(name);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o077,
            0,
            "{name}"
        );
        let content = std::fs::read(&path).unwrap();
        for secret in [
            &b"AGE-SECRET-KEY"[..],
            b"OPENSSH PRIVATE KEY",
            &*signing.ed25519_seed().unwrap(),
        ] {
            assert!(
                !content.windows(secret.len()).any(|window| window == secret),
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_control_plane_on_the_same_directory_is_refused() {
    let world = World::new();
    let refusal = Control::open(config(world.directory.path()))
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("is in use by another weir (process "),
        "{refusal}"
    );
    // The first one's socket is still its own.
    world.admin().await.status(StatusRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_exchanged_key_encryption_key_stops_the_start_in_words() {
    let World { control, directory } = World::new();
    control.shutdown();
    let key_file = directory.path().join("data/control.key");
    std::fs::write(&key_file, "0".repeat(64)).unwrap();
    let refusal = Control::open(config(directory.path())).unwrap_err().to_string();
    assert!(
        refusal.starts_with("user CA: stored secret cannot be decrypted: wrong key-encryption key"),
        "{refusal}"
    );
    std::fs::remove_file(&key_file).unwrap();
    let refusal = Control::open(config(directory.path())).unwrap_err().to_string();
    assert!(
        refusal.contains("control.key is missing") && refusal.contains("put it back"),
        "{refusal}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_added_listed_signed_and_removed() {
    let world = World::new();
    let mut admin = world.admin().await;
    let added = admin.add_user(user("alice")).await.unwrap().into_inner();
    assert_eq!(added.user.unwrap().roles, ["access"]);
    let again = admin.add_user(user("alice")).await.unwrap_err();
    assert_eq!(
        (again.code(), again.message()),
        (
            Code::AlreadyExists,
            "user \"alice\" exists already: choose another name, or remove it first with weir users rm alice"
        )
    );
    let wrong = AddUserRequest {
        roles: vec!["admins".to_owned()],
        ..user("bob")
    };
    let refusal = admin.add_user(wrong).await.unwrap_err();
    assert!(
        refusal.message().starts_with("role \"admins\" does not exist"),
        "{refusal}"
    );
    for wrong in [
        user("a b"),
        user("a:b"),
        AddUserRequest {
            logins: Vec::new(),
            ..user("bob")
        },
    ] {
        assert_eq!(
            admin.add_user(wrong).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }

    let key = SigningKey::generate_ed25519();
    let sign = |ttl_seconds| SignUserRequest {
        name: "alice".to_owned(),
        public_key: line(&key),
        ttl_seconds,
    };
    let signed = admin.sign_user(sign(3600)).await.unwrap().into_inner();
    assert!(
        signed.certificate.ends_with(" joe@example"),
        "{}",
        signed.certificate
    );
    let certificate = Certificate::from_openssh(&signed.certificate).unwrap();
    assert_eq!(certificate.authority(), &ca(&mut admin, CaType::User).await);
    assert_eq!(
        (certificate.key_id(), certificate.principals()),
        ("alice", &["root".to_owned()][..])
    );
    assert_eq!(certificate.valid_before(), signed.valid_before);
    assert_eq!(
        admin.sign_user(sign(0)).await.unwrap().into_inner().ttl_seconds,
        12 * 3600
    );
    assert_eq!(
        admin
            .sign_user(sign(u64::MAX))
            .await
            .unwrap()
            .into_inner()
            .ttl_seconds,
        7 * 24 * 3600
    );
    assert_eq!(
        admin.sign_user(sign(59)).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let stranger = SignUserRequest {
        name: "mallory".to_owned(),
        ..sign(0)
    };
    assert_eq!(
        admin.sign_user(stranger).await.unwrap_err().code(),
        Code::NotFound
    );
    let nonsense = SignUserRequest {
        public_key: "ssh-rsa nonsense".to_owned(),
        ..sign(0)
    };
    assert!(
        admin
            .sign_user(nonsense)
            .await
            .unwrap_err()
            .message()
            .starts_with("public key: ")
    );

    let short = "name = \"access\"\n[allow]\nlogins = \"*\"\n[options]\nmax_session_ttl = \"1h\"\n";
    let put = PutRoleRequest {
        document: short.to_owned(),
        expected_revision: 0,
    };
    admin.put_role(put).await.unwrap();
    assert_eq!(
        admin
            .sign_user(sign(7200))
            .await
            .unwrap()
            .into_inner()
            .ttl_seconds,
        3600
    );

    assert_eq!(
        admin
            .list_users(ListUsersRequest {})
            .await
            .unwrap()
            .into_inner()
            .users
            .len(),
        1
    );
    admin
        .remove_user(RemoveUserRequest {
            name: "alice".to_owned(),
        })
        .await
        .unwrap();
    let gone = admin
        .remove_user(RemoveUserRequest {
            name: "alice".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(
        (gone.code(), gone.message()),
        (Code::NotFound, "user \"alice\" does not exist")
    );
    assert!(world.control.data_plane().snapshot().users.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_listed_and_removed_by_name_or_id() {
    let world = World::new();
    let mut admin = world.admin().await;
    let (sender, changes) = std::sync::mpsc::channel();
    world
        .control
        .data_plane()
        .on_change(Box::new(move |revision| sender.send(revision).unwrap()));

    let pinned = SigningKey::generate_ed25519();
    let request = AddNodeRequest {
        labels: [("env".to_owned(), "dev".to_owned())].into(),
        pinned_host_keys: vec![line(&pinned)],
        ..node("Web1")
    };
    let added = admin.add_node(request).await.unwrap().into_inner();
    let web1 = added.node.unwrap();
    assert_eq!(web1.pinned_host_keys, [pinned.public_key().blob()]);
    assert_eq!(changes.recv().unwrap(), added.revision);
    assert_eq!(
        world.control.data_plane().snapshot().nodes,
        std::slice::from_ref(&web1)
    );

    // Names are the same whatever their case, since that is how they are looked up.
    let again = admin.add_node(node("WEB1")).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert!(
        again
            .message()
            .starts_with("node \"web1\" exists already: choose another name, "),
        "{again}"
    );
    for wrong in [
        node("web 1"),
        node("a@b"),
        AddNodeRequest {
            address: "x:y".to_owned(),
            ..node("web3")
        },
    ] {
        assert_eq!(
            admin.add_node(wrong).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let wrong = AddNodeRequest {
        pinned_host_keys: vec!["x".to_owned()],
        ..node("web3")
    };
    assert!(
        admin
            .add_node(wrong)
            .await
            .unwrap_err()
            .message()
            .starts_with("public key: ")
    );
    admin.add_node(node("web2")).await.unwrap();
    assert_eq!(
        admin
            .list_nodes(ListNodesRequest {})
            .await
            .unwrap()
            .into_inner()
            .nodes
            .len(),
        2
    );

    admin
        .remove_node(RemoveNodeRequest { name: web1.id })
        .await
        .unwrap();
    admin
        .remove_node(RemoveNodeRequest {
            name: "WEB2".to_owned(),
        })
        .await
        .unwrap();
    let gone = admin
        .remove_node(RemoveNodeRequest {
            name: "web2".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(gone.message().contains("weir nodes ls"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_takes_is_told_at_its_registration_and_replaced_later() {
    let world = World::new();
    let mut admin = world.admin().await;
    let hint = PacingHint {
        max_startups: "200:30:400".to_owned(),
        per_source_max_startups: 50,
        ..PacingHint::default()
    };
    let pinned = SigningKey::generate_ed25519();
    let request = AddNodeRequest {
        pinned_host_keys: vec![line(&pinned)],
        pacing: Some(hint.clone()),
        ..node("Web1")
    };
    let added = admin.add_node(request).await.unwrap().into_inner().node.unwrap();
    assert_eq!(added.pacing, Some(hint));

    let tune = |name: &str, pacing: Option<PacingHint>| TuneNodeRequest {
        name: name.to_owned(),
        pacing,
    };
    let second = PacingHint {
        max_handshakes: 40,
        no_penalties: true,
        ..PacingHint::default()
    };
    let tuned = admin
        .tune_node(tune("web1", Some(second.clone())))
        .await
        .unwrap()
        .into_inner();
    // The whole hint is another, and nothing else is.
    let expected = weir_api::dataplane::Node {
        pacing: Some(second),
        ..added.clone()
    };
    assert_eq!(tuned.node.as_ref(), Some(&expected));
    drop(admin);

    let world = world.restarted();
    let mut admin = world.admin().await;
    let snapshot = world.control.data_plane().snapshot();
    assert_eq!(
        (snapshot.revision, &snapshot.nodes[..]),
        (tuned.revision, &[expected][..])
    );

    let wrong = PacingHint {
        max_startups: "30:200:400".to_owned(),
        ..PacingHint::default()
    };
    let refusal = admin
        .tune_node(tune("web1", Some(wrong.clone())))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().contains("start:rate:full"), "{refusal}");
    let request = AddNodeRequest {
        pacing: Some(wrong),
        ..node("web2")
    };
    assert_eq!(
        admin.add_node(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let refusal = admin.tune_node(tune("web9", None)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
    assert!(refusal.message().contains("weir nodes ls"), "{refusal}");

    // A hint that says nothing is the same as none.
    for nothing in [None, Some(PacingHint::default())] {
        let forgotten = admin
            .tune_node(tune(&added.id, nothing))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(forgotten.node.unwrap().pacing, None);
    }
    let tunes = ListAuditEventsRequest {
        kind: "node.tune".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let tunes = admin.list_audit_events(tunes).await.unwrap().into_inner().events;
    assert_eq!(tunes.len(), 3);
    assert!(
        tunes[2].node == "Web1" && tunes[2].detail_json.contains("\"max_handshakes\":40"),
        "{}",
        tunes[2].detail_json
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pacing_is_asked_of_the_data_plane_and_told_for_every_node() {
    let world = World::new();
    let mut admin = world.admin().await;
    for name in ["web3", "Web1", "web2"] {
        admin.add_node(node(name)).await.unwrap();
    }
    let same_place = AddNodeRequest {
        address: "web3:7022".to_owned(),
        ..node("alias")
    };
    admin.add_node(same_place).await.unwrap();
    let all = || ListPacingRequest::default();

    // Nobody to ask yet, and nothing known.
    let rows = admin.list_pacing(all()).await.unwrap().into_inner().rows;
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter()
            .all(|row| row.data_plane.is_empty() && row.pacing.is_none())
    );

    let of_web3 = TargetPacing {
        address: "web3:7022".to_owned(),
        window: 8.5,
        in_flight: 3,
        admitted: 4711,
        waits: Some(WaitHistogram {
            bounds_us: vec![1000],
            counts: vec![4000, 711],
            sum_us: 9_000_000,
        }),
        ..TargetPacing::default()
    };
    let answer = of_web3.clone();
    let (sender, asked) = std::sync::mpsc::channel();
    world
        .control
        .data_plane()
        .on_inspect(Box::new(move |query: &PacingQuery| {
            sender.send(query.addresses.clone()).unwrap();
            query
                .addresses
                .iter()
                .filter(|address| **address == answer.address)
                .map(|_| answer.clone())
                .collect()
        }));
    let rows = admin.list_pacing(all()).await.unwrap().into_inner().rows;
    assert_eq!(asked.recv().unwrap(), ["Web1:7022", "web2:7022", "web3:7022"]);
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let name = row.node.as_ref().unwrap().name.as_str();
            (name, row.data_plane.as_str(), row.pacing.as_ref())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("alias", "embedded", Some(&of_web3)),
            ("Web1", "", None),
            ("web2", "", None),
            ("web3", "embedded", Some(&of_web3)),
        ]
    );

    let mut names = Vec::new();
    let mut page = ListPacingRequest {
        page_size: 3,
        ..all()
    };
    loop {
        let reply = admin.list_pacing(page.clone()).await.unwrap().into_inner();
        names.push(reply.rows.len());
        if reply.next_page_token.is_empty() {
            break;
        }
        page.page_token = reply.next_page_token;
    }
    assert_eq!(names, [3, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_cannot_answer_is_an_error_in_words() {
    let world = World::new();
    let mut admin = world.admin().await;
    admin.add_node(node("web1")).await.unwrap();
    world
        .control
        .data_plane()
        .on_inspect(Box::new(|_| panic!("a defect of the data plane")));
    let error = admin.list_pacing(ListPacingRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(error.message().contains("cannot say how it paces"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_checked_before_they_are_kept_and_changed_optimistically() {
    let world = World::new();
    let mut admin = world.admin().await;
    let put = |document: &str, expected_revision| PutRoleRequest {
        document: document.to_owned(),
        expected_revision,
    };
    let refusal = admin
        .put_role(put("name = \"dev\"\n[allow]\nlogin = \"x\"\n", 0))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        refusal
            .message()
            .starts_with("role document, line 3: unknown field `login`"),
        "{refusal}"
    );

    let made = admin
        .put_role(put("name = \"dev\"\n", 0))
        .await
        .unwrap()
        .into_inner();
    admin
        .put_role(put("name = \"dev\"\n# second\n", made.revision))
        .await
        .unwrap();
    let clash = admin
        .put_role(put("name = \"dev\"\n# third\n", made.revision))
        .await
        .unwrap_err();
    assert_eq!(clash.code(), Code::Aborted);
    let stored = admin
        .get_role(GetRoleRequest {
            name: "dev".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stored.document, "name = \"dev\"\n# second\n");

    admin
        .add_user(AddUserRequest {
            roles: vec!["dev".to_owned()],
            ..user("alice")
        })
        .await
        .unwrap();
    let remove = || RemoveRoleRequest {
        name: "dev".to_owned(),
    };
    let held = admin.remove_role(remove()).await.unwrap_err();
    assert_eq!(held.code(), Code::FailedPrecondition);
    assert!(held.message().contains("is held by user \"alice\""), "{held}");
    admin
        .remove_user(RemoveUserRequest {
            name: "alice".to_owned(),
        })
        .await
        .unwrap();
    admin.remove_role(remove()).await.unwrap();
    assert_eq!(
        admin.remove_role(remove()).await.unwrap_err().code(),
        Code::NotFound
    );
    let gone = admin
        .get_role(GetRoleRequest {
            name: "dev".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn host_certificates_are_made_for_a_new_key_or_a_given_one() {
    let world = World::new();
    let mut admin = world.admin().await;
    let hosts = || vec!["web1".to_owned(), "127.0.0.1".to_owned()];
    let request = SignHostRequest {
        hosts: hosts(),
        ..SignHostRequest::default()
    };
    let made = admin.sign_host(request.clone()).await.unwrap().into_inner();
    let key = SigningKey::from_openssh(&made.private_key).unwrap();
    let certificate = Certificate::from_openssh(&made.certificate).unwrap();
    assert_eq!(certificate.key(), key.public_key());
    assert_eq!(certificate.principals(), hosts());
    assert_eq!(certificate.authority(), &ca(&mut admin, CaType::Host).await);

    let own = SigningKey::generate_ed25519();
    let given = SignHostRequest {
        public_key: line(&own),
        ttl_seconds: 3600,
        ..request.clone()
    };
    let signed = admin.sign_host(given).await.unwrap().into_inner();
    assert!(signed.private_key.is_empty() && signed.serial > made.serial);
    assert!(signed.certificate.ends_with(" joe@example"));

    for wrong in [Vec::new(), vec!["a b".to_owned()], vec!["*".to_owned()]] {
        let refusal = admin
            .sign_host(SignHostRequest {
                hosts: wrong,
                ..request.clone()
            })
            .await
            .unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_data_plane_reports_is_listed_once_and_paged() {
    let world = World::new();
    let mut admin = world.admin().await;
    let plane = world.control.data_plane();
    plane.report(
        vec![
            event("e1", "session.start", "s1"),
            event("e2", "exec", "s1"),
            event("e1", "session.start", "s1"),
        ],
        vec![
            session("s1", SessionStatus::Live),
            session("s2", SessionStatus::Complete),
        ],
    );
    plane.report(
        vec![event("e2", "exec", "s1")],
        vec![session("s1", SessionStatus::Complete)],
    );
    plane.report(Vec::new(), vec![session("s3", SessionStatus::Unspecified)]);

    let all = ListSessionsRequest {
        page_size: 1,
        ..ListSessionsRequest::default()
    };
    let first = admin.list_sessions(all.clone()).await.unwrap().into_inner();
    assert_eq!(
        (first.sessions[0].id.as_str(), first.next_page_token.as_str()),
        ("s2", "s2")
    );
    let next = ListSessionsRequest {
        page_token: first.next_page_token,
        ..all
    };
    let second = admin.list_sessions(next).await.unwrap().into_inner();
    assert_eq!(
        (second.sessions[0].id.as_str(), second.sessions[0].status()),
        ("s1", SessionStatus::Complete)
    );
    let recordings = admin
        .list_recordings(ListSessionsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(recordings.sessions.is_empty());

    let of_session = ListAuditEventsRequest {
        session: "s1".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let events = admin
        .list_audit_events(of_session)
        .await
        .unwrap()
        .into_inner()
        .events;
    assert_eq!(
        events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(),
        ["e2", "e1"]
    );
    let log = std::fs::read_to_string(world.directory.path().join("data/audit/audit.jsonl")).unwrap();
    assert_eq!(log.matches("\"id\":\"e1\"").count(), 1);
    assert!(
        log.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}'))
    );

    let wrong = ListAuditEventsRequest {
        page_token: "x".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    assert_eq!(
        admin.list_audit_events(wrong).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

/// A client takes no message above 4 MiB, and a thousand of the longest details are 30 MB.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_events_is_one_that_a_client_takes() {
    let world = World::new();
    let mut admin = world.admin().await;
    let detail = serde_json::json!({ "command": "\u{1}".repeat(5_000) }).to_string();
    for n in 0..200 {
        let large = AuditEvent {
            detail_json: detail.clone(),
            ..event(&format!("e{n:03}"), "exec", &format!("s{}", n / 20))
        };
        world.control.data_plane().report(vec![large], Vec::new());
        // What one user may have waiting at once is bounded.
        if n % 20 == 19 {
            admin.status(StatusRequest {}).await.unwrap();
        }
    }
    let mut ids = Vec::new();
    let mut page = ListAuditEventsRequest {
        kind: "exec".to_owned(),
        page_size: 1000,
        ..ListAuditEventsRequest::default()
    };
    loop {
        let reply = admin.list_audit_events(page.clone()).await.unwrap().into_inner();
        ids.extend(reply.events.into_iter().map(|event| event.id));
        if reply.next_page_token.is_empty() {
            break;
        }
        page.page_token = reply.next_page_token;
    }
    let expected: Vec<_> = (0..200).rev().map(|n| format!("e{n:03}")).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_delivered_again_after_a_restart_is_neither_stored_nor_logged_twice() {
    let world = World::new();
    world
        .control
        .data_plane()
        .report(vec![event("e1", "exec", "s1")], Vec::new());
    let world = world.restarted();
    world.control.data_plane().report(
        vec![event("e1", "exec", "s1"), event("e2", "exec", "s1")],
        Vec::new(),
    );
    let of_session = ListAuditEventsRequest {
        session: "s1".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let events = world
        .admin()
        .await
        .list_audit_events(of_session)
        .await
        .unwrap()
        .into_inner()
        .events;
    assert_eq!(events.len(), 2);
    let log = std::fs::read_to_string(world.directory.path().join("data/audit/audit.jsonl")).unwrap();
    assert_eq!(log.matches("\"id\":\"e1\"").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_former_run_are_interrupted_and_each_gets_one_end() {
    let world = World::new();
    let plane = world.control.data_plane();
    let live = |id| session(id, SessionStatus::Live);
    plane.report(
        vec![event("e1", "session.start", "s1")],
        vec![live("s1"), live("s2")],
    );
    drop(plane);

    let world = world.restarted();
    let mut admin = world.admin().await;
    let plane = world.control.data_plane();
    // The recorder found one of them in its spool.
    let recovered = SessionRecord {
        object: "s2.weir".to_owned(),
        ..session("s2", SessionStatus::Interrupted)
    };
    plane.report(vec![event("e2", "session.end", "s2")], vec![recovered]);
    plane.report(Vec::new(), vec![live("s3")]);
    plane.recovered();

    let ends = ListAuditEventsRequest {
        kind: "session.end".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let mut events = Vec::new();
    while events.len() < 2 {
        events = admin
            .list_audit_events(ends.clone())
            .await
            .unwrap()
            .into_inner()
            .events;
    }
    assert_eq!(
        events
            .iter()
            .map(|event| event.session.as_str())
            .collect::<Vec<_>>(),
        ["s1", "s2"]
    );
    assert!(events[0].detail_json.contains("\"status\":\"interrupted\""));

    let sessions = admin
        .list_sessions(ListSessionsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .sessions;
    let found: Vec<_> = sessions
        .iter()
        .map(|session| (session.id.as_str(), session.status(), session.end_us))
        .collect();
    assert_eq!(
        found,
        [
            ("s3", SessionStatus::Live, 0),
            ("s2", SessionStatus::Interrupted, 2_000_000),
            ("s1", SessionStatus::Interrupted, 1_500_000),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_streamed_behind_its_key() {
    let world = World::new();
    let mut admin = world.admin().await;
    let settings = world.control.data_plane().snapshot().settings.clone().unwrap();
    let key = SessionKey::from_bytes([7; 32]);
    let wrapped_key = Recipients::parse(&settings.recording_recipients)
        .unwrap()
        .wrap(&key)
        .unwrap();
    let opening = Opening {
        session: "01J9ZQ7VX8Y4K2M3N5P6R7S8T9".parse().unwrap(),
        started_us: 1,
        signer: [0; 32],
        wrapped_key: &wrapped_key,
    };
    let mut stored = Vec::new();
    let mut chain = Chain::begin(&opening, &key, &mut stored);
    let mut events = EventBuffer::with_storage(Vec::with_capacity(4096));
    assert_eq!(events.push_data(1, 0, EventKind::OUTPUT, b"hello"), 5);
    chain.seal(&mut Packer::new(), &mut events, &mut stored);
    stored.resize(stored.len() + 600_000, 0x5a);
    let foreign = b"WEIRREC of some other making".to_vec();
    std::fs::write(world.control.recordings_dir().join("one.weir"), &stored).unwrap();
    std::fs::write(world.control.recordings_dir().join("two.weir"), &foreign).unwrap();
    let with = |id, object: &str| SessionRecord {
        object: object.to_owned(),
        ..session(id, SessionStatus::Complete)
    };
    world.control.data_plane().report(
        Vec::new(),
        vec![
            with("s1", "one.weir"),
            with("s2", "two.weir"),
            with("s3", "three.weir"),
            session("s4", SessionStatus::Live),
        ],
    );

    let (header, bytes) = read(&mut admin, "s1").await.unwrap();
    assert_eq!(
        (header.session_key.as_slice(), header.session_key_error.as_str()),
        (&[7; 32][..], "")
    );
    assert_eq!(
        (header.size_bytes, header.session.as_ref().unwrap().id.as_str()),
        (stored.len() as u64, "s1")
    );
    assert_eq!(header.data_plane_keys.len(), 1);
    assert_eq!(bytes, stored);

    let (header, bytes) = read(&mut admin, "s2").await.unwrap();
    assert!(header.session_key.is_empty() && !header.session_key_error.is_empty());
    assert_eq!(bytes, foreign);

    let missing = read(&mut admin, "s3").await.unwrap_err();
    assert!(
        missing
            .message()
            .contains("is in the index and not in the object store"),
        "{missing}"
    );
    assert_eq!(
        read(&mut admin, "s4").await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(read(&mut admin, "s5").await.unwrap_err().code(), Code::NotFound);

    let reads = ListAuditEventsRequest {
        kind: "recording.access".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let reads = admin.list_audit_events(reads).await.unwrap().into_inner().events;
    assert_eq!(reads.len(), 2);
    assert!(
        reads[0].detail_json.contains("\"administrator\":{\"uid\":"),
        "{}",
        reads[0].detail_json
    );
}

async fn read(admin: &mut Admin, id: &str) -> Result<(Box<RecordingHeader>, Vec<u8>), tonic::Status> {
    let mut stream = admin
        .read_recording(ReadRecordingRequest {
            id: id.to_owned(),
            action: "export".to_owned(),
        })
        .await?
        .into_inner();
    let Some(Part::Header(header)) = stream.message().await?.unwrap().part else {
        panic!("the header comes first");
    };
    let mut bytes = Vec::new();
    while let Some(reply) = stream.message().await? {
        match reply.part {
            Some(Part::Data(data)) => bytes.extend_from_slice(&data),
            other => panic!("got {other:?} while expecting data"),
        }
    }
    Ok((header, bytes))
}

#[test]
fn it_opens_and_answers_from_threads_of_no_runtime() {
    let world = World::new();
    let plane = Arc::clone(&world.control.data_plane());
    let snapshot = std::thread::spawn(move || plane.snapshot()).join().unwrap();
    assert_eq!(snapshot.cluster, "weir");
    assert!(snapshot.settings.as_ref().unwrap().proxy_checks_host_keys);
    assert!(snapshot.settings.as_ref().unwrap().recording_recipients[0].starts_with("age1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_put_listed_and_released_and_each_is_an_event() {
    let world = World::new();
    let mut admin = world.admin().await;
    let stored = SessionRecord {
        object: "one.weir".to_owned(),
        ..session("s1", SessionStatus::Complete)
    };
    world.control.data_plane().report(Vec::new(), vec![stored]);
    let hold = |id: &str, reason: &str| HoldRecordingRequest {
        id: id.to_owned(),
        reason: reason.to_owned(),
    };
    for (request, code, words) in [
        (hold("s9", "case 7"), Code::NotFound, "does not exist"),
        (hold("s1", "  "), Code::InvalidArgument, "expecting one line"),
        (hold("s1", "a\nb"), Code::InvalidArgument, "expecting one line"),
        (
            hold("s1", &"x".repeat(501)),
            Code::InvalidArgument,
            "501 characters",
        ),
    ] {
        let refusal = admin.hold_recording(request).await.unwrap_err();
        assert_eq!(refusal.code(), code);
        assert!(refusal.message().contains(words), "{refusal}");
    }
    let held = admin
        .hold_recording(hold("s1", " case 7 "))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((held.id.as_str(), held.hold_reason.as_str()), ("s1", "case 7"));
    assert!(held.held_us > 0 && held.hold_doubt.is_empty());
    let again = admin.hold_recording(hold("s1", "case 8")).await.unwrap_err();
    assert!(again.message().contains("is held already"), "{again}");

    let world = world.restarted();
    let mut admin = world.admin().await;
    let listed = admin
        .list_recordings(ListSessionsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.sessions[0].hold_reason, "case 7");
    let release = || ReleaseRecordingRequest { id: "s1".to_owned() };
    let released = admin.release_recording(release()).await.unwrap().into_inner();
    assert_eq!((released.held_us, released.hold_reason.as_str()), (0, ""));
    let again = admin.release_recording(release()).await.unwrap_err();
    assert!(again.message().contains("is not held"), "{again}");

    for kind in ["recording.hold", "recording.release"] {
        let request = ListAuditEventsRequest {
            kind: kind.to_owned(),
            ..ListAuditEventsRequest::default()
        };
        let events = admin
            .list_audit_events(request)
            .await
            .unwrap()
            .into_inner()
            .events;
        assert_eq!((events.len(), events[0].session.as_str()), (1, "s1"), "{kind}");
        let detail = &events[0].detail_json;
        assert!(
            detail.contains("\"reason\":\"case 7\"") && detail.contains("\"uid\":"),
            "{detail}"
        );
    }
}
