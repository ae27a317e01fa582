//! Generates the types of the schema, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");

    let dataplane = protox::compile(["proto/dataplane.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(dataplane)?;

    // The admin service speaks of sessions, nodes and users in the data plane's own messages: one type for each.
    let admin = protox::compile(["proto/admin.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .extern_path(".weir.dataplane.v1", "crate::dataplane")
        // They hold keys: their `Debug` is written by hand, and they are wiped when dropped.
        .skip_debug([".weir.admin.v1.RecordingHeader", ".weir.admin.v1.SignHostReply"])
        .boxed(".weir.admin.v1.ReadRecordingReply.part.header")
        .compile_fds(admin)?;
    Ok(())
}
