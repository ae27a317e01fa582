//! The administrators' service.
//!
//! Who may open the socket may do everything here. Each change is an audit event with the caller's user id.

mod authorities;
mod holds;
mod keys;
mod nodes;
mod pacing;
mod records;
mod roles;
mod status;
mod users;
mod watch;
mod wording;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};
use weir_api::admin::admin_server::{Admin, AdminServer};
use weir_api::admin::{
    AddIdentityRequest, AddNodeRequest, AddUserRequest, ExportCaReply, ExportCaRequest, GetEnvelopeReply,
    GetEnvelopeRequest, GetRoleRequest, HoldRecordingRequest, IdentityEntry, ListAuditEventsReply,
    ListAuditEventsRequest, ListIdentitiesReply, ListIdentitiesRequest, ListNodesReply, ListNodesRequest,
    ListPacingReply, ListPacingRequest, ListRolesReply, ListRolesRequest, ListSessionsReply,
    ListSessionsRequest, ListUsersReply, ListUsersRequest, NodeEntry, PutRoleRequest, ReadRecordingReply,
    ReadRecordingRequest, ReleaseRecordingRequest, RemoveNodeReply, RemoveNodeRequest, RemoveRoleReply,
    RemoveRoleRequest, RemoveUserReply, RemoveUserRequest, RetireIdentityReply, RetireIdentityRequest,
    RewrapRecordingReply, RewrapRecordingRequest, RoleEntry, SignHostReply, SignHostRequest, SignUserReply,
    SignUserRequest, StatusReply, StatusRequest, TuneNodeRequest, UserEntry, WatchSessionRequest,
};
use weir_api::audit::Administrator;
use weir_api::dataplane::SessionRecord;

use crate::control::Shared;
use crate::socket;

/// Serves until `stopping` fires or its sender is gone, and then until calls in progress have ended.
pub(crate) async fn serve(shared: Arc<Shared>, listener: UnixListener, stopping: oneshot::Receiver<()>) {
    let service = AdminServer::new(Service { shared });
    let stopped = async {
        let _ = stopping.await;
    };
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(socket::connections(listener), stopped)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "admin socket cannot be served any longer");
    }
}

struct Service {
    shared: Arc<Shared>,
}

