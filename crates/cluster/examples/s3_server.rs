//! An S3 server for tests from outside: `s3_server FOLDER PORT`. `/-/fault/WAY` lets it misbehave: 500, 503, slow, half,
//! silent, none. Bucket `pictures`, key `test-access`, secret `test-secret`.

#![allow(clippy::unwrap_used)] // It is a part of the tests.

#[path = "../tests/servers/s3.rs"]
mod s3;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, port] = &arguments[..] else { panic!("s3_server FOLDER PORT") };
    std::fs::create_dir_all(folder).unwrap();
    let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let (address, _faults) = s3::serve(folder.as_ref(), listener);
    println!("ready on {address}");
    std::future::pending::<()>().await;
}
