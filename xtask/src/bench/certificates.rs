//! Certificates for the systems that have no authority of their own: ECDSA P-256, as Tautline's.

use std::path::Path;
use std::process::Command;

/// The name in the certificate, which the client side checks.
pub const NAME: &str = "bench.test";

/// Writes `ca.crt`, `node.crt`, `node.key` and `node.pem` (both) into the directory.
pub fn make(directory: &Path) -> Result<(), String> {
    let script = format!(
        "openssl ecparam -name prime256v1 -genkey -noout -out ca.key && \
         openssl req -x509 -new -key ca.key -days 2 -subj /CN=bench-ca -out ca.crt && \
         openssl ecparam -name prime256v1 -genkey -noout -out node.key && openssl req -new -key node.key -subj /CN={NAME} -out node.csr && \
         printf 'subjectAltName=DNS:{NAME}' > node.ext && \
         openssl x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile node.ext -out node.crt && cat node.crt node.key > node.pem"
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(directory).output().map_err(|error| format!("openssl: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