/// Who asks, as the kernel says.
#[derive(Clone, Copy, Debug)]
struct Caller {
    uid: Option<u32>,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> Caller {
        let peer = request
            .extensions()
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred);
        Caller {
            uid: peer.map(|peer| peer.uid()),
        }
    }

    /// As it stands in the audit event of what the caller does.
    fn as_administrator(self) -> Administrator {
        Administrator { uid: self.uid }
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        status::report(&self.shared).await.map(Response::new)
    }

    async fn export_ca(&self, request: Request<ExportCaRequest>) -> Result<Response<ExportCaReply>, Status> {
        authorities::export(&self.shared, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn sign_host(&self, request: Request<SignHostRequest>) -> Result<Response<SignHostReply>, Status> {
        let caller = Caller::of(&request);
        authorities::sign_host(&self.shared, caller, &request.into_inner()).map(Response::new)
    }

    async fn add_node(&self, request: Request<AddNodeRequest>) -> Result<Response<NodeEntry>, Status> {
        let caller = Caller::of(&request);
        nodes::add(&self.shared, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesReply>, Status> {
        Ok(Response::new(nodes::list(&self.shared).await))
    }

    async fn tune_node(&self, request: Request<TuneNodeRequest>) -> Result<Response<NodeEntry>, Status> {
        let caller = Caller::of(&request);
        nodes::tune(&self.shared, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_pacing(
        &self,
        request: Request<ListPacingRequest>,
    ) -> Result<Response<ListPacingReply>, Status> {
        pacing::list(&self.shared, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeReply>, Status> {
        let caller = Caller::of(&request);
        nodes::remove(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn add_user(&self, request: Request<AddUserRequest>) -> Result<Response<UserEntry>, Status> {
        let caller = Caller::of(&request);
        users::add(&self.shared, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<ListUsersReply>, Status> {
        Ok(Response::new(users::list(&self.shared).await))
    }

    async fn remove_user(
        &self,
        request: Request<RemoveUserRequest>,
    ) -> Result<Response<RemoveUserReply>, Status> {
        let caller = Caller::of(&request);
        users::remove(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn sign_user(&self, request: Request<SignUserRequest>) -> Result<Response<SignUserReply>, Status> {
        let caller = Caller::of(&request);
        authorities::sign_user(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_roles(&self, _: Request<ListRolesRequest>) -> Result<Response<ListRolesReply>, Status> {
        Ok(Response::new(roles::list(&self.shared).await))
    }

    async fn get_role(&self, request: Request<GetRoleRequest>) -> Result<Response<RoleEntry>, Status> {
        roles::get(&self.shared, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn put_role(&self, request: Request<PutRoleRequest>) -> Result<Response<RoleEntry>, Status> {
        let caller = Caller::of(&request);
        roles::put(&self.shared, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn remove_role(
        &self,
        request: Request<RemoveRoleRequest>,
    ) -> Result<Response<RemoveRoleReply>, Status> {
        let caller = Caller::of(&request);
        roles::remove(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        records::sessions(&self.shared, request.into_inner(), false)
            .await
            .map(Response::new)
    }

    async fn list_recordings(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        records::sessions(&self.shared, request.into_inner(), true)
            .await
            .map(Response::new)
    }

    type ReadRecordingStream = BoxStream<'static, Result<ReadRecordingReply, Status>>;

    async fn read_recording(
        &self,
        request: Request<ReadRecordingRequest>,
    ) -> Result<Response<Self::ReadRecordingStream>, Status> {
        let caller = Caller::of(&request);
        records::read_recording(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn hold_recording(
        &self,
        request: Request<HoldRecordingRequest>,
    ) -> Result<Response<SessionRecord>, Status> {
        let caller = Caller::of(&request);
        holds::hold(&self.shared, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    type RewrapRecordingStream = BoxStream<'static, Result<RewrapRecordingReply, Status>>;

    async fn rewrap_recording(
        &self,
        request: Request<RewrapRecordingRequest>,
    ) -> Result<Response<Self::RewrapRecordingStream>, Status> {
        let caller = Caller::of(&request);
        keys::rewrap(Arc::clone(&self.shared), caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn release_recording(
        &self,
        request: Request<ReleaseRecordingRequest>,
    ) -> Result<Response<SessionRecord>, Status> {
        let caller = Caller::of(&request);
        holds::release(&self.shared, caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_envelope(
        &self,
        request: Request<GetEnvelopeRequest>,
    ) -> Result<Response<GetEnvelopeReply>, Status> {
        keys::envelope(&self.shared, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_identities(
        &self,
        _: Request<ListIdentitiesRequest>,
    ) -> Result<Response<ListIdentitiesReply>, Status> {
        Ok(Response::new(keys::identities(&self.shared)))
    }

    async fn add_identity(
        &self,
        request: Request<AddIdentityRequest>,
    ) -> Result<Response<IdentityEntry>, Status> {
        let caller = Caller::of(&request);
        keys::add_identity(&self.shared, caller).await.map(Response::new)
    }

    async fn retire_identity(
        &self,
        request: Request<RetireIdentityRequest>,
    ) -> Result<Response<RetireIdentityReply>, Status> {
        let caller = Caller::of(&request);
        keys::retire_identity(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    type WatchSessionStream = BoxStream<'static, Result<ReadRecordingReply, Status>>;

    async fn watch_session(
        &self,
        request: Request<WatchSessionRequest>,
    ) -> Result<Response<Self::WatchSessionStream>, Status> {
        let caller = Caller::of(&request);
        watch::session(&self.shared, caller, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsReply>, Status> {
        records::audit_events(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }
}
