//! An S3 server of the test's own, as a child: `weir-s3` in `src/bin`, which keeps a bucket in a directory and checks signatures.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::process::{Daemon, Job};
use crate::wait::eventually;
use crate::weir::binary_dir;
use crate::world::free_port;

/// The bucket that is there.
pub const BUCKET: &str = "audit";
/// The prefix under which [`S3::config`] puts recordings.
pub const PREFIX: &str = "ssh/weir";
/// The credentials that the server takes.
pub const KEY_ID: &str = "AKIDWEIRTEST";
/// Their secret half: a word that is found wherever it has no business.
pub const SECRET: &str = "s3cret-of-the-store";

/// A server; killed when dropped.
pub struct S3 {
    daemon: Option<Daemon>,
    port: u16,
    dir: TempDir,
}

impl S3 {
    /// Starts it with an empty bucket.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("weir-s3-")
            .tempdir()
            .expect("a temporary directory");
        let mut s3 = Self {
            daemon: None,
            port: free_port(),
            dir,
        };
        s3.write_credentials(SECRET);
        s3.start_again();
        s3
    }

    /// Starts it after it was killed, on the same port and with what it had.
    pub fn start_again(&mut self) {
        let program = binary_dir().join("weir-s3");
        assert!(
            program.exists(),
            "no {}: cargo builds it with these tests",
            program.display()
        );
        let job = Job::new(program)
            .arg(self.dir.path().join("objects"))
            .args([&self.port.to_string(), BUCKET])
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        let mut daemon = Daemon::start(job, &self.dir.path().join("log"));
        eventually("the S3 server listens", || {
            assert!(daemon.is_running(), "it ended at once");
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.daemon = Some(daemon);
    }

    /// Kills it at once, with whatever it is doing.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lines for Weir's configuration, with the credentials in a file.
    pub fn config(&self) -> String {
        format!(
            "{}credentials_file = {:?}\nprofile = \"weir\"\n",
            self.config_without_credentials(),
            self.credentials()
        )
    }

    /// The same without the file.
    pub fn config_without_credentials(&self) -> String {
        format!(
            "[recording]\nstore = \"s3://{BUCKET}/{PREFIX}\"\n\
             [recording.s3]\nendpoint = {:?}\nallow_http = true\n",
            self.endpoint()
        )
    }

    /// The file with the credentials.
    pub fn credentials(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// Puts another secret into that file, as an operator would: all at once.
    pub fn write_credentials(&self, secret: &str) {
        let text = format!("[weir]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {secret}\n");
        let new = self.dir.path().join("credentials.new");
        fs::write(&new, text).expect("the directory is ours");
        fs::rename(&new, self.credentials()).expect("the directory is ours");
    }

    /// The objects under the prefix, by their names there.
    pub fn objects(&self) -> Vec<String> {
        let root = self.dir.path().join("objects").join(BUCKET).join(PREFIX);
        let mut found = Vec::new();
        collect(&root, &root, &mut found);
        found.sort();
        found
    }

    /// Parts of uploads that were neither completed nor aborted.
    pub fn parts(&self) -> usize {
        let entries = fs::read_dir(self.dir.path().join("objects")).expect("the directory is there");
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(".upload_id-"))
            .count()
    }
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<String>) {
    // What was never put to has no directory.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if let Ok(name) = path.strip_prefix(root) {
            found.push(name.to_string_lossy().into_owned());
        }
    }
}
