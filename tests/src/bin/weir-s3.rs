//! `weir-s3 DIR PORT BUCKET`: an S3 server over a directory, on loopback.
//!
//! The credentials that it wants are in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. It checks signatures, and keeps what it took when it is
//! killed.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("weir-s3 DIR PORT BUCKET");
    let (dir, port, bucket) = (PathBuf::from(next()?), next()?.parse::<u16>()?, next()?);
    let key = std::env::var("AWS_ACCESS_KEY_ID")?;
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY")?;
    std::fs::create_dir_all(dir.join(bucket))?;
    let mut builder = S3ServiceBuilder::new(FileSystem::new(dir).map_err(|error| format!("{error:?}"))?);
    builder.set_auth(SimpleAuth::from_single(key, secret));
    let service = builder.build();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let connection =
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new())
                    .http1_only()
                    .serve_connection(TokioIo::new(stream), service.clone())
                    .into_owned();
            // A client that goes away is no fault of the server's.
            tokio::spawn(async move { drop(connection.await) });
        }
    })
}
